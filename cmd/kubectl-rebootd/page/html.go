package page

import (
	"bytes"
	"html"
	"strconv"

	"rebootd.dev/daemon/printable"
)

// literal is text of this package's source. Only constants become one by themselves: what
// comes from a cluster can be an element's text or an attribute's value, and is escaped.
type literal string

// attr is an attribute of an element.
type attr struct {
	name  literal
	value string
}

func class(names literal) attr             { return attr{"class", string(names)} }
func at(name literal, value string) attr   { return attr{name, value} }
func percent(name literal, v float64) attr { return attr{name, share(v)} }

// share is a number of percent, as short as can be.
func share(v float64) string { return strconv.FormatFloat(v, 'f', -1, 32) + "%" }

// writer writes HTML. html/template would do as well, and make the program 6 MB larger.
type writer struct{ b bytes.Buffer }

// maxText bounds a text, in bytes.
const maxText = 2000

// raw writes text of this package as it is.
func (w *writer) raw(text literal) { w.b.WriteString(string(text)) }

// text writes a text of whomever.
func (w *writer) text(s string) { w.b.WriteString(html.EscapeString(printable.Line(s, maxText))) }

// tag writes the begin of an element.
func (w *writer) tag(name literal, attrs ...attr) {
	w.raw("<")
	w.raw(name)
	for _, a := range attrs {
		w.raw(" ")
		w.raw(a.name)
		w.raw(`="`)
		w.text(a.value)
		w.raw(`"`)
	}
	w.raw(">")
}

// end writes the end of an element.
func (w *writer) end(name literal) {
	w.raw("</")
	w.raw(name)
	w.raw(">")
}

// in writes an element around what inner writes.
func (w *writer) in(name literal, inner func(), attrs ...attr) {
	w.tag(name, attrs...)
	inner()
	w.end(name)
}

// el writes an element with a text.
func (w *writer) el(name literal, text string, attrs ...attr) {
	w.in(name, func() { w.text(text) }, attrs...)
}

// line begins a new line of the source, for whoever reads that.
func (w *writer) line() { w.raw("\n") }
