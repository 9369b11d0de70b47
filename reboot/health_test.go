package reboot

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	if err := Check(t.Context(), []string{"sh", "-c", "echo fine"}); err != nil {
		t.Error(err)
	}
	err := Check(t.Context(), []string{"sh", "-c", "echo disk full >&2; exit 1"})
	if err == nil || err.Error() != `health check "sh -c echo disk full >&2; exit 1": exit status 1: disk full` {
		t.Errorf("error %v", err)
	}
	if err := Check(t.Context(), []string{"/nonexistent/check"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a check that is not there: %v", err)
	}
}
