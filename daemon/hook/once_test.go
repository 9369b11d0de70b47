package hook

import "testing"

// A stage that failed is done again, and one that has succeeded is not.
func TestOnce(t *testing.T) {
	b := newBed(t)
	b.add(PostBoot+"/a", "cd "+b.Dir+`; echo $1 >>log; [ "$(wc -l <log)" = 3 ]`, 0o755)
	o := Once{Runner: b.Runner, Stage: PostBoot}
	for i := 1; i <= 5; i++ {
		if err := o.Check(t.Context()); (err == nil) != (i >= 3) {
			t.Errorf("check %d: %v", i, err)
		}
	}
	if log := b.read("log"); log != "do\ndo\ndo" {
		t.Errorf("it ran so:\n%s", log)
	}
}
