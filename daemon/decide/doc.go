// Package decide is the behaviour of rebootd: one pure function, [Next], that
// says from the record, the facts and the policy what is to be done now, and
// why. It reads no clock, asks no API and opens no file; what it needs to know
// is in its arguments, and what it wants done is in its result. Whoever wants to
// know what rebootd does in some situation finds the answer here and nowhere
// else.
//
// One reboot is one operation. Its phases, and what moves it from one to the
// next, are drawn in docs/state-machine.md:
//
//	idle → (Waiting ⇄) Queued → Draining → Rebooting → Verifying → idle
//	                                          ↓           ↓
//	                                        Halted      Halted
//
// What the rest of the daemon may rely on:
//
//   - Everything before the spawned reboot is undone in reverse order (uncordon,
//     then release of the slot) when the request is withdrawn, the node is held,
//     the slot is lost or the drain fails.
//   - Nothing after it is undone: the node stays cordoned and keeps its slot until
//     another boot has been proved and the node is healthy.
//   - A step that the next start of the daemon must know of is written to the
//     record before it is taken.
//   - Asked twice with the same arguments it answers the same.
package decide
