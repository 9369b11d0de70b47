// Package printable makes the words of others fit to be shown: an annotation, a message
// of the API server, the name of an inhibitor, the output of a command. They end up in
// the log, in systemd's status, in conditions and Events, and from there in terminals.
// There a line break can pass for a second message (systemd reads its notifications by
// lines), an escape sequence moves the cursor, and a bidirectional override has people
// read something else than is there.
//
// Where the words of others come in, [Line] is called with the bound of that place; where
// they go out, it is called once more, whatever the source has done.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// more stands for what was left out at the end.
const more = "…"

// Line is s as one printable line of valid UTF-8 with at most n bytes. White space of
// every kind, line breaks included, becomes a single space; control characters, what
// changes the direction of the text, what has no width and invalid UTF-8 are left out. A
// line that was cut ends with "…". A line that is as it should be stays as it is.
func Line(s string, n int) string {
	var b strings.Builder
	space, kept := false, 0 // kept: up to where more would still fit
	for len(s) > 0 {
		c, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch {
		case c == utf8.RuneError && size == 1:
			continue
		case unicode.IsSpace(c):
			space = b.Len() > 0
			continue
		case !isPrintable(c):
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(c)
		if b.Len() > n && n < len(more) {
			return ""
		}
		if b.Len() > n {
			return b.String()[:kept] + more
		}
		if b.Len()+len(more) <= n {
			kept = b.Len()
		}
	}
	return b.String()
}

// Escape writes what is not printable in a JSON text as JSON's escapes, so that the text
// says the same and does nothing to a terminal. The line break at its end stays.
func Escape(json []byte) []byte {
	out := make([]byte, 0, len(json))
	for len(json) > 0 {
		c, size := utf8.DecodeRune(json)
		switch {
		case c == '\n' || isPrintable(c) && (c != utf8.RuneError || size > 1):
			out = append(out, json[:size]...)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, c)
		}
		json = json[size:]
	}
	return out
}

// isPrintable says whether a character can be seen, besides the space. Some letters and
// marks cannot.
func isPrintable(c rune) bool {
	return unicode.IsPrint(c) && !unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
