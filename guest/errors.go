package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Codes of errors, as in docs/format/api.md.
const (
	CodeUsage        = "usage"
	CodeNotFound     = "not-found"
	CodeIncompatible = "incompatible"
	CodeAltered      = "altered"
	CodeUnreachable  = "unreachable"
	CodeFailed       = "failed"
)

// Error says what could not be done, why, and what to type instead.
type Error struct {
	Code, What, Why, Hint string
	Field, Have, Want     string // what differs, where something does
}

func (e *Error) Error() string {
	if e.Why == "" {
		return e.What
	}
	return e.What + ": " + e.Why
}

func fail(code, what, why, hint string) *Error {
	return &Error{Code: code, What: what, Why: why, Hint: hint}
}

const packageDamaged = "package is damaged"

// wrap says what an error of reading, writing or fetching kept us from. An *Error
// says so itself, but for the one that does not know its package. The host's own
// errors stay visible to errors.Is.
func wrap(what string, err error) error {
	var e *Error
	if errors.As(err, &e) && e.What == packageDamaged {
		named := *e
		named.What = what
		return &named
	}
	if err == nil || e != nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// damaged is the error of a package that is not what a package must be.
func damaged(format string, args ...any) *Error {
	return fail(CodeAltered, packageDamaged, fmt.Sprintf(format, args...), "another copy of it")
}

// differs is the error of bytes whose hash is not the expected one.
func differs(name, have, want string) *Error {
	e := fail(CodeAltered, name+" is not what was announced",
		fmt.Sprintf("its sha256 is %s, not %s", short(have), short(want)), "the same again later; a mirror may be changing")
	e.Field, e.Have, e.Want = "sha256", have, want
	return e
}

func short(hash string) string {
	if len(hash) <= 16 {
		return hash
	}
	return hash[:16] + "..."
}

// lastLine is the last line of a program's complaints that says something.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); l != "" && !strings.HasPrefix(l, "W: ") {
			return l
		}
	}
	return ""
}
