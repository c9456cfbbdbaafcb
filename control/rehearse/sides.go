package rehearse

import (
	"time"

	"godwit/machine"
	"godwit/migrate"
	"godwit/migrate/sim"
	"godwit/snapshot"
)

// origin is the machine at the source.
type origin struct {
	*machine.Departing
	body
	costs sim.Costs
	left  time.Duration
	clean bool
}

func newOrigin(m *machine.Machine, c sim.Clock, costs sim.Costs) *origin {
	o := &origin{costs: costs, clean: true, body: body{m: m, clock: c}}
	o.Departing = &machine.Departing{M: m, Now: o.now, Do: func(f func() error) error { o.advance(); return f() }}
	o.start()
	return o
}

// Left is when it stopped.
func (o *origin) Left() time.Duration { return o.left }

// Clean tells whether nothing of a migration is left.
func (o *origin) Clean() bool { return o.clean }

// Die ends it with its host.
func (o *origin) Die() { o.halt() }

// Track begins to count.
func (o *origin) Track() error {
	o.clean = false
	return o.Departing.Track()
}

// Pass takes the host its time.
func (o *origin) Pass() (migrate.Pass, error) {
	o.clean = false
	p, err := o.Departing.Pass()
	o.spend(o.costs.Harvest)
	return p, err
}

// Stop stops it.
func (o *origin) Stop() (migrate.Final, error) {
	o.clean = false
	f, err := o.Departing.Stop()
	if err == nil {
		o.running, o.left = false, o.clock.Now()
	}
	o.spend(o.costs.Stop)
	return f, err
}

// Resume lets it run on here.
func (o *origin) Resume() {
	o.Departing.Resume()
	if o.clean = true; !o.running {
		o.start()
	}
}

// target is the machine at the destination.
type target struct {
	*machine.Arriving
	body
	costs  sim.Costs
	disks  *rack
	active time.Duration
	pulls  bool
}

func newTarget(c sim.Clock, costs sim.Costs, r *rack) *target {
	h := &outside{disks: r}
	t := &target{costs: costs, disks: r, body: body{clock: c}}
	t.Arriving = &machine.Arriving{
		Host:    h, // Do is nil: everything is done where it is asked for
		Built:   func(m *machine.Machine, _ []snapshot.Section) error { h.m, t.m = m, m; return nil },
		Owned:   func(uint64, snapshot.UUID) error { t.spend(t.costs.Journal); return r.take() },
		Started: func(*machine.Machine) error { t.start(); t.active = t.at; return nil },
		Dropped: func() { t.m = nil },
	}
	return t
}

// Reserve makes the machine.
func (t *target) Reserve(secs []snapshot.Section) (migrate.Memory, error) {
	m, err := t.Arriving.Reserve(secs)
	if err != nil {
		return nil, err
	}
	return memory{m, t}, nil
}

// Finish takes the host its time.
func (t *target) Finish(state []snapshot.Section) ([snapshot.DigestSize]byte, uint64, error) {
	t.spend(t.costs.Load)
	return t.Arriving.Finish(state)
}

// Pulls tells whether pages had to follow.
func (t *target) Pulls() bool { return t.running && t.pulls }

// Moved is when it started here, and how long it has waited for pages.
func (t *target) Moved() (at, waited time.Duration) { return t.active, t.waited }

// Stop ends it.
func (t *target) Stop() { t.halt() }

// memory has the guest run up to now before anything comes that it may wait for.
type memory struct {
	migrate.Memory
	t *target
}

func (m memory) Absent(pages []uint64, leaf func(p uint32) [migrate.LeafSize]byte) {
	m.t.pulls = false
	for _, w := range pages {
		m.t.pulls = m.t.pulls || w != 0
	}
	m.Memory.Absent(pages, leaf)
}

func (m memory) Fill(p uint32, b []byte) error {
	m.t.advance()
	return m.Memory.Fill(p, b)
}

func (m memory) Wanted() (uint32, bool) {
	m.t.advance()
	return m.Memory.Wanted()
}
