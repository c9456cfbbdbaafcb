package pci_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/pci"
	"godwit/mem"
)

// echo answers with its number and the offset.
type echo uint64

func (e echo) Read(off uint64, _ int) uint64 { return uint64(e)<<24 | off }
func (e echo) Write(uint64, int, uint64)     {}

// fixture is a bus with functions at slots 4 and 5 that have a window of each kind.
type fixture struct {
	ports, memory mem.Space
	bus           *pci.Bus
	host          *pci.Host
	state         [2]pci.Config
	line          [2]line
}

type line struct{ level bool }

func (l *line) Set(level bool) { l.level = level }

func newFixture(t *testing.T) *fixture {
	f := &fixture{}
	f.bus = pci.NewBus(&f.ports, &f.memory)
	require.NoError(t, f.memory.Map(0xfec00000, 0x1000, echo(9)))
	var err error
	f.host, err = pci.NewHost(pci.Wiring{Bus: f.bus, Reset: echo(7)})
	require.NoError(t, err)
	pci.NewISA(pci.Wiring{Bus: f.bus})
	pci.NewPM(pci.Wiring{Bus: f.bus})
	for i := range f.state {
		fn := &pci.Function{
			ID: fmt.Sprint(i), Slot: uint8(4 + i), Pin: 1, Line: &f.line[i], State: &f.state[i],
			Regs: pci.Header(pci.Ident{Vendor: 0x1234, Device: uint16(i), Command: 0x0407, Pin: 1, Class: 0xff0000}),
		}
		n := echo(3 * i)
		fn.BARs[0] = pci.BAR{Size: 0x100, IO: true, Handler: n + 1}
		fn.BARs[1] = pci.BAR{Size: 0x1000, Handler: n + 2}
		fn.BARs[2] = pci.BAR{Size: 0x4000, Wide: true, Handler: n + 3}
		f.bus.Add(fn)
	}
	return f
}

// outl and inl are dword accesses by mechanism #1.
func (f *fixture) outl(slot, fn, reg uint64, v uint32) {
	f.ports.Write(0xcf8, 4, 1<<31|slot<<11|fn<<8|reg)
	f.ports.Write(0xcfc, 4, uint64(v))
}

func (f *fixture) inl(slot, fn, reg uint64) uint32 {
	f.ports.Write(0xcf8, 4, 1<<31|slot<<11|fn<<8|reg)
	return uint32(f.ports.Read(0xcfc, 4))
}

func TestScan(t *testing.T) {
	f := newFixture(t)
	var found []string
	for slot := range uint64(32) {
		for fn := range uint64(8) {
			if id := f.inl(slot, fn, 0); id != 0xffffffff {
				found = append(found, fmt.Sprintf("%x.%d %08x %06x %02x", slot, fn, id, f.inl(slot, fn, 8)>>8, f.inl(slot, fn, 12)>>16&0xff))
			}
		}
	}
	assert.Equal(t, []string{
		"0.0 12378086 060000 00",
		"1.0 70008086 060100 80",
		"1.3 71138086 068000 00",
		"4.0 00001234 ff0000 00",
		"5.0 00011234 ff0000 00",
	}, found)
	assert.EqualValues(t, 0x601, f.inl(1, 3, 0x40), "power management base")
}

func TestMechanism(t *testing.T) {
	f := newFixture(t)
	p := &f.ports
	p.Write(0xcf8, 4, 0xffffffff)
	assert.EqualValues(t, 0x80fffffc, p.Read(0xcf8, 4), "reserved bits")
	assert.EqualValues(t, 0xffffffff, p.Read(0xcfc, 4), "no such bus")
	p.Write(0xcfb, 1, 1) // Linux's check of mechanism #2 [LINUX pci_check_type1]
	p.Write(0xcf8, 2, 0)
	assert.EqualValues(t, 0x80fffffc, p.Read(0xcf8, 4), "only dwords reach the address")
	assert.EqualValues(t, 0xff, p.Read(0xcf8, 1))
	p.Write(0xcf9, 1, 6)
	assert.EqualValues(t, 0x00, p.Read(0xcf9, 1), "reset control, of which a byte is seen")
	p.Write(0xcf8, 4, 0x80000000)
	for _, tt := range []struct {
		port uint64
		size int
		want uint64
	}{
		{0xcfc, 4, 0x12378086}, {0xcfc, 2, 0x8086}, {0xcfe, 2, 0x1237}, {0xcff, 1, 0x12}, {0xcfd, 2, 0x3780}, {0xcfd, 1, 0x80},
	} {
		assert.Equal(t, tt.want, p.Read(tt.port, tt.size), "%x %d", tt.port, tt.size)
	}
	p.Write(0xcf8, 4, 0)
	assert.EqualValues(t, 0xffff, p.Read(0xcfc, 2), "not enabled")
	p.Write(0xcf8, 4, 0x80002010)
	p.Write(0xcfe, 2, 0xfffe)
	assert.EqualValues(t, 0x0001, f.inl(4, 0, 0x10), "upper half of a port BAR")
	p.Write(0xcf8, 4, 0x8000203c)
	p.Write(0xcfc, 1, 0x5a)
	assert.EqualValues(t, 0x015a, f.inl(4, 0, 0x3c), "interrupt line and pin")
}

func TestSizing(t *testing.T) {
	f := newFixture(t)
	for reg, want := range map[uint64]uint32{0x10: 0xff01, 0x14: 0xfffff000, 0x18: 0xffffc004, 0x1c: 0xffffffff, 0x20: 0, 0x24: 0, 0x30: 0} {
		f.outl(4, 0, reg, 0xffffffff)
		assert.Equal(t, want, f.inl(4, 0, reg), "%x", reg)
	}
	f.outl(4, 0, 0x14, 0xe0001234)
	assert.EqualValues(t, 0xe0001000, f.inl(4, 0, 0x14))
}

// seen tells who answers in some places.
func (f *fixture) seen() []uint64 {
	var out []uint64
	for _, at := range []uint64{0xe0000000, 0xe0001000, 0xe0002000, 0x1_2345_4000, 0x1_2345_7fff, 0xfec00010} {
		out = append(out, f.memory.Read(at, 4))
	}
	return append(out, f.ports.Read(0xc000, 4), f.ports.Read(0xc0ff, 1))
}

const none, bite = 0xffffffff, 0xff

func TestWindows(t *testing.T) {
	f := newFixture(t)
	f.outl(4, 0, 0x10, 0xc000)
	f.outl(4, 0, 0x14, 0xe0000000)
	f.outl(4, 0, 0x18, 0x23454000)
	f.outl(4, 0, 0x1c, 1)
	assert.Equal(t, []uint64{none, none, none, none, none, 0x9000010, none, bite}, f.seen(), "command bits are off")
	f.outl(4, 0, 4, 1)
	assert.Equal(t, []uint64{none, none, none, none, none, 0x9000010, 0x1000000, 0xff}, f.seen(), "ports")
	f.outl(4, 0, 4, 2)
	assert.Equal(t, []uint64{0x2000000, none, none, 0x3000000, none, 0x9000010, none, bite}, f.seen(), "memory")
	f.outl(4, 0, 0x14, 0xe0001000)
	assert.Equal(t, []uint64{none, 0x2000000, none, 0x3000000, none, 0x9000010, none, bite}, f.seen(), "moved")

	f.outl(5, 0, 0x14, 0xe0001000)
	f.outl(5, 0, 4, 2)
	assert.Equal(t, []uint64{none, 0x2000000, none, 0x3000000, none, 0x9000010, none, bite}, f.seen(), "the lower slot wins")
	f.outl(4, 0, 0x14, 0)
	assert.EqualValues(t, 0x5000000, f.memory.Read(0xe0001000, 4), "until it goes away")
	f.outl(4, 0, 0x14, 0xe0001000)
	assert.EqualValues(t, 0x2000000, f.memory.Read(0xe0001000, 4), "whoever came first")
	f.outl(4, 0, 0x14, 0xfec00000)
	assert.EqualValues(t, 0x9000010, f.memory.Read(0xfec00010, 4), "fixed windows win")
	f.outl(4, 0, 0x18, 0)
	f.outl(4, 0, 0x1c, 0)
	assert.EqualValues(t, none, f.memory.Read(0, 4), "a base of 0 is none")
}

func TestRestoredWindows(t *testing.T) {
	f := newFixture(t)
	for _, slot := range []uint64{5, 4} { // both want the same place
		f.outl(slot, 0, 0x10, 0xc000)
		f.outl(slot, 0, 0x14, 0xe0001000)
		f.outl(slot, 0, 0x18, 0x23454000)
		f.outl(slot, 0, 0x1c, 1)
		f.outl(slot, 0, 4, 3)
	}
	g := newFixture(t)
	g.state = f.state
	for slot := range uint8(2) {
		require.NoError(t, g.bus.At(4+slot, 0).Restored())
	}
	assert.Equal(t, f.seen(), g.seen())
	f.bus.At(4, 0).Reset()
	assert.NotEqual(t, f.seen(), g.seen(), "a reset closes windows")
	g.state[0].Words[0x14/4] |= 1
	assert.ErrorContains(t, g.bus.At(4, 0).Restored(), "restore 0: configuration dword 0x14 is 0xe0001001")
}

func TestConfigure(t *testing.T) {
	f := newFixture(t)
	irq := func(slot, pin int) uint8 { return uint8(10 + (slot+pin)&1) }
	require.NoError(t, f.bus.Configure(0xe0000800, 0xe0ffffff, 0xc010, irq))
	assert.Equal(t, []uint32{0xc101, 0xe0001000, 0xe0004004, 0}, []uint32{f.inl(4, 0, 0x10), f.inl(4, 0, 0x14), f.inl(4, 0, 0x18), f.inl(4, 0, 0x1c)})
	assert.Equal(t, []uint32{0xc201, 0xe0008000, 0xe000c004, 0}, []uint32{f.inl(5, 0, 0x10), f.inl(5, 0, 0x14), f.inl(5, 0, 0x18), f.inl(5, 0, 0x1c)})
	assert.EqualValues(t, 3, f.inl(5, 0, 4))
	assert.EqualValues(t, 0x010b, f.inl(5, 0, 0x3c))
	assert.EqualValues(t, 0x010a, f.inl(4, 0, 0x3c))
	assert.EqualValues(t, 0x6000010, f.memory.Read(0xe000c010, 4))
	assert.ErrorContains(t, newFixture(t).bus.Configure(0xe0000000, 0xe0008fff, 0xc000, irq), "BAR2 of 1 needs 0x4000 bytes: no room")
	assert.Error(t, newFixture(t).bus.Configure(0xe0000000, 0xe0ffffff, 0xff00, irq))
}

func TestINTx(t *testing.T) {
	f := newFixture(t)
	fn := f.bus.At(5, 0)
	fn.SetINTx(true)
	assert.True(t, f.line[1].level)
	assert.EqualValues(t, 0x80000, f.inl(5, 0, 4)&0x80000)
	f.outl(5, 0, 4, 0x400)
	assert.False(t, f.line[1].level, "disabled")
	assert.EqualValues(t, 0x80400, f.inl(5, 0, 4))
	f.outl(5, 0, 4, 0)
	assert.True(t, f.line[1].level)
	fn.Reset()
	assert.False(t, f.line[1].level)
}

type messages []string

func (m *messages) MSI(addr uint64, data uint32) { *m = append(*m, fmt.Sprintf("%x:%x", addr, data)) }

func TestMSIX(t *testing.T) {
	var sent messages
	var c pci.Config
	var v pci.Vectors
	bus := pci.NewBus(&mem.Space{}, &mem.Space{})
	fn := &pci.Function{ID: "x", Slot: 2, State: &c, Regs: append(
		pci.Header(pci.Ident{Command: 6, Capability: 0x40}), pci.MSIXRows(0x40, 0, 64, 1, 0x800)...)}
	bus.Add(fn)
	x := &pci.MSIX{Fn: fn, Cap: 0x40, N: 64, Out: &sent, State: &v}
	x.Reset()
	h, cfg := x.Table(0x800), fn.Config()
	assert.EqualValues(t, 63, cfg.Read(0x42, 2))
	assert.EqualValues(t, 0x801, cfg.Read(0x48, 4))
	h.Write(63*16, 8, 0x1fee01007)
	h.Write(63*16+8, 4, 0x4041)
	assert.EqualValues(t, 0x1fee01004, h.Read(63*16, 8))
	assert.EqualValues(t, 0x1_00004041, h.Read(63*16+8, 8), "masked")
	for _, tt := range []struct {
		name string
		do   func()
		want messages
	}{
		{"off", func() { assert.False(t, x.Enabled()) }, nil},
		{"masked", func() { cfg.Write(0x42, 2, 0x8000); cfg.Write(4, 2, 4); x.Update(); x.Notify(63); x.Notify(63) }, nil},
		{"unmasked", func() { h.Write(63*16+12, 4, 0) }, messages{"1fee01004:4041"}},
		{"only once", func() { h.Write(63*16+12, 4, 0) }, nil},
		{"no mastership", func() { cfg.Write(4, 2, 0); x.Notify(63) }, nil},
		{"mastership", func() { cfg.Write(4, 2, 4); x.Update() }, messages{"1fee01004:4041"}},
	} {
		sent = nil
		tt.do()
		assert.Equal(t, tt.want, sent, tt.name)
	}
	h.Write(64*16, 4, 5) // beyond the table
	h.Write(63*16, 2, 0) // a width that is not defined
	assert.EqualValues(t, 0x1fee01004, h.Read(63*16, 8))
	require.NoError(t, x.Restored())
	v.Table[3].Addr = 2
	assert.ErrorContains(t, x.Restored(), "vector 3 has reserved bits")
	v.Table = v.Table[:5]
	assert.ErrorContains(t, x.Restored(), "5 vectors, must have 64")
}

func TestTwoFunctionsInOnePlace(t *testing.T) {
	f := newFixture(t)
	assert.Panics(t, func() { f.bus.Add(&pci.Function{Slot: 4, State: &pci.Config{}}) })
}

func TestReset(t *testing.T) {
	f := newFixture(t)
	f.outl(0, 0, 0x58, 0x33333333)
	assert.EqualValues(t, 0x33333000, f.inl(0, 0, 0x58)&0xfffff000)
	f.host.Reset(devices.Init)
	assert.EqualValues(t, 0x80000058, f.ports.Read(0xcf8, 4))
	f.host.Reset(devices.Warm)
	assert.EqualValues(t, 0, f.ports.Read(0xcf8, 4))
	assert.EqualValues(t, 0, f.inl(0, 0, 0x58)&0xfffff000)
}
