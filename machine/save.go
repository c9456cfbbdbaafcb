package machine

import (
	"context"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"godwit/cpu"
	"godwit/devices"
	"godwit/snapshot"
)

// Names of the machine's sections, see docs/format/sections.md.
const (
	secConfig  = "config"
	secImages  = "images"
	secMachine = "machine"
	secCPU     = "cpu"
	secDevice  = "device"
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// encode is the one encoding of state: equal states give equal bytes.
func encode(v any) ([]byte, error) { return encMode.Marshal(v) }

// ErrRunning is returned for a save in the middle of an instruction.
var ErrRunning = errors.New("machine is running")

// Sections encodes the machine except its memory: first configuration and
// images, from which New builds it, then its state.
func (m *Machine) Sections() ([]snapshot.Section, error) {
	state, err := m.stateSections() // first: it brings what is said of the disks up to date
	if err != nil {
		return nil, err
	}
	secs, err := m.configSections()
	return append(secs, state...), err
}

// configSections encodes what never changes.
func (m *Machine) configSections() ([]snapshot.Section, error) {
	if err := m.fetchImages(); err != nil {
		return nil, err
	}
	var e encoder
	e.add(secConfig, "", false, &m.cfg)
	e.add(secImages, "", false, &m.images)
	return e.secs, e.err
}

// stateSections encodes the state.
func (m *Machine) stateSections() ([]snapshot.Section, error) {
	if m.cur != nil {
		return nil, ErrRunning
	}
	if err := m.Quiesce(context.Background()); err != nil {
		return nil, err
	}
	m.NoteDisks()
	var e encoder
	e.add(secMachine, "", true, &m.st)
	for i, c := range m.cpus {
		c.Canonical()
		e.add(secCPU, fmt.Sprint(i), true, &c.Arch)
	}
	for _, d := range m.devs {
		e.add(secDevice, d.ID(), true, d.State())
	}
	return e.secs, e.err
}

// encoder collects sections.
type encoder struct {
	secs []snapshot.Section
	err  error
}

func (e *encoder) add(name, instance string, state bool, v any) {
	b, err := encode(v)
	if err != nil {
		e.err = errors.Join(e.err, fmt.Errorf("section %s/%s: %w", name, instance, err))
	}
	e.secs = append(e.secs, snapshot.Section{Name: name, Instance: instance, Version: 1, Required: true, State: state, Data: b})
}

// Hash is the state hash of docs/format/hash.md.
func (m *Machine) Hash() ([32]byte, error) {
	secs, err := m.Sections()
	if err != nil {
		return [32]byte{}, err
	}
	leaves := m.mem.Leaves()
	if err := m.mem.Lost(); err != nil {
		return [32]byte{}, err
	}
	return snapshot.Root(m.mem.Pages(), func(p uint32) [16]byte { return leaves[p] }, secs)
}

// Pages is the machine's memory for a snapshot or a transfer. The machine must
// not run until the user is done with it.
func (m *Machine) Pages() snapshot.Pages { return pages{m, m.mem.Leaves()} }

type pages struct {
	m      *Machine
	leaves [][16]byte
}

func (p pages) Pages() uint32          { return p.m.mem.Pages() }
func (p pages) Present(n uint32) bool  { return p.m.mem.Present(n) }
func (p pages) Leaf(n uint32) [16]byte { return p.leaves[n] }
func (p pages) Read(n uint32, b *[4096]byte) {
	copy(b[:], p.m.mem.Bytes()[uint64(n)<<12:])
}

// ErrConfig is returned for sections that hold no usable configuration.
var ErrConfig = errors.New("no usable configuration")

// ErrMemory is returned where the host does not give a machine its memory.
var ErrMemory = errors.New("the host has no room for the guest's memory")

// unusable says that it is the configuration with which a machine cannot be built,
// unless it is the host.
func unusable(err error) error {
	if errors.Is(err, ErrMemory) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrConfig, err)
}

// FromSections builds the machine that sections describe, without its state:
// memory is zero until its pages are restored, and then Restore makes it whole.
func FromSections(secs []snapshot.Section, host Host) (*Machine, error) {
	var cfg Config
	var images Images
	if err := section(secs, secConfig, "", &cfg); err != nil {
		return nil, unusable(err)
	}
	if err := section(secs, secImages, "", &images); err != nil {
		return nil, unusable(err)
	}
	m, err := New(cfg, images, host)
	if err != nil {
		return nil, unusable(err)
	}
	return m, nil
}

// section decodes one section. Every byte is from outside and may be hostile.
func section(secs []snapshot.Section, name, instance string, v any) error {
	s := snapshot.Find(secs, name, instance)
	if s == nil {
		return fmt.Errorf("section %s/%s is missing", name, instance)
	}
	if s.Version != 1 {
		return fmt.Errorf("section %s/%s has version %d, this build reads 1", name, instance, s.Version)
	}
	if err := decMode.Unmarshal(s.Data, v); err != nil {
		return fmt.Errorf("section %s/%s: %w", name, instance, err)
	}
	return nil
}

// checkKnown refuses sections that are required and none of this machine's: left out,
// they would be lost.
func (m *Machine) checkKnown(secs []snapshot.Section) error {
	known := map[string]bool{}
	add := func(name, instance string) {
		s := snapshot.Section{Name: name, Instance: instance}
		known[s.ID()] = true
	}
	for _, name := range []string{secConfig, secImages, secMachine} {
		add(name, "")
	}
	for i := range m.cpus {
		add(secCPU, fmt.Sprint(i))
	}
	for _, d := range m.devs {
		add(secDevice, d.ID())
	}
	for i := range secs {
		if s := &secs[i]; (s.Required || s.State) && !known[s.ID()] {
			return &snapshot.UnknownSection{ID: s.ID(), Version: s.Version}
		}
	}
	return nil
}

// Restore decodes the machine's state; its memory was restored before. After an
// error the machine is not to be used.
func (m *Machine) Restore(secs []snapshot.Section) error {
	if err := m.checkKnown(secs); err != nil {
		return err
	}
	m.omit(secs)
	if m.restored {
		m.resetDevices(devices.PowerOn) // decoding begins with the state of power-on
	}
	m.restored = true
	m.st = state{}
	if err := section(secs, secMachine, "", &m.st); err != nil {
		return err
	}
	if err := m.checkState(); err != nil {
		return fmt.Errorf("section %s: %w", secMachine, err)
	}
	for i, c := range m.cpus {
		c.Arch = cpu.Arch{}
		if err := section(secs, secCPU, fmt.Sprint(i), &c.Arch); err != nil {
			return err
		}
		if err := c.Restored(); err != nil {
			return fmt.Errorf("section %s/%d: %w", secCPU, i, err)
		}
	}
	for _, d := range m.devs {
		if err := section(secs, secDevice, d.ID(), d.State()); err != nil {
			return err
		}
	}
	for _, d := range m.devs {
		if err := d.Restored(); err != nil {
			return fmt.Errorf("section %s/%s: %w", secDevice, d.ID(), err)
		}
	}
	for i, c := range m.cpus {
		m.placeAPIC(c)
		c.INTR(m.lapics[i].Pending())
	}
	for _, d := range m.blks {
		d.Resume()
	}
	m.shared.Reset()
	m.dmaStalled = true // in case a device was waiting
	m.nextPoll = 0
	return nil
}

// checkState validates what a decoded machine section says.
func (m *Machine) checkState() error {
	s := &m.st
	switch {
	case s.Clock.Num == 0 || s.Clock.Den == 0:
		return fmt.Errorf("clock rate %d/%d has a zero", s.Clock.Num, s.Clock.Den)
	case s.Clock.Count > s.Count:
		return fmt.Errorf("clock segment begins at #%d, after #%d", s.Clock.Count, s.Count)
	case s.Clock.Base < 0 || s.Count-s.Clock.Count > 1<<62/uint64(s.Clock.Num):
		return fmt.Errorf("clock runs beyond its range")
	case s.Turn >= uint32(len(m.cpus)):
		return fmt.Errorf("turn of vcpu %d of %d", s.Turn, len(m.cpus))
	case len(s.Queue) > 256*len(m.devs):
		return fmt.Errorf("queue holds %d deadlines, at most %d", len(s.Queue), 256*len(m.devs))
	case s.End > Hibernated:
		return fmt.Errorf("end is %d, at most %d", s.End, Hibernated)
	case s.Sleep > waking:
		return fmt.Errorf("sleep is %d, at most %d", s.Sleep, waking)
	case len(s.Held) > maxHeld:
		return fmt.Errorf("%d inputs wait, at most %d", len(s.Held), maxHeld)
	case len(s.Console) > 1<<20:
		return fmt.Errorf("console backlog is %d bytes, at most %d", len(s.Console), 1<<20)
	}
	for _, in := range s.Held {
		if err := in.check(); err != nil {
			return err
		}
	}
	for i, d := range s.Queue {
		if int(d.Dev) >= len(m.devs) {
			return fmt.Errorf("deadline of device %d of %d", d.Dev, len(m.devs))
		}
		if i > 0 && !s.Queue[i-1].before(d) {
			return errors.New("queue is not in order")
		}
	}
	return nil
}

// ConfigIn is the configuration of the machine that sections describe.
func ConfigIn(secs []snapshot.Section) (cfg Config, err error) {
	return cfg, section(secs, secConfig, "", &cfg)
}

// TimeIn is the guest time of the machine that sections describe.
func TimeIn(secs []snapshot.Section) (int64, error) {
	var st state
	if err := section(secs, secMachine, "", &st); err != nil {
		return 0, err
	}
	if st.Clock.Den == 0 {
		return 0, errors.New("the clock's rate is none")
	}
	return int64(st.Clock.at(st.Count)), nil
}
