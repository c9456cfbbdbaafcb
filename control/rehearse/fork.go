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
	f        *snapshot.File
	secs     []snapshot.Section
	copied   func(id string) string
	overlays int   // that were made over the copies of disks
	last     *pair // of the run before; its memory is still held
}

// Open opens a file with a machine; copied is the file with what a disk held at the same
// moment.
func Open(path string, copied func(id string) string) (*Fork, error) {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	if err != nil {
		return nil, err
	}
	k := &Fork{f: f, copied: copied}
	if k.secs, err = f.Sections(); err == nil {
		k.secs, err = machine.Untimed(k.secs)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return k, nil
}

// Count is the count of the moment.
func (f *Fork) Count() uint64 { return f.f.Meta().Count }

// Memory is in bytes.
func (f *Fork) Memory() uint64 { return uint64(f.f.Pages()) * snapshot.PageSize }

// Close lets go of it all.
func (f *Fork) Close() error {
	return errors.Join(f.last.close(), f.f.Close())
}

// load makes a machine of it.
func (f *Fork) load() (*machine.Machine, *rack, error) {
	h := &outside{disks: &rack{f: f}}
	m, err := machine.LoadAs(context.Background(), f.f, f.secs, h)
	if err != nil {
		return nil, nil, errors.Join(err, h.disks.remove())
	}
	h.m = m
	return m, h.disks, nil
}

// Bodies makes a machine at the source, and what takes it in at the destination.
func (f *Fork) Bodies(src, dst sim.Clock) (*sim.Bodies, error) {
	if err := f.last.close(); err != nil {
		return nil, err
	}
	m, r, err := f.load()
	if err != nil {
		return nil, err
	}
	p := &pair{f: f, disks: r, src: newOrigin(m, src, lab.Costs), dst: newTarget(dst, lab.Costs, &rack{f: f, of: r})}
	f.last = p
	return &sim.Bodies{Origin: p.src, Target: p.dst, Same: p.same}, nil
}

// pair is the two sides of a run.
type pair struct {
	f     *Fork
	disks *rack // of the source
	src   *origin
	dst   *target
}

// close gives their memory and disks back.
func (p *pair) close() error {
	if p == nil {
		return nil
	}
	for _, b := range []*body{&p.src.body, &p.dst.body} {
		if b.m != nil {
			_ = b.m.Close() // memory and disks, which nobody looks at any more
			b.m, b.running = nil, false
		}
	}
	return p.disks.remove()
}

// settle is how many counts machines run on before they are compared: at equal
// counts they have then done all that was due before.
const settle = 1_000_000

// same compares what runs at the end with a machine that was never moved.
func (p *pair) same(res *sim.Result) error {
	b, r := &p.src.body, p.disks
	if p.dst.running {
		b, r = &p.dst.body, p.dst.disks
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
	wrote, err := r.digest()
	if err = errors.Join(err, p.close()); err != nil {
		return err
	}
	return p.f.never(until, res, wrote)
}

// never compares what a guest came to that moved with one that never did.
func (f *Fork) never(until uint64, res *sim.Result, wrote [32]byte) error {
	m, r, err := f.load()
	if err != nil {
		return err
	}
	m.Run(until)
	want, err := m.Hash()
	had, err2 := r.digest()
	switch {
	case err != nil || err2 != nil:
		err = errors.Join(err, err2)
	case want != res.Root || m.Count() != res.Count:
		err = fmt.Errorf("at #%d the state hash is %x, of a guest that never moved at #%d %x", res.Count, res.Root, m.Count(), want)
	case wrote != had:
		err = fmt.Errorf("at #%d what was written to disks has digest %x, by a guest that never moved %x", res.Count, wrote, had)
	}
	_ = m.Close()
	return errors.Join(err, r.remove())
}

// outside is the host of a machine that nobody types to. Where all vCPUs wait, a wall
// clock goes on at once, as a virtual one does.
type outside struct {
	m     *machine.Machine
	disks *rack
}

// OpenDisk opens a disk of the machine.
func (o *outside) OpenDisk(c *machine.DiskConfig) (machine.Disk, error) { return o.disks.open(c) }

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
