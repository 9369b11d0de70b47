// Package api is what rebootd and other programs read and write in common: the
// names of annotations, conditions and field managers, the record of an operation,
// the report of its drain, its phases, and the vocabulary of reasons. A program that
// shows or guides a fleet needs this package and no other one.
//
// It knows words and their forms. It does not know what follows from them: that is
// package decide. It imports nothing but the standard library, reads no clock and
// asks nobody. Its values are plain data, safe for concurrent reading.
//
// Two versions of rebootd share a cluster in every rollout, and read what each other
// has written. Within [Schema] fields are only added, and fields that a reader does
// not know are kept.
package api
