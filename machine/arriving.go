package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"godwit/cpu"
	"godwit/mem"
	"godwit/migrate"
	"godwit/snapshot"
)

// Arriving builds a machine from what migrate.Receive takes in, a migrate.Builder.
// Its methods are called on one goroutine.
type Arriving struct {
	// Host is the machine's host.
	Host Host
	// Do has f run on the machine's goroutine once it has one, that is after
	// Started, between two instructions.
	Do func(f func() error) error
	// Vet says what else keeps this host from taking the machine; sections are
	// those that are not state. May be nil, like all that follow.
	Vet func(cfg Config, secs []snapshot.Section) []migrate.Mismatch
	// Knows tells whether the host has a meaning for a required section that is none of
	// the machine's. nil: for none.
	Knows func(name string) bool
	// AtHand returns data of this sha256 that the host holds, such as the images that
	// a machine boots from; else nil.
	AtHand func(sum [migrate.DigestSize]byte, size uint64) []byte
	// Built is told that memory is reserved: the place to hold the machine's name.
	Built func(m *Machine, secs []snapshot.Section) error
	// Owned records durably that this host owns the machine from epoch on.
	Owned func(epoch uint64, session snapshot.UUID) error
	// Started has the machine run on a goroutine.
	Started func(m *Machine) error
	// Dropped is told that the machine was thrown away.
	Dropped func()
	// Clock says what becomes of the guest's clock; Wall is the host's, in Unix
	// nanoseconds. Without Wall the clock freezes.
	Clock ClockPolicy
	Wall  func() int64

	memory *memory // once reserved
	secs   []snapshot.Section
}

// Held asks AtHand.
func (a *Arriving) Held(sum [migrate.DigestSize]byte, size uint64) []byte {
	if a.AtHand == nil {
		return nil
	}
	return a.AtHand(sum, size)
}

// Machine is the machine once it is reserved.
func (a *Arriving) Machine() *Machine {
	if a.memory == nil {
		return nil
	}
	return a.memory.m
}

// Check says what keeps this host from being the machine.
func (a *Arriving) Check(secs []snapshot.Section) (bad []migrate.Mismatch) {
	no := func(field, have, want string) {
		bad = append(bad, migrate.Mismatch{Field: field, Have: have, Want: want})
	}
	var cfg Config
	if err := section(secs, secConfig, "", &cfg); err != nil {
		no("config", "version 1", err.Error())
		return bad
	}
	var images Images
	if err := section(secs, secImages, "", &images); err != nil {
		no("images", "version 1", err.Error())
	}
	for _, err := range cfg.Validate() {
		no("config", "this build", err.Error())
	}
	for i := range secs {
		s := &secs[i]
		known := s.Name == secConfig || s.Name == secImages || a.Knows != nil && a.Knows(s.Name)
		if s.Required && !known {
			no("section "+s.ID(), "unknown", fmt.Sprintf("version %d", s.Version))
		}
	}
	if len(bad) == 0 {
		if err := fits(&cfg, &images); err != nil {
			no("memory.free", "less: "+err.Error(), fmt.Sprintf("%d bytes", cfg.Memory))
		}
	}
	bad = append(bad, checkProcessor(&cfg, secs)...)
	if a.Vet != nil {
		bad = append(bad, a.Vet(cfg, secs)...)
	}
	return bad
}

// fits asks the host for the memory of a machine, and gives it back.
func fits(cfg *Config, images *Images) error {
	m, err := mem.New(cfg.Memory, regions(cfg, images)...)
	if err != nil {
		return err
	}
	return m.Close()
}

// processor is the CPU model as the guest sees it, by which a host with another
// build knows whether it has the same.
type processor struct {
	Vendor   string   `cbor:"1,keyasint"`
	Features []string `cbor:"2,keyasint"`
}

const secProcessor = "processor"

// processor encodes what the model's name stands for in this build.
func (m *Machine) processor() snapshot.Section {
	model := must(cpu.LookupModel(m.cfg.CPU)) // New found it
	return snapshot.Section{Name: secProcessor, Version: 1, Data: must(encode(processor{model.Vendor, model.Features()}))}
}

// checkProcessor compares feature by feature.
func checkProcessor(cfg *Config, secs []snapshot.Section) (bad []migrate.Mismatch) {
	model, err := cpu.LookupModel(cfg.CPU)
	if err != nil {
		return nil // Validate told
	}
	var want processor
	if snapshot.Find(secs, secProcessor, "") == nil {
		return nil
	}
	if err := section(secs, secProcessor, "", &want); err != nil {
		return []migrate.Mismatch{{Field: secProcessor, Have: "version 1", Want: err.Error()}}
	}
	if want.Vendor != model.Vendor {
		bad = append(bad, migrate.Mismatch{Field: "cpu.vendor", Have: model.Vendor, Want: want.Vendor})
	}
	have := model.Features()
	lacks := slices.DeleteFunc(slices.Clone(want.Features), func(f string) bool { return slices.Contains(have, f) })
	extra := slices.DeleteFunc(have, func(f string) bool { return slices.Contains(want.Features, f) })
	if len(lacks) != 0 {
		bad = append(bad, migrate.Mismatch{Field: "cpu.features", Have: "not " + strings.Join(lacks, " "), Want: strings.Join(lacks, " ")})
	}
	if len(extra) != 0 {
		bad = append(bad, migrate.Mismatch{Field: "cpu.features", Have: strings.Join(extra, " "), Want: "not " + strings.Join(extra, " ")})
	}
	return bad
}

// Reserve builds the machine, memory all zero.
func (a *Arriving) Reserve(secs []snapshot.Section) (migrate.Memory, error) {
	m, err := FromSections(secs, a.Host)
	if err != nil {
		return nil, err
	}
	if a.Built != nil {
		if err := a.Built(m, secs); err != nil {
			m.Close()
			return nil, err
		}
	}
	a.secs = secs
	a.memory = &memory{m: m, table: newLeafTable(m.mem.Pages()), Puller: NewPuller(m)}
	return a.memory, nil
}

// Finish restores the state and computes the state hash.
func (a *Arriving) Finish(state []snapshot.Section) (root [snapshot.DigestSize]byte, count uint64, err error) {
	if a.memory == nil {
		return root, 0, errors.New("no machine is reserved")
	}
	m := a.memory.m
	if a.memory.err != nil {
		return root, 0, a.memory.err
	}
	if err := m.Restore(state); err != nil {
		return root, 0, err
	}
	root, err = a.memory.table.root(a.memory.hash, state)
	return root, m.count(), err
}

// Journal records who owns the machine.
func (a *Arriving) Journal(epoch uint64, session snapshot.UUID) error {
	if a.Owned == nil {
		return nil
	}
	return a.Owned(epoch, session)
}

// Activate starts the guest.
func (a *Arriving) Activate() error {
	m := a.memory.m
	if a.Wall != nil {
		m.CatchUp(a.Clock, m.gap(a.secs, a.Wall()))
	}
	a.memory.Puller.Start(a.Do)
	if a.Started == nil {
		return nil
	}
	return a.Started(m)
}

// Abandon throws the machine away.
func (a *Arriving) Abandon() {
	if a.memory != nil {
		a.memory.m.Close()
		a.memory = nil
	}
	if a.Dropped != nil {
		a.Dropped()
		a.Dropped = nil
	}
}

// memory is the memory of a machine that arrives.
type memory struct {
	*Puller
	m     *Machine
	table *leafTable
	err   error // of Absent
	last  uint32
	since int // pages restored since a group was hashed
}

func (a *memory) Pages() uint32 { return a.m.mem.Pages() }

// groupEvery is how many pages come between two groups that are hashed ahead.
const groupEvery = 64

// Restore writes a page.
func (a *memory) Restore(p uint32, b []byte) error {
	if p >= a.Pages() || len(b) != mem.PageSize {
		return fmt.Errorf("restore page %d of %d: %d bytes, must be %d", p, a.Pages(), len(b), mem.PageSize)
	}
	leaf := snapshot.LeafOf((*[mem.PageSize]byte)(b))
	if leaf == snapshot.ZeroLeaf() && !a.m.mem.Present(p) {
		return nil
	}
	if err := a.m.mem.RestoreHashed(p, b, leaf); err != nil {
		return err
	}
	a.table.set(p, leaf)
	a.since++
	if g := p / snapshot.GroupPages; g != a.last && a.since >= groupEvery {
		a.table.digest(a.last)
		a.last, a.since = g, 0
	}
	return nil
}

// Present tells whether the page was restored.
func (a *memory) Present(p uint32) (yes bool) {
	a.look(func() { yes = a.m.mem.Present(p) })
	return yes
}

// Read copies what a page holds; an absent one's content is of no use.
func (a *memory) Read(p uint32, b *[mem.PageSize]byte) {
	a.look(func() { copy(b[:], a.m.mem.Bytes()[uint64(p)<<mem.PageShift:]) })
}

// Leaf is the leaf of what a page holds or is promised to hold.
func (a *memory) Leaf(p uint32) (leaf [snapshot.LeafSize]byte) {
	a.look(func() {
		if leaf = a.table.leaf[p]; a.do != nil || !bit(a.table.known, p) {
			leaf = a.hash(p)
		}
	})
	return leaf
}

// look runs f where memory may be looked at.
func (a *memory) look(f func()) {
	if a.do == nil {
		f()
		return
	}
	a.do(func() error { f(); return nil })
}

func (a *memory) hash(p uint32) [snapshot.LeafSize]byte { return a.m.mem.Leaves()[p] }

// Absent says which pages are not here yet.
func (a *memory) Absent(pages []uint64, leaf func(p uint32) [snapshot.LeafSize]byte) {
	a.table.forget(a.m.mem.Gone(nil))
	if a.err = a.Promise(pages, leaf); a.err != nil {
		return
	}
	each(pages, func(p uint32) { a.table.set(p, leaf(p)) })
}

// Fill brings an absent page.
func (a *memory) Fill(p uint32, b []byte) error {
	err := a.Puller.Fill(p, b)
	if errors.Is(err, ErrPromise) {
		return fmt.Errorf("%w: %w", migrate.ErrLeaf, err)
	}
	return err
}
