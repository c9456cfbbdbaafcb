// Package control is what lies around a machine on its host: the process that
// runs it, in its own time and with its console, the API by which it is
// controlled (docs/format/api.md), and the client side of that API. Commands are
// thin layers over it.
//
// One goroutine touches the machine; everything else asks it to, and is served
// between two instructions, where the guest cannot notice.
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"godwit/firmware"
	"godwit/machine"
	"godwit/migrate"
	"godwit/migrate/secure"
	"godwit/snapshot"
)

// Exit codes of commands.
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitIncompatible = 4
	ExitGuestDied    = 5
	ExitGuestTime    = 6
	ExitResource     = 7
	ExitCancelled    = 8
	ExitBug          = 70
)

// Error is what users and clients see of a failure: what, why, and what to type.
type Error struct {
	Code  string `json:"code"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	Hint  string `json:"hint"` // what to type, without "Try"
	Exit  int    `json:"exit"`
}

func (e *Error) Error() string {
	if e.Why == "" {
		return e.What
	}
	return e.What + ": " + e.Why
}

// Text is the error as commands print it: at most three lines.
func (e *Error) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "godwit: %s\n", oneLine(e.What))
	why, hint := oneLine(e.Why), oneLine(e.Hint)
	switch {
	case why != "" && hint != "":
		fmt.Fprintf(&b, "  %s.  Try  %s\n", strings.TrimSuffix(why, "."), hint)
	case why != "":
		fmt.Fprintf(&b, "  %s\n", why)
	case hint != "":
		fmt.Fprintf(&b, "  Try  %s\n", hint)
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// kinds gives each code its HTTP status and exit code.
var kinds = map[string]struct{ http, exit int }{
	"usage":        {400, ExitUsage},
	"not-found":    {404, ExitNotFound},
	"incompatible": {409, ExitIncompatible},
	"altered":      {409, ExitFailed},
	"truncated":    {409, ExitFailed},
	"busy":         {409, ExitFailed},
	"in-doubt":     {409, ExitFailed},
	"state":        {409, ExitFailed},
	"resource":     {507, ExitResource},
	"unreachable":  {502, ExitResource},
	"cancelled":    {409, ExitCancelled},
	"stalled":      {409, ExitCancelled},
	"timed-out":    {409, ExitCancelled},
	"token":        {403, ExitFailed},
	"lost":         {500, ExitFailed},
	"guest-died":   {500, ExitGuestDied},
	"guest-time":   {500, ExitGuestTime},
	"failed":       {500, ExitFailed},
	"bug":          {500, ExitBug},
}

// Fail makes an error of a code.
func Fail(code, what, why, hint string) *Error {
	return &Error{Code: code, What: what, Why: why, Hint: hint, Exit: kinds[code].exit}
}

// AsError turns any error into one for people. what says which undertaking it
// ended; an *Error is left as it is.
func AsError(what string, err error) *Error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return e
	}
	for _, f := range []func(string, error) *Error{fromDisk, fromSnapshot, fromSecure, fromMigrate, fromFirmware, fromHost} {
		if e = f(what, err); e != nil {
			return e
		}
	}
	return Fail("failed", what, err.Error(), "")
}

func fromSnapshot(what string, err error) *Error {
	var (
		foreign *snapshot.NotGodwit
		newer   *snapshot.NewerFormat
		cut     *snapshot.Truncated
		bad     *snapshot.Altered
		unknown *snapshot.UnknownSection
		full    *snapshot.NoRoom
	)
	switch {
	case errors.As(err, &full):
		e := Fail("resource", what, fmt.Sprintf("it needs about %s in %s, and %s are free", bytesSent(full.Need), full.Dir, bytesSent(full.Free)), "df -h "+full.Dir)
		e.Field, e.Have, e.Want = "free", fmt.Sprint(full.Free), fmt.Sprint(full.Need)
		return e
	case errors.As(err, &foreign):
		return Fail("incompatible", what, foreign.Error(), "godwit suspend -o FILE  to make one")
	case errors.As(err, &newer):
		e := Fail("incompatible", what, newer.Error(), "a newer godwit")
		e.Field, e.Have, e.Want = "format", fmt.Sprint(newer.Have), fmt.Sprint(newer.Want)
		return e
	case errors.As(err, &cut):
		return Fail("truncated", what, cut.Error(), "a complete copy of the file")
	case errors.As(err, &bad):
		e := Fail("altered", what, bad.Error(), "another copy of the file")
		e.Field = bad.Part
		return e
	case errors.As(err, &unknown):
		e := Fail("incompatible", what, unknown.Error(), "a newer godwit")
		e.Field, e.Have, e.Want = "section "+unknown.ID, fmt.Sprint(unknown.Version), fmt.Sprint(unknown.Newest)
		return e
	case errors.Is(err, machine.ErrMemory):
		return Fail("resource", what, err.Error(), "free -h; ulimit -v")
	case errors.Is(err, machine.ErrConfig):
		return Fail("incompatible", what, err.Error(), "the godwit that wrote it")
	}
	return nil
}

// byPeer maps what a migration ended with.
var byPeer = map[migrate.Code]string{
	migrate.NotGodwit: "incompatible", migrate.Newer: "incompatible", migrate.Older: "incompatible",
	migrate.Refused: "incompatible", migrate.Truncated: "truncated", migrate.Damaged: "altered",
	migrate.Resources: "resource", migrate.Cancelled: "cancelled", migrate.Disconnected: "unreachable",
	migrate.RootsDiffer: "altered", migrate.Stalled: "stalled", migrate.TimedOut: "timed-out", migrate.Busy: "busy",
}

// migrateHints say what to type.
var migrateHints = map[migrate.Code]string{
	migrate.NotGodwit: "godwit receive :4444  on the other host",
	migrate.Truncated: "again; --reconnect 1m  keeps trying for longer",
	migrate.Newer:     "a newer godwit here",
	migrate.Older:     "a newer godwit there",
	migrate.Stalled:   "--on-stall budget, or  --mode post",
	migrate.TimedOut:  "a longer  --timeout, or  --mode post",
	migrate.Busy:      "again when it is free, or another  godwit receive",
}

func fromMigrate(what string, err error) *Error {
	var doubt *migrate.InDoubt
	if errors.As(err, &doubt) {
		return Fail("in-doubt", what, doubt.Error(), "godwit ls  on the other host; if it does not run there: godwit migrate VM --force-take-back")
	}
	var lost *migrate.Lost
	if errors.As(err, &lost) {
		return Fail("lost", what, lost.Error(), "")
	}
	var m *migrate.Error
	if !errors.As(err, &m) {
		return nil
	}
	if m.Code == migrate.Cancelled && !m.Peer {
		return fromHost(what, context.Canceled)
	}
	if m.Code == migrate.Cancelled {
		return Fail("cancelled", what, "the other side gave it up; nothing is lost", "")
	}
	code := byPeer[m.Code]
	switch {
	case m.Code == migrate.Refused && onlyRoom(m.Mismatches):
		code = "resource"
	case code == "":
		code = "failed"
	}
	e := Fail(code, what, m.Error(), migrateHints[m.Code])
	if m.Code == migrate.NotGodwit && strings.HasSuffix(m.Text, "TLS") {
		e = Fail("token", what, "the other side wants a token, and encrypts", "without --insecure, or with it on both sides")
	}
	if len(m.Mismatches) > 0 {
		x := m.Mismatches[0]
		if strings.HasSuffix(x.Field, ".file") || strings.HasSuffix(x.Field, ".identity") {
			e.Hint = "--copy-disks full"
		}
		e.Field, e.Have, e.Want = x.Field, x.Have, x.Want
	}
	return e
}

// onlyRoom tells whether a host could be the machine if it had more left.
func onlyRoom(ms []migrate.Mismatch) bool {
	return len(ms) > 0 && !slices.ContainsFunc(ms, func(m migrate.Mismatch) bool { return !strings.HasSuffix(m.Field, ".free") })
}

// secureHints say what to type, by what keeps two sides apart.
var secureHints = map[secure.Reason]string{
	secure.WrongToken: "the token that  godwit receive  printed there",
	secure.Expired:    "godwit receive  there, for a new one",
	secure.Plain:      "--insecure on both sides, or on neither",
	secure.Closed:     "--insecure on both sides, or on neither",
	secure.NotTLS:     "godwit receive :4444  on the other host",
	secure.NotGodwit:  "godwit receive :4444  on the other host",
	secure.OldTLS:     "a newer godwit there",
}

func fromSecure(what string, err error) *Error {
	var s *secure.Error
	if !errors.As(err, &s) {
		return nil
	}
	code := "token"
	switch s.Reason {
	case secure.NotTLS, secure.NotGodwit, secure.OldTLS:
		code = "incompatible"
	case secure.Failed, secure.Closed:
		code = "unreachable"
	}
	return Fail(code, what, s.Error(), secureHints[s.Reason])
}

// bootWhat begins what a failed boot is called; the image follows.
const bootWhat = "cannot boot "

func fromFirmware(what string, err error) *Error {
	var f *firmware.Error
	if !errors.As(err, &f) {
		return nil
	}
	code := "incompatible"
	if f.Code == firmware.CodeMemory || f.Code == firmware.CodeCmdline {
		code = "usage"
	}
	hint := f.Hint
	if hint == "" && f.Code == firmware.CodeCorrupt {
		hint = "another copy of the file"
	}
	e := Fail(code, what, f.Error(), hint)
	if path, ok := strings.CutPrefix(what, bootWhat); ok {
		e.Hint = strings.ReplaceAll(e.Hint, "FILE", path)
	}
	e.Field = f.Field
	if f.Have != 0 || f.Want != 0 {
		e.Have, e.Want = fmt.Sprint(f.Have), fmt.Sprint(f.Want)
	}
	return e
}

// writing is AsError for files that were to be made: what is missing then is the
// host's.
func writing(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return Fail("resource", what, "there is no such folder", "mkdir -p, or another file")
	}
	return AsError(what, err)
}

func fromHost(what string, err error) *Error {
	var path *fs.PathError
	hint := ""
	if errors.As(err, &path) {
		hint = "ls -ld " + path.Path
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Fail("cancelled", what, "cancelled; nothing is lost", "")
	case errors.Is(err, fs.ErrNotExist):
		return Fail("not-found", what, err.Error(), "")
	case errors.Is(err, fs.ErrPermission):
		return Fail("resource", what, err.Error(), hint)
	case errors.Is(err, syscall.ENOSPC):
		if path != nil { // of the guest's disks, or of what is being written
			return Fail("resource", what, "the host's disk is full: "+path.Path, "df -h "+filepath.Dir(path.Path))
		}
		return Fail("resource", what, "the host's disk is full", "df -h")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Fail("unreachable", what, err.Error(), "")
	}
	return nil
}
