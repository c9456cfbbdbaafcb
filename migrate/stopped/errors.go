package stopped

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"godwit/snapshot"
)

// Code says what kind of thing went wrong. The numbers travel in REFUSE and
// ABORT and never change meaning.
type Code uint16

// Codes.
const (
	Protocol     Code = 1  // the peer breaks the rules of the protocol
	NotGodwit    Code = 2  // the peer is something else
	Newer        Code = 3  // the peer speaks a newer protocol
	Truncated    Code = 4  // the connection ended too early
	Damaged      Code = 5  // bytes arrived that are not those that were sent
	Refused      Code = 6  // the destination cannot be this machine
	Resources    Code = 7  // the destination lacks memory or disk
	RootsDiffer  Code = 8  // what arrived is not what was sent
	Cancelled    Code = 9  // someone asked to stop
	Failed       Code = 10 // a machine failed to do its part
	Disconnected Code = 11 // reading or writing the connection failed
	Older        Code = 12 // the peer speaks a protocol no longer spoken here
)

var codeNames = [...]string{
	Protocol: "protocol", NotGodwit: "not-godwit", Newer: "newer", Truncated: "truncated",
	Damaged: "damaged", Refused: "refused", Resources: "resources", RootsDiffer: "roots-differ",
	Cancelled: "cancelled", Failed: "failed", Disconnected: "disconnected", Older: "older",
}

// String is the code's name, for scripts.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code-%d", uint16(c))
}

// Error is why a migration did not happen. A Dest may return one to choose what
// its peer is told.
type Error struct {
	Code              Code
	Field, Have, Want string // of a refusal: what differs; may be empty
	Text              string // for people
	Peer              bool   // the other side found it
	Err               error  // cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Peer {
		b.WriteString("the other side reports: ")
	}
	b.WriteString(e.Text)
	if e.Field != "" {
		fmt.Fprintf(&b, " (%s: have %s, want %s)", e.Field, e.Have, e.Want)
	}
	if e.Err != nil {
		if e.Text != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

func errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of an error of this package, or Failed.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Failed
}

// fromPeer tells whether the other side reported the error in so many words.
func fromPeer(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Peer
}

// InDoubt says that COMMIT was sent and no answer came: the destination may be
// running the guest. The source must stay stopped until someone knows.
type InDoubt struct{ Err error }

func (e *InDoubt) Error() string {
	return "the destination did not confirm that it took over; it may be running, so this side stays stopped: " + e.Err.Error()
}

func (e *InDoubt) Unwrap() error { return e.Err }

// RootMismatch says that the two sides hold different machines.
type RootMismatch struct {
	Source, Dest [snapshot.DigestSize]byte
	Compared     bool     // Groups was computed
	Groups       []uint32 // groups of 512 pages that differ: none means the device state does
}

func (e *RootMismatch) Error() string {
	s := fmt.Sprintf("state hash is %x at the source and %x at the destination", e.Source, e.Dest)
	switch {
	case !e.Compared:
		return s
	case len(e.Groups) == 0:
		return s + ": memory is equal, device state differs"
	}
	s += ": memory differs in"
	for i, g := range e.Groups {
		if i == 8 {
			return s + fmt.Sprintf(" and %d more groups", len(e.Groups)-i)
		}
		s += fmt.Sprintf(" pages %d-%d", g*snapshot.GroupPages, uint64(g+1)*snapshot.GroupPages-1)
	}
	return s
}

// maxText bounds what a peer may make us print, in bytes.
const maxText = 1024

// clean makes a peer's text fit to print: bounded, and no escape sequences.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, s)
}
