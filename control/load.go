package control

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"godwit/machine"
	"godwit/snapshot"
)

// Load says how much of its memory a resumed machine has when it goes on. The rest
// comes when it is needed, each page checked before the guest can see it, and behind
// the guest's back.
type Load string

// How much of memory comes first.
const (
	LoadAll    Load = ""       // everything
	LoadActive Load = "active" // what was used last when the machine was saved
	LoadNone   Load = "none"   // nothing but what its next instruction needs
)

// ParseLoad reads all, active or none.
func ParseLoad(text string) (Load, error) {
	switch text {
	case "", "all":
		return LoadAll, nil
	case string(LoadActive), string(LoadNone):
		return Load(text), nil
	}
	return "", Fail("usage", fmt.Sprintf("cannot load %q of a machine's memory", text), "there are all, active and none", "--memory active")
}

// loading is a machine whose memory is partly in a file still.
type loading struct {
	*machine.Loader
	f    *snapshot.File
	name string
}

// load builds the machine of a file, which the machine keeps open as long as it
// needs it.
func (r *Runner) load(f *snapshot.File, how Load) (*machine.Machine, error) {
	if how == LoadAll {
		m, err := machine.Load(context.Background(), f, r)
		return m, err
	}
	// The heap is small so far: to collect it costs more time than the rest of what is
	// to be done before the guest's first instruction.
	r.gc = debug.SetGCPercent(-1)
	var first []uint32
	if how == LoadActive {
		first = machine.WorkingSet(f)
	}
	m, l, err := machine.LoadLazily(f, r, first)
	if err == nil {
		r.loader = &loading{Loader: l, f: f, name: r.spec.Resume}
	}
	return m, err
}

// collect has garbage be collected again.
func (r *Runner) collect() {
	if r.gc != 0 {
		debug.SetGCPercent(r.gc)
		r.gc = 0
	}
}

// background brings the rest of memory while the guest runs.
func (r *Runner) background(l *loading) {
	err := l.Fill(context.Background(), r.onMachine, func(missing int) {
		r.update(func(s *Status) { s.Missing = missing })
	})
	if err == nil {
		err = r.onMachine(func() error {
			if r.loader == l {
				r.loader = nil
			}
			return nil
		})
	}
	if err != nil { // it ends here only if the VM did; a page that cannot be read stops the guest when it needs it
		fmt.Fprintln(os.Stderr, "godwit: loading the rest of memory:", err)
	}
}

// pull brings the page that the guest waits for, on the machine goroutine. False:
// it waits for something else, or the guest was paused because the page is not to
// be had.
func (r *Runner) pull() bool {
	if r.loader == nil {
		return false
	}
	if err := r.loader.Pull(); err != nil {
		why := fmt.Sprintf("%s: %v", r.loader.name, err)
		r.paused = true
		r.update(func(s *Status) { s.Reason = why + "; once that is mended,  godwit cont " + s.Name })
		r.Note("paused: "+why, true)
		r.con.print([]byte("\r\ngodwit: paused: " + why + "\r\n"))
	}
	return true
}

// whole brings all that is missing of memory, on the machine goroutine.
func (r *Runner) whole(ctx context.Context) error {
	if r.loader == nil {
		return nil
	}
	if err := r.loader.All(ctx); err != nil {
		return err
	}
	r.loader = nil
	r.update(func(s *Status) { s.Missing = 0 })
	return nil
}
