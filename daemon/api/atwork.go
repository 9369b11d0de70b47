package api

import "encoding/json"

// AtWork says by another node's record whether that node may be between cordon and
// release under a lock. Of a record that this version cannot obey it reads what it
// can: if that does not say that the node has not begun, it may have.
func AtWork(lock, record string) bool {
	if record == "" {
		return false
	}
	r, err := ParseRecord([]byte(record))
	if err != nil {
		r = new(Record)
		var some struct {
			Phase Phase  `json:"phase"`
			Lock  string `json:"lock"`
		}
		if json.Unmarshal([]byte(record), &some) == nil {
			r.Phase, r.Lock = some.Phase, some.Lock
		}
	}
	return r.Phase != PhaseWaiting && r.Phase != PhaseQueued && (r.Lock == "" || r.Lock == lock)
}
