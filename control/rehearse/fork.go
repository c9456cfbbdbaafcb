package rehearse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/devices"
	"godwit/machine"
	"godwit/migrate/lab"
	"godwit/migrate/sim"
	"godwit/snapshot"
)

// Fork is a machine at one moment. Every machine made of it does the same: nothing
// comes in from outside, and where guest time followed the wall clock it is a
// function of the count from there on.
type Fork struct {
	f    *snapshot.File
	last *pair // of the run before; its memory is still held
}

// Open opens a file with a machine that has no disks.
func Open(path string) (*Fork, error) {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	if err != nil {
		return nil, err
	}
	return &Fork{f: f}, nil
}

// Count is the count of the moment.
func (f *Fork) Count() uint64 { return f.f.Meta().Count }

// Memory is in bytes.
func (f *Fork) Memory() uint64 { return uint64(f.f.Pages()) * snapshot.PageSize }

// Close lets go of it all.
func (f *Fork) Close() error {
	f.last.close()
	return f.f.Close()
}

// load makes a machine of it.
func (f *Fork) load() (*machine.Machine, error) {
	h := &outside{}
	m, err := machine.Load(context.Background(), f.f, h)
	h.m = m
	return m, err
}

// Bodies makes a machine at the source, and what takes it in at the destination.
func (f *Fork) Bodies(src, dst sim.Clock) (*sim.Bodies, error) {
	f.last.close()
	m, err := f.load()
	if err != nil {
		return nil, err
	}
	p := &pair{f: f, src: newOrigin(m, src, lab.Costs), dst: newTarget(dst, lab.Costs)}
	f.last = p
	return &sim.Bodies{Origin: p.src, Target: p.dst, Same: p.same}, nil
}

// pair is the two sides of a run.
type pair struct {
	f   *Fork
	src *origin
	dst *target
}

// close gives their memory back.
func (p *pair) close() {
	if p == nil {
		return
	}
	for _, b := range []*body{&p.src.body, &p.dst.body} {
		if b.m != nil {
			_ = b.m.Close() // memory, which nobody looks at any more
			b.m, b.running = nil, false
		}
	}
}

// settle is how many counts machines run on before they are compared: at equal
// counts they have then done all that was due before.
const settle = 1_000_000

// same compares what runs at the end with a machine that was never moved.
func (p *pair) same(res *sim.Result) error {
	b := &p.src.body
	if p.dst.running {
		b = &p.dst.body
	}
	if !b.running {
		return errors.New("nobody runs the guest")
	}
	if b.m.RunTime(b.due+devices.Nanos(lab.After)) == machine.Stalled {
		return fmt.Errorf("at #%d the guest still waits for memory", b.m.Count())
	}
	until := b.m.Count() + settle
	b.m.Run(until)
	got, err := b.m.Hash()
	if err != nil {
		return err
	}
	res.Count, res.Root = b.m.Count(), got
	p.close()
	never, err := p.f.load()
	if err != nil {
		return err
	}
	defer never.Close()
	never.Run(until)
	want, err := never.Hash()
	if err == nil && (want != got || never.Count() != res.Count) {
		err = fmt.Errorf("at #%d the state hash is %x, of a guest that never moved at #%d %x", res.Count, got, never.Count(), want)
	}
	return err
}

// outside is the host of a machine that nobody types to. Where all vCPUs wait, a wall
// clock goes on at once, as a virtual one does.
type outside struct{ m *machine.Machine }

func (o *outside) Poll() bool  { return false }
func (o *outside) Output(byte) {}

func (o *outside) Idle(until devices.Nanos) (paused bool) {
	if until == machine.Forever {
		return true
	}
	o.m.Wall(until)
	return false
}

// body is a machine that runs as virtual time goes on.
type body struct {
	m       *machine.Machine
	clock   sim.Clock
	running bool
	at      time.Duration // up to when it has run
	due     devices.Nanos // guest time then, or later than the guest's own where that waits
	to      time.Duration // while it runs: the time that it gets to; else 0
	waited  time.Duration // for memory
}

// advance lets the guest run up to now, or up to an access that memory refuses: the
// rest of the time is lost then.
func (b *body) advance() {
	now := b.clock.Now()
	if b.running && now > b.at {
		b.to = now
		due := b.due + devices.Nanos(now-b.at)
		if b.m.RunTime(due) == machine.Stalled {
			b.waited += time.Duration(due - b.m.Now())
			due = b.m.Now()
		}
		b.due, b.to = due, 0
	}
	b.at = max(b.at, now)
}

// now is the time, also in the midst of advance.
func (b *body) now() time.Duration {
	if b.to == 0 {
		return b.clock.Now()
	}
	return min(max(b.at+time.Duration(b.m.Now()-b.due), b.at), b.to)
}

// spend has the host work while the guest stands.
func (b *body) spend(d time.Duration) {
	b.clock.Idle(d)
	b.at = b.clock.Now()
}

// start has the guest run from now on.
func (b *body) start() {
	b.running, b.at, b.due = true, b.clock.Now(), b.m.Now()
}

// halt ends its running.
func (b *body) halt() {
	b.advance()
	b.running = false
}

// Running tells whether the guest runs here.
func (b *body) Running() bool { return b.running }
