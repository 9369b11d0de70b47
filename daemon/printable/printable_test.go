package printable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// bad is what a line must not have in it, whatever it was made from.
const bad = "\x00\x07\x08\n\r\t\v\f\x1b\x7f\u0085\u009b\u00ad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\u3164\ufe0f\ufeff\U000e0041"

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 10, ""},
		{"disk is being replaced", 100, "disk is being replaced"},
		{"  kernel \t 6.1\r\n", 100, "kernel 6.1"},
		{"x\nMAINPID=1", 100, "x MAINPID=1"},
		{"x\u2028y\u0085z", 100, "x y z"},
		{"\x1b[2Jgone", 100, "[2Jgone"},
		{"a\u202egnp.exe\u202c", 100, "agnp.exe"},
		{"pay\u200bpal\ufeff", 100, "paypal"},
		{"\xff\xfea\xc3", 100, "a"},
		{"Größe 重启 🙂", 100, "Größe 重启 🙂"},
		{"\ufffd", 100, "\ufffd"},
		{"12345678", 8, "12345678"},
		{"123456789", 8, "12345…"},
		{"1234ö678", 8, "1234…"},
		{"12345678 \n", 8, "12345678"},
		{"12345678 9", 8, "12345…"},
		{"1234", 3, "…"},
		{"1234", 2, ""},
		{bad, 100, ""},
	} {
		if got := Line(tt.in, tt.n); got != tt.want {
			t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

// However long the words of others are, no more of them is looked at than is needed.
func TestLineOfMuch(t *testing.T) {
	much := strings.Repeat("x", 100<<20)
	if n := testing.AllocsPerRun(10, func() { Line(much, 100) }); n > 10 {
		t.Errorf("%v allocations", n)
	}
}

func TestEscape(t *testing.T) {
	words := "a\n\x1b[2J\u009b\u202e\u200bö\U000e0041\xff"
	in, err := json.Marshal(map[string]string{"message": words})
	if err != nil {
		t.Fatal(err)
	}
	out := Escape(append(in, '\n'))
	var back map[string]string
	if err := json.Unmarshal(out, &back); err != nil || back["message"] != string([]rune(words)) {
		t.Errorf("%s: %q, %v", out, back["message"], err)
	}
	if strings.ContainsAny(strings.TrimSuffix(string(out), "\n"), bad) || !strings.HasSuffix(string(out), "\n") {
		t.Errorf("%q", out)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("disk is being replaced", 10)
	f.Add(bad+" \xff\nMAINPID=1", 300)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 10000 {
			return
		}
		got := Line(s, n)
		switch {
		case len(got) > n || !utf8.ValidString(got) || strings.ContainsAny(got, bad):
			t.Errorf("Line(%q, %d) = %q", s, n, got)
		case got != strings.Join(strings.Fields(got), " "):
			t.Errorf("Line(%q, %d) = %q: space", s, n, got)
		case Line(got, n) != got:
			t.Errorf("Line(%q, %d) = %q, and that becomes %q", s, n, got, Line(got, n))
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if out := Escape(quoted); strings.ContainsAny(string(out), bad) || json.Unmarshal(out, &back) != nil || back != string([]rune(s)) {
			t.Errorf("Escape(%s) = %q: %q", quoted, out, back)
		}
	})
}
