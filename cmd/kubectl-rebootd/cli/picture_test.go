package cli

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// picture is a terminal, as far as status -w needs one: it understands what live.Screen and
// paint write, and refuses everything else.
type picture struct {
	mu            sync.Mutex
	width, height int
	cells         [2][][]rune // the normal screen, and the alternate one
	alternate     bool
	row, col      int
	unknown       []string
}

func newPicture(width, height int) *picture {
	p := &picture{}
	p.resize(width, height)
	return p
}

func (p *picture) size() (int, int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.width, p.height, true
}

func (p *picture) resize(width, height int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.width, p.height = width, height
	for s := range p.cells {
		p.cells[s] = make([][]rune, height)
		for i := range p.cells[s] {
			p.cells[s][i] = []rune(strings.Repeat(" ", width))
		}
	}
	p.row, p.col = 0, 0
}

func (p *picture) screen() [][]rune {
	if p.alternate {
		return p.cells[1]
	}
	return p.cells[0]
}

// write takes in what a program writes.
func (p *picture) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(text) > 0 {
		if sequence, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(sequence, func(r rune) bool { return r >= '@' && r <= '~' })
			p.control(sequence[:end], sequence[end])
			text = sequence[end+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch {
		case r == '\n':
			p.row, p.col = p.row+1, 0
			if p.row == p.height { // it scrolls
				s := p.screen()
				copy(s, s[1:])
				s[p.height-1] = []rune(strings.Repeat(" ", p.width))
				p.row--
			}
		case p.col < p.width && p.row < p.height:
			p.screen()[p.row][p.col] = r
			p.col++
		}
	}
}

func (p *picture) control(arguments string, final byte) {
	switch {
	case final == 'H':
		row, col, _ := strings.Cut(arguments, ";")
		p.row, p.col = number(row)-1, number(col)-1
	case final == 'K' && p.row < p.height:
		for i := min(p.col, p.width-1); i < p.width; i++ { // the cursor stays in the last column
			p.screen()[p.row][i] = ' '
		}
	case final == 'J' && arguments == "2":
		for _, line := range p.screen() {
			for i := range line {
				line[i] = ' '
			}
		}
	case arguments == "?1049":
		p.alternate = final == 'h'
		p.row, p.col = 0, 0
	case arguments == "?25", arguments == "?7", final == 'm', final == 'K':
	default:
		p.unknown = append(p.unknown, fmt.Sprintf("%s%c", arguments, final))
	}
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return max(n, 1)
}

// String is what stands there, without the empty end.
func (p *picture) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for _, line := range p.screen() {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n")+"\n"+strings.Join(p.unknown, " "), "\n ") + "\n"
}

func TestPicture(t *testing.T) {
	p := newPicture(4, 2)
	p.write("a\nb\nc\x1b[?1049h\x1b[2;2Hxyzw\x1b[1;1H\x1b[31mq\x1b[0m\x1b[K\x1b[9z")
	if got := p.String(); got != "q\n xyz\n9z\n" {
		t.Errorf("%q", got)
	}
	p.write("\x1b[?1049l")
	if got := p.String(); got != "b\nc\n9z\n" {
		t.Errorf("%q", got)
	}
}
