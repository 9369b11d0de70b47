package sim

import (
	"context"
	"fmt"

	"rebootd.dev/daemon/api"
)

// What people do to the lock's Leases.

// ClearSlot clears a slot's holder.
func (w *World) ClearSlot(slot string) {
	_ = w.Leases.Patch(context.Background(), slot, `{"spec":{"holderIdentity":null}}`)
	w.forgetHolder(slot)
}

// DeleteSlot deletes a slot's Lease.
func (w *World) DeleteSlot(slot string) {
	_ = w.Leases.Delete(context.Background(), slot)
	w.forgetHolder(slot)
}

func (w *World) forgetHolder(slot string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.holders, slot)
}

// Pause pauses a lock, or ends that, if why is "".
func (w *World) Pause(lockName, why string) {
	ctx, name := context.Background(), api.PauseName(lockName)
	if why != "" {
		_ = w.Leases.Create(ctx, name)
		_ = w.Leases.Patch(ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, api.PausedAnnotation, why))
		return
	}
	_ = w.Leases.Patch(ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:null,%q:null}}}`, api.PausedAnnotation, api.PausedUntilAnnotation))
}

// PauseUntil pauses a lock until a time, by the words of people.
func (w *World) PauseUntil(lockName, why, until string) {
	ctx, name := context.Background(), api.PauseName(lockName)
	_ = w.Leases.Create(ctx, name)
	_ = w.Leases.Patch(ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, api.PausedAnnotation, why, api.PausedUntilAnnotation, until))
}

// ClearSlotOf clears the slots that a node holds.
func (w *World) ClearSlotOf(node string) {
	w.mu.Lock()
	var slots []string
	for slot, h := range w.holders {
		if h.node == node {
			slots = append(slots, slot)
		}
	}
	w.mu.Unlock()
	for _, slot := range slots {
		w.ClearSlot(slot)
	}
}
