package machine

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"godwit/mem"
	"godwit/migrate"
	"godwit/snapshot"
)

// Departing is a running machine as migrate.Send takes it, a migrate.Guest. Its
// methods are called on one goroutine, which is not the machine's; what they do to
// the machine they do there.
type Departing struct {
	M *Machine
	// Do has f run on the machine's goroutine, between two instructions, and
	// returns its error, or its own if the machine is gone.
	Do func(f func() error) error
	// Halted is told, on the machine's goroutine, that the machine was halted or
	// runs again. May be nil.
	Halted func(on bool)
	// Extra gives sections to send along that are no part of the machine. It is
	// called on the machine's goroutine. May be nil.
	Extra func() ([]snapshot.Section, error)
	// Now is the host's time since some moment; Wall that of day in Unix
	// nanoseconds, for guests that are to catch up with it: nil, if none is.
	Now  func() time.Duration
	Wall func() int64
	// Pool bounds the pre-images of a pass, in pages; 0: a quarter of memory.
	Pool int
	// Ctx ends the wait for devices at the stop. nil: none does.
	Ctx context.Context

	config []snapshot.Section
	track  *tracking // nil: nothing is tracked
	budget int       // of the next tracking
	bound  bool      // budget is one
}

// tracking is what is known from Track on. The engine's goroutine uses it, and the
// machine's while that waits for it; the exceptions are told of.
type tracking struct {
	dirty    *mem.Consumer
	now, was *mem.Epoch // of this pass and the one before
	table    *leafTable
	sent     []uint64 // pages ever sent
	owed     []uint64 // pages that a pass had to send, and did not yet
	number   uint32
	state    int // bytes of the state sections

	// Only on the machine's goroutine.
	armed    time.Duration // when the last harvest was
	from     uint64        // and at which count
	points   []migrate.CurvePoint
	stalled  time.Duration // since then
	stallAt  time.Duration // the present stall's beginning
	stalling bool
	unhook   func()
}

// Pages is the number of pages of memory.
func (d *Departing) Pages() uint32 { return d.M.mem.Pages() }

// Config returns the sections that are not state.
func (d *Departing) Config() (secs []snapshot.Section, err error) {
	err = d.Do(func() error { secs, err = d.stateless(); return err })
	return secs, err
}

// stateless gives the sections that are not state.
func (d *Departing) stateless() ([]snapshot.Section, error) {
	if d.config == nil {
		secs, err := d.M.configSections()
		if err != nil {
			return nil, err
		}
		d.config = append(secs, d.M.processor())
	}
	secs := slices.Clone(d.config)
	if d.Wall != nil && d.M.cfg.Clock == ClockWall {
		secs = append(secs, d.M.clocksAt(d.Wall()))
	}
	if d.Extra == nil {
		return secs, nil
	}
	more, err := d.Extra()
	return append(secs, more...), err
}

// Track begins to count dirty pages.
func (d *Departing) Track() error { return d.Do(d.begin) }

func (d *Departing) begin() error {
	m := d.M
	if n := m.mem.Missing(); n != 0 {
		return fmt.Errorf("%d pages of the guest's memory have not arrived here yet", n)
	}
	secs, err := m.stateSections()
	if err == nil {
		_, err = d.stateless()
	}
	if err != nil {
		return err
	}
	d.end()
	t := &tracking{dirty: m.mem.Consumer("migration"), table: newLeafTable(m.mem.Pages()), state: size(secs)}
	t.sent, t.owed = make([]uint64, len(t.table.known)), make([]uint64, len(t.table.known))
	t.dirty.NoteWriters()
	if d.bound {
		t.dirty.SetBudget(d.budget)
	}
	t.unhook = m.OnStall(func(r mem.Refusal, on bool) { t.stallChanged(r, on, d.Now()) })
	d.track = t
	d.rearm(t)
	return nil
}

func size(secs []snapshot.Section) (n int) {
	for i := range secs {
		n += len(secs[i].Data)
	}
	return n
}

// end stops tracking. For the machine's goroutine.
func (d *Departing) end() {
	t := d.track
	if t == nil {
		return
	}
	d.track = nil
	t.unhook()
	t.dirty.Release()
	for _, e := range []*mem.Epoch{t.now, t.was} {
		if e != nil {
			e.Close()
		}
	}
	d.M.point = ^uint64(0)
}

// firstPoint is the count of the curve's first point.
const firstPoint = 1 << 12

// rearm begins a new interval of the curve.
func (d *Departing) rearm(t *tracking) {
	t.armed, t.from, t.points = d.Now(), d.M.count(), t.points[:0]
	t.stalled = 0
	if t.stalling {
		t.stallAt = t.armed
	}
	d.M.point = t.from + firstPoint
	d.M.onPoint = func(count uint64) uint64 {
		t.points = append(t.points, t.at(d.Now()))
		return count + (count-t.from)/2
	}
}

// at is the curve's point now.
func (t *tracking) at(now time.Duration) migrate.CurvePoint {
	return migrate.CurvePoint{T: now - t.armed - t.waited(now), Pages: uint32(t.dirty.Count())}
}

// waited is how long budget or pool have held the guest up since the harvest.
func (t *tracking) waited(now time.Duration) time.Duration {
	if t.stalling {
		return t.stalled + now - t.stallAt
	}
	return t.stalled
}

func (t *tracking) stallChanged(r mem.Refusal, on bool, now time.Duration) {
	if r.Why == mem.PageAbsent {
		return
	}
	if t.stalling {
		t.stalled += now - t.stallAt
	}
	t.stalling, t.stallAt = on, now
}

// Curve is D(t): exact counts of pages, taken at instruction counts that grow by
// half from one to the next.
func (d *Departing) Curve() (c migrate.Curve) {
	d.Do(func() error {
		if t := d.track; t != nil {
			c = append(slices.Clone(t.points), t.at(d.Now()))
		}
		return nil
	})
	return c
}

// Changes looks at some of the dirty pages.
func (d *Departing) Changes(n int) (some []migrate.Change) {
	d.Do(func() error {
		t := d.track
		if t == nil || t.now == nil {
			return nil
		}
		for _, p := range t.dirty.Some(n) {
			page := (*[mem.PageSize]byte)(d.M.mem.Bytes()[uint64(p)*mem.PageSize:])
			some = append(some, migrate.Change{Lines: t.now.Changed64(p), Leaf: snapshot.LeafOf(page)})
		}
		return nil
	})
	return some
}

// Writers says who dirtied most pages.
func (d *Departing) Writers(n int) (ws []migrate.Writer) {
	d.Do(func() error {
		t := d.track
		if t == nil {
			return nil
		}
		top, _ := t.dirty.Writers(n)
		for _, w := range top {
			x := migrate.Writer{RIP: w.RIP, CPL: w.CPL, VCPU: int(w.VCPU), Pages: w.Pages}
			if w.Device != 0 {
				x = migrate.Writer{Device: d.M.devs[w.Device-1].ID(), Pages: w.Pages}
			}
			ws = append(ws, x)
		}
		return nil
	})
	return ws
}

// Budget bounds the pages of the intervals between passes.
func (d *Departing) Budget(pages int) {
	d.Do(func() error {
		d.budget, d.bound = pages, pages >= 0
		if d.track != nil {
			d.track.dirty.SetBudget(pages)
		}
		return nil
	})
}

// Pass harvests, re-arms and opens an epoch.
func (d *Departing) Pass() (p migrate.Pass, err error) {
	if d.track != nil {
		d.track.table.refresh() // while the guest runs
	}
	err = d.Do(func() error {
		if d.track == nil {
			if err := d.begin(); err != nil {
				return err
			}
		}
		p = d.pass(d.track)
		return nil
	})
	return p, err
}

func (d *Departing) pass(t *tracking) *pass {
	if t.was != nil {
		t.was.Close()
	}
	if t.was = t.now; t.was != nil {
		t.was.Freeze()
	}
	p := d.harvest(t)
	pool := d.Pool
	if pool == 0 {
		pool = int(d.M.mem.Pages() / 4)
	}
	t.now = d.M.mem.Pass(pool, p.dirty)
	p.epoch, p.base = t.now, t.was
	return p
}

// harvest takes the dirty pages and begins the next interval.
func (d *Departing) harvest(t *tracking) *pass {
	m, now := d.M, d.Now()
	p := &pass{t: t}
	p.info = migrate.PassInfo{
		Count: m.count(), GuestTime: time.Duration(m.Now()),
		Since: now - t.armed, Stalled: t.waited(now), StateBytes: t.state,
	}
	p.info.Ran = p.info.Since - p.info.Stalled
	p.dirty = t.dirty.Harvest(nil)
	if t.number == 0 {
		p.dirty = m.mem.Written(p.dirty)
	}
	for i, w := range t.owed {
		p.dirty[i] |= w
		t.owed[i] = p.dirty[i]
		p.info.New += uint32(bits.OnesCount64(p.dirty[i] &^ t.sent[i]))
	}
	t.number++
	p.info.Number, p.info.Dirty = t.number, count(p.dirty)
	t.table.forget(p.dirty)
	d.rearm(t)
	return p
}

// Stop stops the guest and encodes it: devices first, since what they hold may
// still go to memory, and memory last.
func (d *Departing) Stop() (f migrate.Final, err error) {
	if d.track != nil {
		d.track.table.refresh()
	}
	var fin *final
	if err = d.Do(func() error { fin, err = d.stop(); return err }); err != nil {
		return nil, err
	}
	fin.root, err = fin.t.table.root(fin.hash, fin.secs) // the machine stands still
	return fin, err
}

func (d *Departing) stop() (*final, error) {
	m := d.M
	if d.track == nil {
		if err := d.begin(); err != nil {
			return nil, err
		}
	}
	if err := d.quiesce(); err != nil {
		return nil, err
	}
	t := d.track
	t.dirty.SetBudget(-1)
	if t.was != nil {
		t.was.Close()
	}
	if t.was, t.now = t.now, nil; t.was != nil {
		t.was.Freeze()
	}
	if !m.retry() {
		return nil, errors.New("godwit bug: a device waits for memory with nothing to wait for")
	}
	m.release()
	secs, err := d.stateless()
	if err != nil {
		return nil, err
	}
	state, err := m.stateSections()
	if err != nil {
		return nil, err
	}
	secs = append(secs, state...)
	f := &final{pass: *d.harvest(t), m: m, secs: secs}
	f.base = t.was
	if n := t.dirty.Count(); n != 0 {
		return nil, fmt.Errorf("godwit bug: %d pages are dirty after the last harvest", n)
	}
	d.halt(true)
	return f, nil
}

// quiesce waits for the host to finish what devices asked of it, and flushes disks.
func (d *Departing) quiesce() error {
	ctx := d.Ctx
	if ctx == nil {
		ctx = context.Background()
	}
	return d.M.SyncDisks(ctx)
}

func (d *Departing) halt(on bool) {
	if d.M.halted == on {
		return
	}
	d.M.Halt(on)
	if d.Halted != nil {
		d.Halted(on)
	}
}

// Resume ends it all; the guest runs on here.
func (d *Departing) Resume() {
	d.Do(func() error {
		d.end()
		d.budget, d.bound = 0, false
		d.halt(false)
		return nil
	})
}
