package migrate

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
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
	Stalled      Code = 13 // pre-copy does not converge, and nothing else was allowed
	TimedOut     Code = 14 // Options.Timeout has passed
	Busy         Code = 15 // the destination is taken by another session
)

var codeNames = [...]string{
	Protocol: "protocol", NotGodwit: "not-godwit", Newer: "newer", Truncated: "truncated",
	Damaged: "damaged", Refused: "refused", Resources: "resources", RootsDiffer: "roots-differ",
	Cancelled: "cancelled", Failed: "failed", Disconnected: "disconnected", Older: "older",
	Stalled: "stalled", TimedOut: "timed-out", Busy: "busy",
}

// String is the code's name, for scripts.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return fmt.Sprintf("code-%d", uint16(c))
}

// Mismatch is one thing that keeps a host from being a machine.
type Mismatch struct {
	Field string `json:"field" cbor:"1,keyasint"` // "cpu.features", "ram", "disk0.size"
	Have  string `json:"have" cbor:"2,keyasint"`  // at this host
	Want  string `json:"want" cbor:"3,keyasint"`  // by the machine
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s: have %s, want %s", m.Field, m.Have, m.Want)
}

// Error is why a migration did not happen. A Builder may return one to choose
// what its peer is told.
type Error struct {
	Code       Code
	Text       string     // for people
	Mismatches []Mismatch // of Refused and the like: what differs
	Verdict    *Verdict   // of Stalled
	Peer       bool       // the other side found it
	Err        error      // cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Peer {
		b.WriteString("the other side reports: ")
	}
	b.WriteString(e.Text)
	for i, m := range e.Mismatches {
		b.WriteString([]string{" (", "; "}[min(i, 1)])
		b.WriteString(m.String())
	}
	if len(e.Mismatches) != 0 {
		b.WriteByte(')')
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

// ErrLeaf is what Memory.Fill returns for content that was not promised.
var ErrLeaf = errors.New("the page's content does not have the promised hash")

// InDoubt says that COMMIT was sent and nobody says what became of it: the
// destination may be running the guest. The source must stay stopped until
// someone knows. Resolve asks again; taking the guest back by force needs a new
// Epoch, beyond this one.
type InDoubt struct {
	Session snapshot.UUID
	Epoch   uint64 // that was given away
	Err     error
}

func (e *InDoubt) Error() string {
	return "the destination did not confirm that it took over; it may be running, so this side stays stopped: " + e.Err.Error()
}

func (e *InDoubt) Unwrap() error { return e.Err }

// Lost says that post-copy broke off for good. The destination owns the guest;
// without these pages it cannot go on once it needs one of them.
type Lost struct {
	Pages []uint64 // destination: a bit for each page that never came; nil at the source
	Count int
	Err   error
}

func (e *Lost) Error() string {
	return fmt.Sprintf("post-copy broke off with %d pages missing at the destination, which owns the guest: %v", e.Count, e.Err)
}

func (e *Lost) Unwrap() error { return e.Err }

// RootMismatch says that the two sides hold different machines, and that sending
// what differed again did not help.
type RootMismatch struct {
	Source, Dest [DigestSize]byte
	Pages        []uint32 // that differ; none means that the device state does
}

func (e *RootMismatch) Error() string {
	s := fmt.Sprintf("state hash is %x at the source and %x at the destination", e.Source, e.Dest)
	if len(e.Pages) == 0 {
		return s + ": memory is equal, device state differs"
	}
	s += ": memory differs in pages"
	for i, p := range e.Pages {
		if i == 8 {
			return s + fmt.Sprintf(" and %d more", len(e.Pages)-i)
		}
		s += fmt.Sprintf(" %d", p)
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

// asError keeps an *Error and wraps any other. A full disk is a lack of resources
// whatever it kept from being done.
func asError(c Code, text string, err error) error {
	if e, ok := err.(*Error); ok {
		return e
	}
	if errors.Is(err, syscall.ENOSPC) {
		c = Resources
	}
	return &Error{Code: c, Text: text, Err: err}
}
