package control

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
)

// about travels with a machine but is no part of it.
type about struct {
	Name   string `cbor:"1,keyasint"`
	Paused bool   `cbor:"2,keyasint"`
	Source string `cbor:"3,keyasint"`
	Screen []byte `cbor:"4,keyasint"` // the end of what it printed, for whoever attaches
	Clock  string `cbor:"5,keyasint"` // what its clock does about the time it stood still
}

// Bounds of what travels, in bytes.
const (
	maxScreen = 8 << 10
	maxAbout  = 2 * maxScreen
)

// about is sent before the first page, and as it is then once the guest stands
// still.
const (
	secAbout  = "about"
	aboutLast = "stop"
)

// about makes the section. For the machine's goroutine.
func (r *Runner) about(clock string) (snapshot.Section, error) {
	r.flush()
	b, err := cbor.Marshal(about{r.Status().Name, r.paused, r.spec.Source, r.con.tail(maxScreen), clock})
	return snapshot.Section{Name: secAbout, Version: 1, Data: b}, err
}

// aboutOf reads what came along; it is a peer's word and only used for names.
func aboutOf(secs []snapshot.Section, instance string) about {
	var a about
	if s := snapshot.Find(secs, secAbout, instance); s != nil && len(s.Data) < maxAbout {
		_ = cbor.Unmarshal(s.Data, &a) // a machine without it is as good
	}
	if CheckName(a.Name) != nil {
		a.Name = ""
	}
	a.Source = oneLine(a.Source[:min(len(a.Source), 200)])
	return a
}

// departing is a machine that leaves, with what its host knows of it, and its
// disks.
type departing struct {
	*machine.Departing
	r        *Runner
	v        *outgoing
	settles  atomic.Bool // disks are being written back
	settling sync.WaitGroup
}

// guest makes the machine one that can be sent. Nothing is done to it yet.
func (r *Runner) guest(ctx context.Context, v *outgoing) migrate.Guest {
	start := time.Now()
	return &departing{r: r, v: v, Departing: &machine.Departing{
		M: r.m, Ctx: ctx,
		Do:     r.onMachine,
		Halted: func(on bool) { r.halted = on },
		Extra: func() ([]snapshot.Section, error) {
			s, err := r.about(v.req.GuestClock)
			return []snapshot.Section{s}, err
		},
		Now:  func() time.Duration { return time.Since(start) },
		Wall: func() int64 { return time.Now().UnixNano() },
	}}
}

// onMachine runs f on the machine's goroutine, whatever goes on.
func (r *Runner) onMachine(f func() error) error {
	answer := make(chan error, 1)
	if err := r.enqueue(func() { answer <- f() }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-r.done:
		return r.over()
	}
}

// Pass also has the host write back what the guest wrote to its disks.
func (d *departing) Pass() (migrate.Pass, error) {
	d.settleDisks()
	return d.Departing.Pass()
}

// Where finds a page of the guest on the image of a disk.
func (d *departing) Where(disk uint8, page *[migrate.PageSize]byte) (int64, bool) {
	return d.r.drives[disk].Where(page[:])
}

// Resume takes the disks back, if they were let go of, before the guest goes on.
func (d *departing) Resume() {
	_ = d.r.onMachine(d.r.regain) // fails where the machine is gone
	d.Departing.Resume()
}

// Stop has what is known of the guest by then travel with its state.
func (d *departing) Stop() (migrate.Final, error) {
	d.settling.Wait() // while the guest runs
	f, err := d.Departing.Stop()
	if err != nil {
		return nil, err
	}
	out := &stopped{Final: f}
	err = d.r.onMachine(func() (err error) {
		d.r.pace.stop()
		out.about, err = d.r.about(d.v.req.GuestClock)
		return err
	})
	out.about.Instance, out.about.State = aboutLast, true
	return out, err
}

// stopped is a machine that stands still.
type stopped struct {
	migrate.Final
	about snapshot.Section
}

// Sections are the machine's and one more.
func (s *stopped) Sections() []snapshot.Section {
	secs := s.Final.Sections()
	return append(secs[:len(secs):len(secs)], s.about)
}

// builder makes a machine of what arrives, and makes it this host's.
func (in *incoming) builder() *builder {
	r := in.p.r
	b := &builder{in: in}
	b.Arriving = &machine.Arriving{
		Host: r, Do: r.onMachine, AtHand: in.p.home.atHand,
		Knows: func(name string) bool { return name == secCopies },
		Vet: func(cfg machine.Config, secs []snapshot.Section) []migrate.Mismatch {
			bad := r.vetDisks(&cfg, secs)
			b.images.find(r, &cfg, secs)
			return bad
		},
		Owned: func(epoch uint64, session snapshot.UUID) error {
			b.images.close() // before the disks are opened: so that hosts which share files look again
			if err := in.claimDisks(b.Machine(), session); err != nil {
				return err
			}
			return Owner{Epoch: epoch, Session: session.String()}.write(r.home())
		},
		Started: in.start,
		Wall:    func() int64 { return time.Now().UnixNano() },
	}
	return b
}

type builder struct {
	*machine.Arriving
	in     *incoming
	images images
}

// Check also learns what the machine is called.
func (b *builder) Check(config []snapshot.Section) []migrate.Mismatch {
	b.in.began(aboutOf(config, ""))
	b.Clock = machine.ClockPolicy(b.in.what.Clock)
	return b.Arriving.Check(config)
}

// Reserve builds the machine. Its disks are not opened yet.
func (b *builder) Reserve(config []snapshot.Section) (migrate.Memory, error) {
	r := b.in.p.r
	r.drives, r.in = nil, b.in // of an earlier attempt
	copies, err := copiesOf(config)
	if err == nil {
		err = b.in.place(copies)
	}
	if err != nil {
		b.in.discard()
		return nil, err
	}
	m, err := b.Arriving.Reserve(config)
	if err != nil {
		b.in.discard()
	}
	return m, err
}

// Name is what the VM is called here.
func (b *builder) Name() string { return b.in.p.name }

// Abandon throws the machine away, and what has come of its disks.
func (b *builder) Abandon() {
	b.Arriving.Abandon()
	b.images.close()
	b.in.discard()
}

// Finish takes what is no state of the machine from it.
func (b *builder) Finish(state []snapshot.Section) ([snapshot.DigestSize]byte, uint64, error) {
	own := make([]snapshot.Section, 0, len(state))
	for _, s := range state {
		if s.Name != secAbout {
			own = append(own, s)
		}
	}
	if len(own) < len(state) {
		last := aboutOf(state, aboutLast)
		b.in.what.Paused, b.in.what.Screen = last.Paused, last.Screen
	}
	return b.Arriving.Finish(own)
}
