package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"godwit/migrate"
	"godwit/snapshot"
)

// Builder makes a machine at the destination and runs it there.
type Builder struct {
	Refuse []migrate.Mismatch
	Fail   map[string]error         // by method, in lower case
	Spoil  func(p uint32, b []byte) // may damage a page that arrives
	Idle   func(d time.Duration)    // spends time; nil: takes none
	Has    bool                     // holds what is sent on demand
	want   func() Program           // the machine that is expected
	m      *machine
	clock  clock
	costs  Costs

	disks    DiskProgram // that are expected
	stores   []*store
	image    *image
	ActiveAt time.Duration

	running   bool
	reserved  bool
	abandoned bool
	epoch     uint64
	at        time.Duration
	owed      float64
	waited    time.Duration // for absent pages
	wants     chan struct{}
}

// NewBuilder makes a builder for the machine that runs p.
func NewBuilder(p Program, c clock, costs Costs) *Builder {
	return &Builder{Has: p.Seed%8 == 5, want: func() Program { return p }, clock: c, costs: costs, wants: make(chan struct{}, 1)}
}

func (b *Builder) spend(d time.Duration) {
	if b.Idle != nil {
		b.Idle(d)
	}
}

// Check compares the configuration.
func (b *Builder) Check(config []snapshot.Section) []migrate.Mismatch {
	s := snapshot.Find(config, "config", "")
	if have := fmt.Sprintf("%+v", b.want()); s == nil || string(s.Data) != have {
		return []migrate.Mismatch{{Field: "config", Have: have, Want: fmt.Sprintf("%+v", s)}}
	}
	return b.Refuse
}

// Held has the ballast.
func (b *Builder) Held(sum [migrate.DigestSize]byte, size uint64) []byte {
	if b.Has && sum == sha256.Sum256(ballast) {
		return ballast
	}
	return nil
}

// Reserve builds the machine.
func (b *Builder) Reserve([]snapshot.Section) (migrate.Memory, error) {
	if err := b.Fail["reserve"]; err != nil {
		return nil, err
	}
	b.m, b.reserved = newMachine(b.want(), false), true
	return b, nil
}

// Finish restores the state.
func (b *Builder) Finish(state []snapshot.Section) (root [migrate.DigestSize]byte, count uint64, err error) {
	if err := b.Fail["finish"]; err != nil {
		return root, 0, err
	}
	b.spend(b.costs.Load)
	s := snapshot.Find(state, "cpu", "cpu0")
	if s == nil || len(s.Data) != 8 {
		return root, 0, errors.New("section cpu/cpu0 is missing")
	}
	b.m.count = binary.LittleEndian.Uint64(s.Data)
	root, err = snapshot.Root(b.m.prog.Pages, b.m.leafOf, state)
	return root, b.m.count, err
}

// Journal records the ownership.
func (b *Builder) Journal(epoch uint64, _ snapshot.UUID) error {
	b.spend(b.costs.Journal)
	b.epoch = epoch
	return b.Fail["journal"]
}

// Activate starts the guest.
func (b *Builder) Activate() error {
	if err := b.Fail["activate"]; err != nil {
		return err
	}
	b.spend(b.costs.Activate)
	b.running, b.at = true, b.clock.Now()
	b.ActiveAt = b.at
	return nil
}

// Abandon throws the machine away.
func (b *Builder) Abandon() {
	b.m, b.reserved, b.abandoned = nil, false, true
}

// advance lets the guest run up to now, or up to a page that is absent.
func (b *Builder) advance() {
	now := b.clock.Now()
	d := now - b.at
	b.at = now
	if !b.running || d <= 0 {
		return
	}
	b.owed += d.Seconds() * b.m.prog.Rate / float64(b.m.prog.unit())
	want := uint64(b.owed)
	b.owed -= float64(want)
	if did := b.m.run(want); did < want {
		b.waited += time.Duration(float64(d) * float64(want-did) / float64(want))
		b.owed = 0
	}
}

// Pages is the number of pages.
func (b *Builder) Pages() uint32 { return b.m.prog.Pages }

// Restore writes a page.
func (b *Builder) Restore(p uint32, content []byte) error {
	if p >= b.m.prog.Pages {
		return fmt.Errorf("page %d of %d", p, b.m.prog.Pages)
	}
	to := b.m.page(p)
	copy(to, content)
	if b.Spoil != nil {
		b.Spoil(p, to)
	}
	return nil
}

// Present tells whether the page was restored.
func (b *Builder) Present(p uint32) bool { return b.m.mem[p] != nil }

// Read copies a page.
func (b *Builder) Read(p uint32, to *[pageSize]byte) { b.m.read(p, to) }

// Leaf is a page's leaf.
func (b *Builder) Leaf(p uint32) [migrate.LeafSize]byte { return b.m.leafOf(p) }

// Absent says which pages are not here.
func (b *Builder) Absent(pages []uint64, leaf func(p uint32) [migrate.LeafSize]byte) {
	b.m.absent, b.m.leaf = make([]bool, b.m.prog.Pages), leaf
	for p := range b.m.absent {
		b.m.absent[p] = pages[p>>6]>>(p&63)&1 != 0
	}
}

// Fill brings an absent page.
func (b *Builder) Fill(p uint32, content []byte) error {
	b.advance()
	got := *(*[pageSize]byte)(content)
	if b.Spoil != nil {
		b.Spoil(p, got[:])
	}
	if !b.m.absent[p] {
		return nil
	}
	if snapshot.LeafOf(&got) != b.m.leaf(p) {
		return migrate.ErrLeaf
	}
	b.m.absent[p] = false
	copy(b.m.page(p), got[:])
	if b.m.wanted == int64(p) {
		b.m.wanted = -1
	}
	return nil
}

// Wanted is the page the guest waits for.
func (b *Builder) Wanted() (uint32, bool) {
	b.advance()
	return uint32(b.m.wanted), b.m.wanted >= 0
}

// Wants never receives: the simulator looks by itself.
func (b *Builder) Wants() <-chan struct{} { return b.wants }

// Stop stops the guest that runs here, for good.
func (b *Builder) Stop() {
	b.advance()
	b.running = false
}

// Pulls tells whether the guest runs here and pages had to follow.
func (b *Builder) Pulls() bool { return b.running && b.m.absent != nil }

// Moved is when the guest started here, and how long it has waited for pages.
func (b *Builder) Moved() (at, waited time.Duration) { return b.ActiveAt, b.waited }

// Running tells whether the guest runs here.
func (b *Builder) Running() bool { return b.running }

// Root is the state hash now.
func (b *Builder) Root() [migrate.DigestSize]byte {
	b.advance()
	return b.m.root()
}

// Count is how many stores it has executed.
func (b *Builder) Count() uint64 {
	b.advance()
	return b.m.count
}
