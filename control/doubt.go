package control

import (
	"context"
	"fmt"
	"net"
)

// InDoubt says of a VM that it may be running on another host.
func InDoubt(name, to string) *Error {
	return Fail("in-doubt", fmt.Sprintf("%q may be running on %s", name, to),
		"it was given away, and no answer came; it stays stopped here, and asks until it knows",
		"godwit ls  there; if it does not run: godwit migrate "+name+" --force-take-back")
}

// recover has a migration that was cut, or is in doubt, go on at another address.
func (r *Runner) recover(to string) error {
	if _, _, err := net.SplitHostPort(to); err != nil {
		return Fail("usage", fmt.Sprintf("cannot connect to %q", to), "an address is HOST:PORT", "hostb:4444")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		return Fail("state", fmt.Sprintf("%q is %s", r.status.Name, r.status.State), "there is no migration to recover", "godwit migrations")
	}
	r.out.mu.Lock()
	r.out.to = to
	r.out.mu.Unlock()
	m := *r.status.Move
	m.Peer = to
	r.status.Move = &m
	return nil
}

// takeBack makes this host the owner again of a machine in doubt, whatever the
// other side does. name must be the VM's: who does this has to know what.
func (r *Runner) takeBack(ctx context.Context, name string) error {
	st := r.Status()
	what := fmt.Sprintf("cannot take %q back", st.Name)
	if name != st.Name {
		e := Fail("usage", what, fmt.Sprintf("its name is to be typed, not %q", name), "godwit migrate "+st.Name+" --force-take-back")
		e.Field, e.Have, e.Want = "name", name, st.Name
		return e
	}
	r.mu.Lock()
	v := r.out
	if v == nil || !v.doubt {
		r.mu.Unlock()
		return Fail("state", what, "it is "+st.State+", not in doubt", "godwit ls")
	}
	epoch := v.epoch
	r.mu.Unlock()
	if epoch != 0 { // the engine has ended, but the record could not be made
		return AsNil(r.own(v, epoch), what)
	}
	v.giveUp()
	select {
	case err := <-v.taken:
		return AsNil(err, what)
	case <-r.done:
		return r.over() // the other side answered in time: it runs there
	case <-ctx.Done():
		return ctx.Err()
	}
}

// own begins the epoch after one that was given away, this host's: it fences the
// other where disks are shared. Without a durable record the guest stays stopped.
func (r *Runner) own(v *outgoing, epoch uint64) error {
	r.mu.Lock()
	v.epoch = epoch
	r.mu.Unlock()
	if err := r.onMachine(r.reclaim); err != nil { // the other side has the disks
		return err
	}
	if err := (Owner{Epoch: epoch + 1}).write(r.home()); err != nil {
		return err
	}
	for _, d := range r.drives {
		d.Untrack()
	}
	v.guest.Resume()
	r.here()
	return r.enqueue(func() {
		r.Note(fmt.Sprintf("taken back by force, in epoch %d: nothing keeps the other host from running it too", epoch+1), false)
	})
}
