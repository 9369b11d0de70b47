package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"rebootd.dev/daemon/printable"
)

// What leaves the daemon for the log and for systemd. Whatever it says, it does nothing to
// a terminal, and is one line.

const (
	// maxField bounds the message and each field of a line of the log, in bytes: some have
	// the answer of a server, or what a program has printed.
	maxField = 4 << 10
	// maxStatus bounds systemd's status, in bytes.
	maxStatus = 2000
)

func newLogger(cfg *config, w io.Writer) zerolog.Logger {
	zerolog.ErrorFieldName = "err" // as client-go has it
	zerolog.TimeFieldFormat = time.RFC3339Nano
	zerolog.DurationFieldUnit = time.Second
	zerolog.ErrorMarshalFunc = func(err error) any { return printable.Line(err.Error(), maxField) }
	if cfg.LogFormat == "console" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", FormatPrepare: prepare}
	} else {
		w = escaping{w}
	}
	level, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // refused by load already
	}
	log := zerolog.New(w).Level(level).With().Timestamp().Logger()
	if cfg.DryRun {
		log = log.With().Bool("dry_run", true).Logger()
	}
	return log
}

// prepare makes what a line has to say fit for a terminal.
func prepare(fields map[string]any) error {
	for k, v := range fields {
		switch v := v.(type) {
		case string:
			fields[k] = printable.Line(v, maxField)
		case []any, map[string]any:
			data, err := json.Marshal(v)
			if err != nil {
				return err
			}
			fields[k] = json.RawMessage(printable.Escape(data))
		}
	}
	return nil
}

// escaping writes lines of JSON in which nothing is left that is not printable.
type escaping struct{ to io.Writer }

func (e escaping) Write(line []byte) (int, error) {
	if _, err := e.to.Write(printable.Escape(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// warn logs what an admin should know of.
func warn(log zerolog.Logger) func(format string, args ...any) {
	return func(format string, args ...any) {
		log.Warn().Msg(printable.Line(fmt.Sprintf(format, args...), maxField))
	}
}

// notifyStatus tells systemd what people should read in its status. A line break would
// begin another notification (sd_notify(3)), such as that this process is another one.
func notifyStatus(log zerolog.Logger, text string) {
	notify(log, "STATUS="+printable.Line(text, maxStatus))
}

// notify tells systemd something, if it is there to be told.
func notify(log zerolog.Logger, state string) {
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		log.Debug().Err(err).Msg("cannot notify systemd")
	}
}

// watchdog returns what tells systemd's watchdog that the daemon lives, at most
// each quarter of the time that it allows. It is called by one goroutine.
func watchdog(log zerolog.Logger) func() {
	limit, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn().Err(err).Msg("cannot read the settings of systemd's watchdog; not notifying it")
	}
	if limit == 0 {
		return func() {}
	}
	var last time.Time
	return func() {
		if now := time.Now(); now.Sub(last) >= limit/4 {
			last = now
			notify(log, sdnotify.SdNotifyWatchdog)
		}
	}
}
