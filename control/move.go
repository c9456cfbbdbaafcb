package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"

	migrate "godwit/migrate/stopped"
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
	r.busy = ""
	r.mu.Unlock()
	r.wake()
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
		st, err := r.m.Save(ctx, snapshot.Disk{}, file, time.Now().UnixNano(), snapshot.Options{
			Codec:    snapshot.Zstd,
			Progress: func(done, total uint32) { p.progress(uint64(done), uint64(total)) },
		})
		if err != nil {
			return nil, writing("cannot suspend to "+file, err)
		}
		res := &SaveResult{file, fmt.Sprintf("%x", st.Root), r.m.Count(), st.Bytes, st.Pages, st.Zero}
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

// about travels with a machine but is no part of it.
type about struct {
	Name   string `cbor:"1,keyasint"`
	Paused bool   `cbor:"2,keyasint"`
	Source string `cbor:"3,keyasint"`
	Screen []byte `cbor:"4,keyasint"` // the end of what it printed, for whoever attaches
}

// Bounds of what travels, in bytes.
const (
	maxScreen = 8 << 10
	maxAbout  = 2 * maxScreen
)

const secAbout = "about"

// described is a machine with what its host knows of it.
type described struct {
	migrate.Source
	about snapshot.Section
}

func (d *described) Sections() []snapshot.Section {
	return append(append([]snapshot.Section(nil), d.Source.Sections()...), d.about)
}

func (r *Runner) describe(src migrate.Source) (migrate.Source, error) {
	b, err := cbor.Marshal(about{r.Status().Name, r.paused, r.spec.Source, r.con.tail(maxScreen)})
	return &described{src, snapshot.Section{Name: secAbout, Version: 1, Data: b}}, err
}

// aboutOf reads what came along; it is a peer's word and only used for names.
func aboutOf(secs []snapshot.Section) about {
	var a about
	if s := snapshot.Find(secs, secAbout, ""); s != nil && len(s.Data) < maxAbout {
		_ = cbor.Unmarshal(s.Data, &a) // a machine without it is as good
	}
	if CheckName(a.Name) != nil {
		a.Name = ""
	}
	a.Source = oneLine(a.Source[:min(len(a.Source), 200)])
	return a
}

// send moves the machine to the godwit that listens at an address.
func (r *Runner) send(o *ops, to string) (*op, error) {
	if _, _, err := net.SplitHostPort(to); err != nil {
		return nil, Fail("usage", fmt.Sprintf("cannot send to %q", to), "an address is HOST:PORT", "godwit send VM hostb:4444")
	}
	if err := r.begin(StateSending, "sent"); err != nil {
		return nil, err
	}
	p, ctx := o.start("send", "pages")
	what := "cannot send to " + to
	go func() {
		var d net.Dialer
		dctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		conn, err := d.DialContext(dctx, "tcp", to)
		cancel()
		if err != nil {
			r.unbusy()
			p.finish(unreachable(what, to, err), nil)
			return
		}
		r.long(p, what, func() (func(*Op), error) {
			defer conn.Close()
			return r.sendOver(ctx, p, conn, to)
		})
	}()
	return p, nil
}

func unreachable(what, to string, err error) *Error {
	if errors.Is(err, context.Canceled) {
		return AsError(what, err)
	}
	host, port, _ := net.SplitHostPort(to)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return Fail("unreachable", what, fmt.Sprintf("nobody listens on port %s of %s (%v)", port, host, err), "godwit receive :"+port+"  there")
}

// sendOver sends the machine over a connection.
func (r *Runner) sendOver(ctx context.Context, p *op, conn io.ReadWriter, to string) (func(*Op), error) {
	start := time.Now()
	if err := r.handOver(ctx, to); err != nil {
		return nil, err
	}
	res, err := r.sendState(ctx, p, conn, to)
	if err != nil && !r.doubt {
		back := r.takeBack()
		r.doubt = back != nil // whoever has the disks may be running
		return nil, errors.Join(err, back)
	}
	if err != nil {
		return nil, err
	}
	res.PauseNS = time.Since(start)
	r.end = &End{Reason: "moved", To: to, Hash: res.Root, Moved: res}
	return func(o *Op) { o.Moved = res }, nil
}

// sendState sends the machine, whose disks were handed over.
func (r *Runner) sendState(ctx context.Context, p *op, conn io.ReadWriter, to string) (*MoveResult, error) {
	src, err := r.m.Source()
	if err != nil {
		return nil, err
	}
	src, err = r.describe(src)
	if err != nil {
		return nil, err
	}
	st, err := migrate.Send(ctx, conn, src, migrate.Options{
		Agent:    "godwit " + Version,
		Progress: func(s migrate.Stats) { p.progress(moved(&s), uint64(s.Present)) },
	})
	var doubt *migrate.InDoubt
	if errors.As(err, &doubt) {
		r.doubt = true
	}
	if err != nil {
		return nil, err
	}
	res := &MoveResult{To: to, Count: r.m.Count(), GuestNS: int64(r.m.Now())}
	res.count(&st)
	return res, nil
}

func moved(s *migrate.Stats) (pages uint64) {
	for _, k := range s.Kinds {
		pages += k.Pages
	}
	return pages
}

// count takes over what the protocol counted.
func (res *MoveResult) count(s *migrate.Stats) {
	res.Peer, res.Root = s.Peer, fmt.Sprintf("%x", s.Root)
	res.Bytes, res.Pages, res.Sections, res.AckLost = s.Sent+s.Received, s.Pages, s.Devices, s.AckLost
	res.Implied = uint64(s.Pages - s.Present)
	res.Kinds = map[string]Moved{}
	for k, v := range s.Kinds {
		if v.Pages > 0 {
			res.Kinds[migrate.Kind(k).String()] = Moved{v.Pages, v.Wire}
		}
	}
}
