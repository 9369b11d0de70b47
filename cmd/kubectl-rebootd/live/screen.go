package live

import (
	"io"
	"strconv"
	"strings"
)

// Control sequences of terminals (ECMA-48, and xterm's private modes).
const (
	enter     = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J" // the alternate screen, without cursor and without wrapping
	leave     = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	clearLine = "\x1b[K"
	clearAll  = "\x1b[2J"
	reset     = "\x1b[0m"
)

// Screen shows lines on a terminal in place. Only lines that have changed are written. It
// is not safe for concurrent use.
type Screen struct {
	out           io.Writer
	last          []string
	width, height int
	open          bool
}

// NewScreen is a screen on a terminal that is written to by out.
func NewScreen(out io.Writer) *Screen { return &Screen{out: out} }

// Draw shows lines on a terminal of a size. What does not fit is cut off.
func (s *Screen) Draw(lines []string, width, height int) error {
	var b strings.Builder
	if !s.open {
		b.WriteString(enter)
		s.open = true
	}
	if width != s.width || height != s.height {
		b.WriteString(clearAll) // what is there is of another size
		s.last = nil
	}
	if len(lines) > height {
		lines = lines[:height]
	}
	for i, line := range lines {
		if i >= len(s.last) || s.last[i] != line {
			// Cleared first: a line that ends in the last column would lose its end.
			b.WriteString("\x1b[" + strconv.Itoa(i+1) + ";1H" + clearLine + line + reset)
		}
	}
	for i := len(lines); i < len(s.last); i++ {
		b.WriteString("\x1b[" + strconv.Itoa(i+1) + ";1H" + clearLine)
	}
	s.last, s.width, s.height = append([]string{}, lines...), width, height
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// Close gives the terminal back as it was.
func (s *Screen) Close() error {
	if !s.open {
		return nil
	}
	s.open, s.last = false, nil
	_, err := io.WriteString(s.out, leave)
	return err
}
