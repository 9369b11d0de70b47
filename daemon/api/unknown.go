package api

import (
	"encoding/json"
	"maps"
)

// withKept adds the fields that this version does not know to those that it has written.
func withKept(own []byte, unknown map[string]json.RawMessage) ([]byte, error) {
	if len(unknown) == 0 {
		return own, nil
	}
	all := maps.Clone(unknown)
	if err := json.Unmarshal(own, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}
