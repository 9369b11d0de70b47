package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/printable"
)

var hostile = "EVIL\nMAINPID=1\r\x1b[2J\u009b1m\u202egnp\u2066x\u200b\ufeff\xff\u2028STATUS=ok" + strings.Repeat("x", 100_000)

// Whatever the log is given, each line of it is one, and printable; errors, which have the
// answers of servers in them, are bounded.
func TestLogIsPrintable(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log := newLogger(&config{LogFormat: format, LogLevel: "debug"}, &out)
		short := hostile[:200]
		log.Info().Str("hook", short).Strs("all", []string{short}).Interface("any", map[string]string{"a": short}).Msg(short)
		log.Error().Err(fmt.Errorf("patch the Node: %w", errors.New(hostile))).Msg("failed")
		warn(log)("the hook %s is still running", hostile)
		slog.New(zerolog.NewSlogHandler(log)).Error(short, "err", errors.New(hostile), "url", short)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 4 {
			t.Errorf("%s: %d lines", format, len(lines))
		}
		for _, line := range lines {
			if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }) || len(line) > 10_000 || !strings.Contains(line, "EVIL") {
				t.Errorf("%s: %d bytes: %.300q", format, len(line), line)
			}
			if format == "json" && !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %.300q", line)
			}
		}
	}
}

// systemd reads its notifications by lines: no text makes a second one.
func TestStatusIsOneLine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	notifyStatus(zerolog.Nop(), "Held: held: "+hostile)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1<<20)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got := string(buf[:n])
	if text, ok := strings.CutPrefix(got, "STATUS="); !ok || printable.Line(text, maxStatus) != text || !strings.HasPrefix(text, "Held: held: EVIL MAINPID=1") {
		t.Errorf("%d bytes: %.300q", n, got)
	}
}
