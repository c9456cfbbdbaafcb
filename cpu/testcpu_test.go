package cpu

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
	"godwit/mem"
)

// testBus records port writes and answers reads with a pattern.
type testBus struct {
	tsc, rand uint64
	outs      []portWrite
	mmio      map[uint64]uint64
}

type portWrite struct {
	port uint16
	size int
	v    uint32
}

func (b *testBus) ReadMMIO(pa uint64, size int) uint64 {
	if v, ok := b.mmio[pa]; ok {
		return v & sizeMask(size)
	}
	return sizeMask(size)
}
func (b *testBus) WriteMMIO(pa uint64, size int, v uint64) { b.mmio[pa] = v & sizeMask(size) }
func (b *testBus) In(port uint16, size int) uint32         { return 0xa5a50000 | uint32(port) }
func (b *testBus) Out(port uint16, size int, v uint32) {
	b.outs = append(b.outs, portWrite{port, size, v})
}
func (b *testBus) TSC() uint64  { b.tsc += 10; return b.tsc }
func (b *testBus) Rand() uint64 { b.rand += 0x0123456789abcdef; return b.rand }

// testAPIC has a queue of vectors.
type testAPIC struct {
	c     *CPU
	queue []uint8
	tpr   uint8
	base  uint64
	sent  [][2]uint32
}

func (a *testAPIC) Vector() (uint8, bool) {
	if len(a.queue) == 0 {
		return 0, false
	}
	return a.queue[0], true
}

func (a *testAPIC) Ack() (uint8, bool) {
	v, ok := a.Vector()
	if !ok {
		return 0, false
	}
	a.queue = a.queue[1:]
	a.c.INTR(len(a.queue) != 0)
	return v, true
}
func (a *testAPIC) TPR() uint8         { return a.tpr }
func (a *testAPIC) SetTPR(class uint8) { a.tpr = class }
func (a *testAPIC) ReadMSR(n uint32) (uint64, bool) {
	return a.base, n == msrAPICBase
}

func (a *testAPIC) WriteMSR(n uint32, v uint64) bool {
	a.base = v
	return n == msrAPICBase
}

func (a *testAPIC) SendIPI(id, icr uint32) bool {
	a.sent = append(a.sent, [2]uint32{id, icr})
	return true
}

// raise makes vector v pending.
func (a *testAPIC) raise(v uint8) {
	a.queue = append(a.queue, v)
	a.c.INTR(true)
}

// rig is a CPU over 1 MiB of RAM.
type rig struct {
	*CPU
	t     *testing.T
	m     *mem.Memory
	bus   *testBus
	lapic *testAPIC
}

func newRig(t *testing.T) *rig {
	t.Helper()
	m, err := mem.New(1 << 20)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	model, err := LookupModel("")
	require.NoError(t, err)
	r := &rig{t: t, m: m, bus: &testBus{mmio: map[uint64]uint64{}}, lapic: &testAPIC{base: 0xfee00900}}
	r.CPU = New(0, model, m, NewShared(m), r.bus, r.lapic)
	r.lapic.c = r.CPU
	return r
}

// put writes bytes given in hex, blanks ignored, at a physical address.
func (r *rig) put(pa uint64, code string) {
	b, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
	require.NoError(r.t, err, code)
	copy(r.ram[pa:], b)
}

func (r *rig) put64(pa uint64, v ...uint64) {
	for i, x := range v {
		binary.LittleEndian.PutUint64(r.ram[pa+uint64(i)*8:], x)
	}
}
func (r *rig) get64(pa uint64) uint64 { return binary.LittleEndian.Uint64(r.ram[pa:]) }
func (r *rig) get32(pa uint64) uint32 { return binary.LittleEndian.Uint32(r.ram[pa:]) }
func (r *rig) get16(pa uint64) uint16 { return binary.LittleEndian.Uint16(r.ram[pa:]) }

// steps executes n counts on the reference engine, interrupts included.
func (r *rig) steps(n int) {
	for end := r.Count + uint64(n); r.Count < end; {
		if r.Interrupt() {
			continue
		}
		require.Equal(r.t, Running, r.Activity, "stopped at %#x", r.RIP)
		r.Step()
	}
}

// Where the rigs keep their tables.
const (
	rigIDT   = 0x1000
	rigGDT   = 0x2000
	rigTSS   = 0x3000
	rigPML4  = 0x10000
	rigCode  = 0x8000
	rigUser  = 0x9000
	rigStack = 0x7000 // level 0, from the TSS
	rigISR   = 0xa000 // handler of vector n at rigISR + 16 n
)

// Selectors of the rigs' GDT.
const (
	selCode64 = 0x08
	selData   = 0x10
	selCode32 = 0x18
	selUser32 = 0x20 | 3
	selUserDS = 0x28 | 3
	selUser64 = 0x30 | 3
	selTSS    = 0x38 // two entries in long mode
	selCode16 = 0x48
	selGate   = 0x50 // free, two entries
)

// tables writes GDT, TSS and, for gate size 8 or 16, an IDT whose handlers are
// HLT. Gates are interrupt gates with DPL 0, that of vector 3 with DPL 3.
func (r *rig) tables(gate uint64) {
	r.put64(rigGDT, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff,
		0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff,
		0x0000890000000067|rigTSS<<16, 0, 0x000f9b000000ffff)
	r.GDTR = Table{Base: rigGDT, Limit: 0xff}
	cs := uint64(selCode64)
	if gate == 8 {
		cs = selCode32
	}
	for v := uint64(0); v < 256; v++ {
		typ := uint64(0x8e)
		if v == 3 {
			typ = 0xee
		}
		r.put64(rigIDT+v*gate, rigISR+v*16|cs<<16|typ<<40)
		r.ram[rigISR+v*16] = 0xf4
	}
	r.IDTR = Table{Base: rigIDT, Limit: uint16(256*gate - 1)}
	r.put64(rigTSS+tssIOMap-6, 0x68<<48)
	r.TR = Segment{Sel: selTSS, Attr: 0x8b, Limit: 0x67, Base: rigTSS}
}

// flat loads a segment register from the rigs' GDT without checks.
func (r *rig) flat(seg int, sel uint16) {
	d := descriptor{sel: sel, lo: r.get64(rigGDT + uint64(sel&^7))}
	r.Seg[seg] = d.segment()
}

// long puts the CPU into 64-bit mode at level cpl with the first 2 MiB mapped
// for everybody.
func (r *rig) long(cpl uint8) {
	r.tables(16)
	r.put64(rigTSS+4, rigStack)
	r.put64(rigPML4, rigPML4+0x1000|7)
	r.put64(rigPML4+0x1000, rigPML4+0x2000|7)
	r.put64(rigPML4+0x2000, 0x87)
	r.CR3 = rigPML4
	r.CR4 = cr4PAE | cr4OSFXSR | cr4OSXSAVE | cr4OSXMMEXCPT
	r.EFER = eferLME | eferLMA | eferNXE | eferSCE
	r.CR0 = cr0PE | cr0PG | cr0ET | cr0NE | cr0WP | cr0MP
	r.level(cpl, selCode64, selUser64)
}

// protected32 puts the CPU into 32-bit protected mode without paging.
func (r *rig) protected32(cpl uint8) {
	r.tables(8)
	binary.LittleEndian.PutUint32(r.ram[rigTSS+4:], rigStack)
	binary.LittleEndian.PutUint32(r.ram[rigTSS+8:], selData)
	r.CR0 = cr0PE | cr0ET | cr0NE
	r.level(cpl, selCode32, selUser32)
}

func (r *rig) level(cpl uint8, kernel, user uint16) {
	cs, ds := kernel, uint16(selData)
	if cpl == 3 {
		cs, ds = user, selUserDS
	}
	r.flat(isa.CS, cs)
	for _, s := range []int{isa.ES, isa.SS, isa.DS, isa.FS, isa.GS} {
		r.flat(s, ds)
	}
	r.CPL = cpl
	r.R = GPRs{}
	r.RFLAGS = flagsFixed
	r.RIP, r.R[RSP] = rigCode, 0x6000
	r.changed()
	r.FlushTLB()
}

// real puts the CPU into real mode at 0000:8000.
func (r *rig) real() {
	r.Seg[isa.CS].Sel, r.Seg[isa.CS].Base = 0, 0
	r.RIP, r.R[RSP] = rigCode, 0x6000
	for v := uint64(0); v < 256; v++ {
		binary.LittleEndian.PutUint32(r.ram[v*4:], uint32(rigISR+v*16))
		r.ram[rigISR+v*16] = 0xf4
	}
	r.changed()
}

// isr is the address of a vector's handler.
func isr(vec uint64) uint64 { return rigISR + vec*16 }
