package sim

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"godwit/migrate"
	"godwit/snapshot"
)

// Guest is a machine at the source: it runs as its clock goes on.
type Guest struct {
	Idle  func(d time.Duration) // spends time; nil: takes none
	m     *machine
	clock clock
	costs Costs

	StoppedAt time.Duration

	running bool
	at      time.Duration // up to when it ran
	owed    float64       // stores it may still do, less than one

	tracking bool
	number   uint32
	dirty    []uint64 // since the last harvest
	ndirty   int
	sent     []uint64 // pages that some pass has had
	budget   int
	ran      time.Duration
	stalled  time.Duration
	since    time.Duration
	curve    migrate.Curve
	pass     *pass
	owes     []uint64 // pages that a pass had to send, and did not yet
	disks    *disks
	image    *image
	pre      map[uint32]*[pageSize]byte // what pages held at the last harvest, if written since
}

// Costs are how long the machine's own work takes.
type Costs struct {
	Harvest  time.Duration // each
	Stop     time.Duration // drain, encode, hash
	Load     time.Duration // at the destination: decode, hash
	Journal  time.Duration
	Activate time.Duration
	Pack     map[string]float64 // by codec, nanoseconds a byte; the guest runs meanwhile
}

// NewGuest makes a guest that runs from now on.
func NewGuest(p Program, c clock, costs Costs) *Guest {
	g := &Guest{m: newMachine(p, true), clock: c, costs: costs, running: true, at: c.Now(), budget: -1}
	g.Have(DiskProgram{}, 0)
	g.dirty, g.sent, g.owes = make([]uint64, (p.Pages+63)/64), make([]uint64, (p.Pages+63)/64), make([]uint64, (p.Pages+63)/64)
	return g
}

// Have gives the guest disks that travel along.
func (g *Guest) Have(p DiskProgram, seed uint64) { g.disks = newDisks(p, seed, g.advance) }

// advance lets the guest run up to now.
func (g *Guest) advance() {
	now := g.clock.Now()
	d := now - g.at
	g.at = now
	if !g.running || d <= 0 {
		return
	}
	g.disks.run(d)
	g.image.run(d)
	perSecond := g.m.prog.Rate / float64(g.m.prog.unit())
	g.owed += d.Seconds() * perSecond
	want := uint64(g.owed)
	g.owed -= float64(want)
	if perSecond == 0 {
		g.ran += d
		return
	}
	start := g.ran
	for i := range want {
		g.ran = start + time.Duration(float64(i)/perSecond*1e9)
		if !g.m.store() { // held by the budget: the rest of the time is lost
			g.stalled += d - (g.ran - start)
			g.owed = 0
			return
		}
	}
	g.ran = start + d
}

// touched is called before each store.
func (g *Guest) touched(p uint32) bool {
	w, bit := p>>6, uint64(1)<<(p&63)
	if !g.tracking || g.dirty[w]&bit != 0 {
		return true
	}
	if g.budget >= 0 && g.ndirty >= g.budget {
		return false
	}
	if g.pre != nil && g.m.mem[p] != nil {
		g.pre[p] = (*[pageSize]byte)(slices.Clone(g.m.mem[p]))
	} else if g.pre != nil {
		g.pre[p] = nil // was never written
	}
	g.dirty[w] |= bit
	g.ndirty++
	if n := len(g.curve); n == 0 || g.ran > g.curve[n-1].T+g.curve[n-1].T/16 {
		g.curve = append(g.curve, migrate.CurvePoint{T: g.ran, Pages: uint32(g.ndirty)})
	}
	return true
}

// Pages is the number of pages.
func (g *Guest) Pages() uint32 { return g.m.prog.Pages }

// Config describes the machine.
func (g *Guest) Config() ([]snapshot.Section, error) { return g.m.config(), nil }

// Count is how many stores it has executed.
func (g *Guest) Count() uint64 {
	g.advance()
	return g.m.count
}

// Running tells whether it executes.
func (g *Guest) Running() bool { return g.running }

// Left is when it stopped.
func (g *Guest) Left() time.Duration { return g.StoppedAt }

// Die ends it with its host.
func (g *Guest) Die() {
	g.advance()
	g.running = false
}

// Clean tells whether nothing of a migration is left.
func (g *Guest) Clean() bool {
	for _, x := range g.disks.all {
		if x.tracked || x.budget >= 0 {
			return false
		}
	}
	return !g.tracking && g.budget < 0 && g.pass == nil && g.pre == nil
}

// Root is the state hash now.
func (g *Guest) Root() [migrate.DigestSize]byte {
	g.advance()
	return g.m.root()
}

// Track begins to count dirty pages.
func (g *Guest) Track() error {
	if !g.running {
		return errors.New("the guest is stopped")
	}
	g.advance()
	g.tracking, g.number, g.pass, g.pre = true, 0, nil, nil
	clear(g.sent)
	clear(g.owes)
	g.m.touched = g.touched
	g.rearm()
	return nil
}

func (g *Guest) rearm() {
	clear(g.dirty)
	g.ndirty, g.curve, g.ran, g.stalled, g.since = 0, nil, 0, 0, g.at
}

// Curve is D(t).
func (g *Guest) Curve() migrate.Curve {
	g.advance()
	return append(slices.Clone(g.curve), migrate.CurvePoint{T: g.ran + 1, Pages: uint32(g.ndirty)})
}

// Changes compares dirty pages with what they held at the last harvest.
func (g *Guest) Changes(n int) (some []migrate.Change) {
	g.advance()
	step, i := max(g.ndirty/n, 1), 0
	for p := range g.m.prog.Pages {
		if g.pre == nil || g.dirty[p>>6]>>(p&63)&1 == 0 {
			continue
		}
		if i++; (i-1)%step != 0 {
			continue
		}
		mask := ^uint64(0)
		if was := g.pre[p]; was != nil {
			for l := range 64 {
				if bytes.Equal(was[l*64:l*64+64], g.m.mem[p][l*64:l*64+64]) {
					mask &^= 1 << l
				}
			}
		}
		some = append(some, migrate.Change{Lines: mask, Leaf: g.m.leafOf(p)})
	}
	return some
}

// Writers names the only writer there is.
func (g *Guest) Writers(int) []migrate.Writer {
	return []migrate.Writer{{RIP: 0x401000, CPL: 3, Pages: uint64(g.ndirty), Symbol: "writer"}}
}

// Budget bounds the dirty pages.
func (g *Guest) Budget(n int) {
	g.advance()
	g.budget = n
}

// Pass harvests.
func (g *Guest) Pass() (migrate.Pass, error) {
	if !g.tracking {
		return nil, errors.New("nothing is tracked")
	}
	g.advance()
	return g.harvest(g.costs.Harvest), nil
}

func (g *Guest) harvest(cost time.Duration) *pass {
	g.number++
	p := &pass{g: g, base: g.pre}
	if g.number == 1 {
		p.dirty = make([]uint64, len(g.dirty))
		for i := range g.m.mem {
			if g.m.mem[i] != nil {
				p.dirty[i>>6] |= 1 << (i & 63)
			}
		}
		p.base = nil
	} else {
		p.dirty = slices.Clone(g.dirty)
	}
	for i, w := range g.owes {
		p.dirty[i] |= w
	}
	copy(g.owes, p.dirty)
	info := &p.info
	*info = migrate.PassInfo{
		Number: g.number, Count: g.m.count, Since: g.at - g.since, Ran: g.ran, Stalled: g.stalled,
		StateBytes: g.m.prog.State + 8,
	}
	for i, w := range p.dirty {
		for ; w != 0; w &= w - 1 {
			info.Dirty++
			if low := w & -w; g.sent[i]&low == 0 {
				info.New++
			}
		}
	}
	g.pass, g.pre = p, map[uint32]*[pageSize]byte{}
	if g.Idle != nil {
		g.Idle(cost)
	}
	g.at = g.clock.Now() // it stood meanwhile
	g.rearm()
	return p
}

// Stop stops it.
func (g *Guest) Stop() (migrate.Final, error) {
	g.advance()
	if g.number == 0 || !g.tracking {
		g.number = 0
		g.tracking = true
		clear(g.sent)
		clear(g.owes)
	}
	g.running, g.StoppedAt = false, g.at
	p := g.harvest(g.costs.Stop)
	return final{p}, nil
}

// Resume lets it run.
func (g *Guest) Resume() {
	g.advance()
	g.running, g.tracking, g.pass, g.pre, g.budget = true, false, nil, nil, -1
	g.m.touched = nil
	g.number = 0
	g.rearm()
}

type pass struct {
	g     *Guest
	info  migrate.PassInfo
	dirty []uint64
	base  map[uint32]*[pageSize]byte
}

func (p *pass) Info() migrate.PassInfo { return p.info }
func (p *pass) Dirty() []uint64        { return p.dirty }

func (p *pass) Present(n uint32) bool {
	if b, ok := p.g.pre[n]; ok {
		return b != nil
	}
	return p.g.m.mem[n] != nil
}

func (p *pass) Read(n uint32, b *[pageSize]byte) {
	if pre, ok := p.g.pre[n]; ok {
		*b = [pageSize]byte{}
		if pre != nil {
			*b = *pre
		}
		return
	}
	p.g.m.read(n, b)
}

func (p *pass) Base(n uint32, b *[pageSize]byte) bool {
	pre := p.base[n]
	if pre != nil {
		*b = *pre
	}
	return pre != nil
}

func (p *pass) Sent(n uint32, _ [migrate.LeafSize]byte) {
	p.g.sent[n>>6] |= 1 << (n & 63)
	p.g.owes[n>>6] &^= 1 << (n & 63)
}

type final struct{ *pass }

func (f final) Leaf(n uint32) [migrate.LeafSize]byte { return f.g.m.leafOf(n) }
func (f final) Sections() []snapshot.Section         { return append(f.g.m.config(), f.g.m.state()...) }
func (f final) Root() [migrate.DigestSize]byte       { return f.g.m.root() }
