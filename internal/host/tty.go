package host

import (
	"os"
	"sync"

	"golang.org/x/term"
)

// IsTerminal tells whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Raw is a terminal that passes every key on at once.
type Raw struct {
	fd    int
	saved *term.State
	undo  func()
	once  sync.Once
}

// MakeRaw switches the terminal of in and out to raw mode. Restore must follow,
// whatever happens.
func MakeRaw(in, out *os.File) (*Raw, error) {
	saved, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	return &Raw{fd: int(in.Fd()), saved: saved, undo: enableVT(out)}, nil
}

// Restore brings the terminal back to what it was. It may be called again, from
// any goroutine.
func (r *Raw) Restore() {
	r.once.Do(func() {
		r.undo()
		_ = term.Restore(r.fd, r.saved)
	})
}
