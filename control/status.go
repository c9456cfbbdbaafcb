package control

import (
	"fmt"

	"godwit/machine"
	"godwit/migrate"
)

// States of a VM.
const (
	StateStarting  = "starting"
	StateIncoming  = "incoming" // waits for a machine, or is receiving it
	StateRunning   = "running"
	StatePaused    = "paused"
	StateSleeping  = "sleeping" // in ACPI's S3, by its own wish
	StateSaving    = "saving"
	StateMigrating = "migrating"
	StateInDoubt   = "in-doubt"  // may run on another host
	StateOff       = "off"       // ended
	StateSuspended = "suspended" // in a file
	StateGone      = "gone"      // on another host
	StateCrashed   = "crashed"   // a bug of ours
	StateLost      = "lost"      // its process died without a word
)

// Status tells how a VM is.
type Status struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Count   uint64 `json:"count"`
	GuestNS int64  `json:"guest_ns"`
	PID     int    `json:"pid"`
	Memory  uint64 `json:"memory"`
	CPUs    int    `json:"cpus"`
	CPU     string `json:"cpu"`
	Clock   string `json:"clock"`
	Source  string `json:"source"`
	Disks   int    `json:"disks,omitempty"`
	Listen  string `json:"listen,omitempty"`
	Missing int    `json:"missing,omitempty"`  // pages of memory that are still in a file
	FirstNS int64  `json:"first_ns,omitempty"` // of a resumed VM: host time from opening its file to where its guest goes on: its first instruction, or waiting as before
	Reason  string `json:"reason,omitempty"`   // why it is paused, where nobody asked for that
	Note    string `json:"note,omitempty"`     // the last thing the guest did that is likely a gap of ours or a bug of its own
	Move    *Move  `json:"move,omitempty"`     // a migration that goes on
	End     *End   `json:"end,omitempty"`
}

// End tells why a VM is no more.
type End struct {
	Reason string          `json:"reason"` // "powered off", "count reached", "suspended", ...
	Exit   int             `json:"exit"`   // the exit code that commands give it
	Hash   string          `json:"hash,omitempty"`
	File   string          `json:"file,omitempty"`   // suspended to
	To     string          `json:"to,omitempty"`     // moved to
	Bundle string          `json:"bundle,omitempty"` // of a crash
	Error  *Error          `json:"error,omitempty"`
	Report *migrate.Report `json:"report,omitempty"` // of the move
}

func (s *Status) fill(spec *Spec) {
	s.Name, s.Source = spec.Name, spec.Source
	s.config(spec.Machine)
}

func (s *Status) config(c machine.Config) {
	s.Memory, s.CPUs, s.CPU, s.Clock, s.Disks = c.Memory, c.CPUs, c.CPU, c.Clock, len(c.Disks)
}

// GuestTime is guest time for people.
func (s *Status) GuestTime() string { return fmt.Sprintf("%.3f s", float64(s.GuestNS)/1e9) }

// Live tells whether there is a machine that can be asked something.
func (s *Status) Live() bool {
	switch s.State {
	case StateRunning, StateSleeping, StatePaused, StateSaving, StateMigrating, StateInDoubt:
		return true
	}
	return false
}

// SaveResult tells what a suspend wrote.
type SaveResult struct {
	File  string `json:"file"`
	Root  string `json:"root"`
	Count uint64 `json:"count"`
	Bytes uint64 `json:"bytes"`
	Pages uint32 `json:"pages"`
	Zero  uint32 `json:"zero"`

	TookNS int64 `json:"took_ns"` // host time that the guest stood still, until all was durable
}

// Ended tells whether there is no process and nothing to resume.
func (s *Status) Ended() bool {
	switch s.State {
	case StateOff, StateGone, StateCrashed, StateLost:
		return true
	}
	return false
}

// Failure is the error that an end is for whoever waited for it; nil where the
// guest did as it was told.
func (s *Status) Failure() error {
	e := s.End
	at := fmt.Sprintf("at #%d, after %s of guest time", s.Count, s.GuestTime())
	switch {
	case e.Error != nil:
		return e.Error
	case e.Exit == ExitBug:
		return Fail("bug", "godwit failed: "+e.Reason, at+"; traces are in "+e.Bundle, "")
	case e.Exit == ExitGuestTime && e.Reason == reasonTime:
		return Fail("guest-time", "guest-time limit reached "+at, "", "a longer  --timeout")
	case e.Exit == ExitGuestDied && (e.Reason == reasonIdle || e.Reason == reasonTriple || e.Reason == reasonReboot):
		return Fail("guest-died", "guest stopped: "+e.Reason+" "+at, "", "godwit logs "+s.Name)
	}
	return nil
}

// Reasons that commands tell apart from a guest's own exit code.
const (
	reasonTime   = "guest-time limit"
	reasonIdle   = "idle for ever"
	reasonTriple = "triple fault"
	reasonReboot = "reboot refused"
)

// Epitaph is one line about a VM that has ended.
func (s *Status) Epitaph() string {
	line := fmt.Sprintf("%q: %s at #%d, after %s of guest time.", s.Name, s.End.Reason, s.Count, s.GuestTime())
	switch {
	case s.End.To != "":
		line += "  It lives at " + s.End.To
	case s.End.File != "":
		line += "  godwit resume " + s.Name
	}
	return line
}
