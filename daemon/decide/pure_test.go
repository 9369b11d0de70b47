package decide

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// Whatever any version has written leads to a decision, on its boot and after it, that
// people can be told of and that can be written.
func TestRecordsOfEveryVersionLeadToADecision(t *testing.T) {
	for name, data := range recordsOfEveryVersion(t) {
		r, err := api.ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, boot := range []string{r.BootID, "another boot"} {
			leadsToADecision(t, name+" on "+boot, r, boot)
		}
	}
}

func FuzzDecision(f *testing.F) {
	for _, data := range recordsOfEveryVersion(f) {
		f.Add(data)
	}
	f.Add([]byte(`{"v":1,"id":"a","phase":"Halted","since":"2026-05-04T12:00:00Z","bootID":"b","failure":{"reason":"Unhealthy"}}`))
	f.Add([]byte(`{"v":1,"id":"a","phase":"Draining","since":"2026-05-04T12:00:00Z","bootID":"b","hooked":true,"undo":{"since":"2026-05-04T12:00:00Z"},"drainRan":{"seconds":-1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := api.ParseRecord(data)
		if err != nil {
			if step := HandsOff(err); step.Do != DoWait || step.Message == "" {
				t.Errorf("a record that cannot be read leads to %+v", step)
			}
			return
		}
		leadsToADecision(t, string(data), r, "b")
	})
}

func recordsOfEveryVersion(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("../api/testdata/records/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no records: %v", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = data
	}
	return out
}

func leadsToADecision(t *testing.T, name string, r *api.Record, boot string) {
	for _, request := range []Request{{}, {Wanted: true, Why: "kernel"}} {
		s := base(r)
		s.f.Boot.ID, s.f.Request, s.f.Now = boot, request, r.Since.Add(time.Minute)
		step := s.ready().step()
		if step.Message == "" || step.Do == "" {
			t.Errorf("%s: %+v", name, step)
		}
	}
}

func TestHandsOff(t *testing.T) {
	for data, want := range map[string]api.Reason{`{"v":2}`: api.ReasonRecordTooNew, `{"v":1}`: api.ReasonRecordInvalid} {
		_, err := api.ParseRecord([]byte(data))
		step := HandsOff(err)
		if step.Do != DoWait || step.Reason != want || !strings.Contains(step.Message, err.Error()) || step.Asks != 0 {
			t.Errorf("%s: %+v, want %s", data, step, want)
		}
	}
}

func TestActions(t *testing.T) {
	for action, want := range map[Action]struct{ lasts, writes bool }{
		DoWait: {true, false}, DoClaim: {true, false}, DoRelease: {}, DoWrite: {false, true}, DoCordon: {false, true}, DoRestore: {false, true},
		DoStage: {true, false}, DoUndo: {true, false}, DoSpawn: {},
	} {
		if action.Lasts() != want.lasts || action.Writes() != want.writes {
			t.Errorf("%s lasts: %t, writes: %t", action, action.Lasts(), action.Writes())
		}
	}
}
