package control

import (
	"fmt"
	"path/filepath"
	"time"

	"godwit/snapshot"
)

// begin marks the VM as busy with a long operation; its state is shown as state.
func (r *Runner) begin(state, doing string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || r.m == nil:
		return Fail("state", fmt.Sprintf("%q is %s", r.status.Name, r.status.State), "", "godwit ls -a")
	case r.busy != "":
		return Fail("busy", fmt.Sprintf("%q is being %s", r.status.Name, r.busy), "", "again in a moment")
	}
	r.busy, r.status.State = doing, state
	return nil
}

func (r *Runner) unbusy() {
	r.mu.Lock()
	r.busy, r.shared = "", false
	r.mu.Unlock()
	r.wake()
}

// settle is unbusy for any other goroutine than the machine's. Whoever asks from now
// on is told how the VM is without the operation.
func (r *Runner) settle() {
	r.unbusy()
	_ = r.onMachine(func() error { r.publish(); return nil }) // it may have ended
}

// share lets others ask the machine while it is busy.
func (r *Runner) share(on bool) {
	r.mu.Lock()
	r.shared = on
	r.mu.Unlock()
}

// long runs f on the machine goroutine as an operation, the guest standing
// still. Where f sets no end, the VM goes on as before.
func (r *Runner) long(p *op, what string, f func() (func(*Op), error)) {
	err := r.enqueue(func() {
		r.flush()
		r.pace.stop()
		set, err := f()
		if err != nil {
			r.unbusy()
		}
		r.publish()
		p.finish(AsError(what, err), set)
	})
	if err != nil {
		r.unbusy()
		p.finish(AsError(what, err), nil)
	}
}

// suspend saves the machine to a file and ends.
func (r *Runner) suspend(o *ops, file string) (*op, error) {
	if r.spec.Ephemeral && file == "" {
		return nil, Fail("usage", fmt.Sprintf("%q is ephemeral", r.Status().Name), "it leaves nothing behind", "godwit suspend -o FILE")
	}
	if err := r.begin(StateSaving, "suspended"); err != nil {
		return nil, err
	}
	if file == "" {
		file = filepath.Join(r.home(), fileState)
	}
	p, ctx := o.start("suspend", "pages")
	go r.long(p, "cannot suspend to "+file, func() (func(*Op), error) {
		start := time.Now()
		if err := r.whole(ctx); err != nil {
			return nil, err
		}
		st, err := r.m.Save(ctx, snapshot.Disk{}, file, start.UnixNano(), snapshot.Options{
			Codec:    snapshot.Zstd,
			Progress: func(done, total uint32) { p.progress(uint64(done), uint64(total)) },
		})
		if err != nil {
			return nil, writing("cannot suspend to "+file, err)
		}
		res := &SaveResult{file, fmt.Sprintf("%x", st.Root), r.m.Count(), st.Bytes, st.Pages, st.Zero, int64(time.Since(start))}
		r.end = &End{Reason: "suspended", File: file, Hash: res.Root}
		return func(o *Op) { o.Saved = res }, nil
	})
	return p, nil
}

func (r *Runner) home() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dir
}
