package cli

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const columnGap = 3

// layout sets rows in columns. A cell may have colours: paint.
func layout(rows [][]string) []string {
	widths := widthsOf(rows)
	out := make([]string, 0, len(rows))
	var b strings.Builder
	for _, r := range rows {
		b.Reset()
		for i, cell := range r {
			b.WriteString(cell)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-visible(cell)+columnGap))
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

func widthsOf(rows [][]string) (widths []int) {
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	return widths
}

// fit leaves columns out until rows fit in a width, those with the highest drop first. One
// with 0 stays.
func fit(rows [][]string, drops []int, width int) [][]string {
	drops = slices.Clone(drops)
	for {
		total := -columnGap
		for _, w := range widthsOf(rows) {
			total += w + columnGap
		}
		most := slices.Max(drops)
		if total <= width || most == 0 {
			return rows
		}
		i := slices.Index(drops, most)
		drops = slices.Delete(drops, i, i+1)
		for r := range rows {
			rows[r] = slices.Delete(rows[r], i, i+1)
		}
	}
}

// visible is how many columns of a terminal a text takes: without what paint adds.
func visible(s string) (n int) {
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], "\x1b[") {
			if end := strings.IndexByte(s[i:], 'm'); end > 0 {
				i += end + 1
				continue
			}
		}
		c, size := utf8.DecodeRuneInString(s[i:])
		n += columnsOf(c)
		i += size
	}
	return n
}

// wide are the characters that take two columns: those of East Asia, and emoji (Unicode's
// EastAsianWidth.txt, W and F, in blocks).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xa960, 0xa97f, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x16fe0, 0x18dff, 1}, {0x1b000, 0x1b2ff, 1}, {0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

// columnsOf is how many columns of a terminal a character takes.
func columnsOf(c rune) int {
	switch {
	case c < 0x300:
		return 1
	case unicode.In(c, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, c):
		return 2
	}
	return 1
}

// wrap breaks a text into lines of at most width columns, at spaces where it can; 0 is
// without a limit. A colour must not begin in it and end on another line: a word that has
// one is not broken.
func wrap(s string, width int, indent string) []string {
	if width <= 0 || visible(s) <= width {
		return []string{s}
	}
	var out []string
	words := strings.Split(strings.TrimLeft(s, " "), " ")
	line, bare := s[:len(s)-len(strings.TrimLeft(s, " "))], true // bare: there is no word in it
	for _, word := range words {
		switch {
		case !bare && visible(line)+1+visible(word) > width:
			out = append(out, line)
			line = indent + word
		case bare:
			line += word
		default:
			line += " " + word
		}
		bare = false
		for visible(line) > width && width > len(indent)+1 && !strings.Contains(line, "\x1b") {
			head := prefix(line, width)
			out = append(out, line[:head])
			line = indent + line[head:]
		}
	}
	return append(out, line)
}

// prefix is how many bytes of a text fit in a width, at least one character.
func prefix(s string, width int) int {
	n := 0
	for i, c := range s {
		if n += columnsOf(c); n > width && i > 0 {
			return i
		}
	}
	return len(s)
}
