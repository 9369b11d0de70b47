package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// actLines are command lines that write, by the file that shows what they print. A
// quoted argument has no space: "_" stands for it.
var actLines = []struct {
	file  string
	in    func() *fakeAPI
	lines []string
}{
	{"request", acting, []string{
		"request idle", "request idle --dry-run", "request idle --deadline 2d", "request node/idle idle no-daemon", "request asked", "request sentinel drains ordered", "request verifies halted",
		"request idle-held maintained unreadable", "request idle -o name", "request idle missing -o json", "request idle --dry-run=server -o yaml",
	}},
	{"request-paused", paused, []string{"request idle"}},
	{"request-all", acting, []string{"request --all", "request --all --yes", "request -l kubernetes.io/hostname=idle", "request -l pool=none"}},
	{"cancel", acting, []string{
		"cancel asked", "cancel asked --dry-run", "cancel asked-twice", "cancel idle", "cancel sentinel", "cancel ordered", "cancel --all --yes",
	}},
	{"hold", acting, []string{
		"hold idle --reason disk_replacement", "hold idle --dry-run", "hold idle", "hold idle-held --reason mine", "hold idle-held --reason mine --overwrite",
		"hold waits-held --reason memory_test", "hold drains ordered verifies halted --reason x", "hold no-daemon",
	}},
	{"unhold", acting, []string{"unhold idle-held", "unhold idle-held --dry-run", "unhold waits-held", "unhold idle", "unhold --all --yes"}},
	{"approve", acting, []string{
		"approve approval", "approve approval --dry-run", "approve idle", "approve idle --until 4h", "approve approval --until 2026-12-01T06:00:00+01:00", "approve drains unreadable", "approve --all --yes",
	}},
	{"pause", acting, []string{"pause --reason Black_Friday --for 4d", "pause --dry-run", "pause --until 2026-11-30T06:00:00Z", "pause --lock db,rebootd -o name", "pause -o json"}},
	{"pause-paused", paused, []string{"pause --reason mine", "pause --reason mine --overwrite", "pause --reason Black_Friday --until 2026-11-30T06:00:00Z"}},
	{"resume", paused, []string{"resume", "resume --dry-run", "resume --lock db", "resume -o json"}},
	{"resume-not-paused", acting, []string{"resume"}},
	{"abort", acting, []string{
		"abort sentinel --reason wrong_kernel", "abort sentinel --dry-run", "abort idle", "abort asked drains", "abort ordered", "abort verifies halted", "abort unreadable no-daemon", "abort --all", "abort --all --yes",
	}},
	{"release", acting, []string{
		"release rebootd-0 --holder halted", "release rebootd-0 --holder halted --dry-run", "release rebootd-0 --holder halted --yes", "release rebootd-0 --holder drains --yes",
		"release rebootd-1 --holder halted --yes", "release rebootd-0 --holder halted --yes -o json",
	}},
	{"forbidden", forbidden, []string{"request idle asked", "hold idle", "pause", "resume", "release rebootd-0 --holder halted --yes"}},
}

// TestActGolden shows what the commands that write say and write.
func TestActGolden(t *testing.T) {
	for _, tt := range actLines {
		t.Run(tt.file, func(t *testing.T) {
			var got bytes.Buffer
			for _, line := range tt.lines {
				got.WriteString(spoken(tt.in(), line) + "\n")
			}
			golden(t, filepath.Join("act", tt.file+".txt"), got.String())
		})
	}
}

// spoken is a transcript in which "_" stands for a space within an argument.
func spoken(f *fakeAPI, line string) string {
	f.wrote = nil
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "_", " ")
	}
	return transcriptOf(f, line, words)
}
