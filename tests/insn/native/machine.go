package native

import (
	"encoding/binary"
	"fmt"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/mem"
)

// Physical layout, below 2 MiB. The first 2 MiB are also mapped for the
// supervisor at sysBase.
const (
	physTables = 0x10000 // page tables: PML4, 2 PDPT, 2 PD, 3 PT
	physIDT    = 0x20000
	physGDT    = 0x21000
	physTSS    = 0x22000
	physLDT    = 0x23000
	physISR    = 0x24000 // one byte per vector
	physKStack = 0x28000 // top
	physCode   = 0x30000
	physData   = 0x40000    // the regions, one after the other
	deviceData = 0x40000000 // a device that has the same content
	sysBase    = 0xffffffff80000000
	noExec     = 1 << 63
)

// features are those of the instructions that no named model has.
const features = "aes pclmulqdq sha_ni bmi1 bmi2 adx avx avx2 fma f16c vaes vpclmulqdq clzero"

// models are the CPU models by the name that /proc/cpuinfo has for their vendors.
var models = map[string]string{"AuthenticAMD": "x86-64-v2", "GenuineIntel": "x86-64-v2-intel"}

// ldt are the descriptors that exec.c asks Linux for.
var ldt = [...]uint64{
	descriptor(0, 0xfffff, 0xcfb), descriptor(CodeBase, 0xffff, 0x0fb), descriptor(DataBase, 0x1fff, 0x0f3),
	descriptor(StackBase+0x1000, 0xffff, 0x0f3), descriptor(DataBase, 0x1fff, 0x4f1), descriptor(DataBase, 0xfff, 0x4f7),
	descriptor(DataBase, 0xfff, 0x0f7), descriptor(DataBase, 0x1fff, 0x473), descriptor(DataBase, 0x1fff, 0x4f9),
	descriptor(CodeBase, 0xffff, 0x07f), descriptor(DataBase, 0xff, 0x4f3), descriptor(DataBase, 0xffff, 0x0f3),
}

// gdt is Linux's, without what user code cannot use.
var gdt = [16]uint64{
	1: 0x00cf9b000000ffff, 2: 0x00af9b000000ffff, 3: 0x00cf93000000ffff,
	4: 0x00cffb000000ffff, 5: 0x00cff3000000ffff, 6: 0x00affb000000ffff,
	15: 0x0040f50000000000, // the limit holds a processor's number
}

// descriptor packs base, limit and attributes: bits 7:0 are byte 5, 11:8 the
// upper half of byte 6 [SDM 3A 3.4.5].
func descriptor(base, limit, attr uint64) uint64 {
	return limit&0xffff | base&0xffffff<<16 | attr&0xff<<40 | limit>>16<<48 | attr>>8<<52 | base>>24<<56
}

// Machine is a vCPU in user mode.
type Machine struct {
	c     *cpu.CPU
	m     *mem.Memory
	ram   []byte
	plain []byte // test memory without a case's own values
	seen  []byte // test memory before the instruction
	on    map[string]bool
	amd   bool // the model's vendor
	flat  bool // there is 64-bit code only: no LDT, and no 32-bit code in the GDT
}

// noAPIC and noBus: nothing is there, but for a device that is test memory.
type (
	noAPIC struct{}
	noBus  struct{ data []byte }
)

func (noAPIC) Vector() (uint8, bool)         { return 0, false }
func (noAPIC) Ack() (uint8, bool)            { return 0, false }
func (noAPIC) TPR() uint8                    { return 0 }
func (noAPIC) SetTPR(uint8)                  {}
func (noAPIC) ReadMSR(uint32) (uint64, bool) { return 0, false }
func (noAPIC) WriteMSR(uint32, uint64) bool  { return false }
func (noAPIC) SendIPI(uint32, uint32) bool   { return false }
func (noBus) In(uint16, int) uint32          { return ^uint32(0) }
func (noBus) Out(uint16, int, uint32)        {}
func (noBus) TSC() uint64                    { return 0 }
func (noBus) Rand() uint64                   { return 0 }

func (b noBus) ReadMMIO(pa uint64, size int) (v uint64) {
	for i := uint64(0); i < uint64(size); i++ {
		x := byte(0xff)
		if d := pa + i - deviceData; d < uint64(len(b.data)) {
			x = b.data[d]
		}
		v |= uint64(x) << (8 * i)
	}
	return v
}

func (b noBus) WriteMMIO(pa uint64, size int, v uint64) {
	for i := uint64(0); i < uint64(size); i++ {
		if d := pa + i - deviceData; d < uint64(len(b.data)) {
			b.data[d] = byte(v >> (8 * i))
		}
	}
}

// NewMachine makes one of the vendor's model with more features; Close gives its
// memory back.
func NewMachine(vendor, more string) (*Machine, error) {
	name, ok := models[vendor]
	if !ok {
		return nil, fmt.Errorf("no cpu model is of vendor %q", vendor)
	}
	model, err := cpu.LookupModel(name)
	if err != nil {
		return nil, err
	}
	m, err := mem.New(2 << 20)
	if err != nil {
		return nil, err
	}
	model = model.With(features + more)
	v := &Machine{m: m, ram: m.Bytes(), on: map[string]bool{}, amd: vendor == "AuthenticAMD"}
	for _, f := range model.Features() {
		v.on[f] = true
	}
	for _, r := range regions {
		for a := r.base; a < r.base+r.size; a += 8 {
			v.plain = binary.LittleEndian.AppendUint64(v.plain, fill(a))
		}
	}
	v.c = cpu.New(0, model, m, cpu.NewShared(m), noBus{v.data()}, noAPIC{})
	v.seen = make([]byte, len(v.plain))
	copy(v.data(), v.plain)
	v.tables()
	v.system()
	return v, nil
}

// flatten takes away all code but 64-bit code.
func (v *Machine) flatten() {
	v.flat, v.c.LDTR = true, cpu.Segment{}
	v.put(physGDT+uint64(SelCode32&^7), 0)
}

// Close gives the memory back.
func (v *Machine) Close() error { return v.m.Close() }

// data is test memory.
func (v *Machine) data() []byte { return v.ram[physData : physData+len(v.plain)] }

func (v *Machine) put(pa uint64, q ...uint64) {
	for i, x := range q {
		binary.LittleEndian.PutUint64(v.ram[pa+8*uint64(i):], x)
	}
}

// tables writes page tables, descriptors and handlers.
func (v *Machine) tables() {
	const t = physTables
	v.put(t, t+0x1000|7)
	v.put(t+511*8, t+0x2000|3)
	v.put(t+0x1000, t+0x3000|7)
	v.put(t+0x2000+510*8, t+0x4000|3)
	v.put(t+0x4000, 0x83)
	v.mapUser(CodeBase, CodeSize, physCode, 5, 0)
	v.mapData(physData)
	for i := range v.ram[physCode : physCode+CodeSize] {
		v.ram[physCode+i] = 0xcc
	}
	v.put(physGDT, gdt[:]...)
	v.put(physLDT, ldt[:]...)
	for vec := uint64(0); vec < 256; vec++ {
		typ := uint64(0x8e)
		if vec == 3 || vec == 4 {
			typ = 0xee
		}
		h := sysBase + physISR + vec
		v.put(physIDT+16*vec, h&0xffff|0x10<<16|typ<<40|h>>16&0xffff<<48, h>>32)
	}
	v.put(physTSS+4, sysBase+physKStack)
	v.ram[physTSS+102] = 0xff // no I/O bitmap
	v.ram[physTSS+103] = 0xff
}

// mapData maps test memory.
func (v *Machine) mapData(pa uint64) {
	for _, r := range regions {
		v.mapUser(r.base, r.size, pa, noExec|7, 1+int(r.base>>28-DataBase>>28))
		pa += r.size
	}
}

// mapUser maps pages through page table n.
func (v *Machine) mapUser(linear, size, pa, attr uint64, n int) {
	pt := uint64(physTables + 0x5000 + 0x1000*n)
	v.put(physTables+0x3000+linear>>21*8, pt|7)
	for o := uint64(0); o < size; o += 4096 {
		v.put(pt+(linear+o)>>12&511*8, pa+o|attr)
	}
}

// system sets everything that no case changes for long.
func (v *Machine) system() {
	a := &v.c.Arch
	a.CR0, a.CR3, a.CR4 = 0x80050033, physTables, 0x450e20 // PG AM WP NE ET MP PE; PKE OSXSAVE FSGSBASE UMIP OSXMMEXCPT OSFXSR PAE
	a.EFER, a.XCR0 = 0xd01, 7
	a.GDTR = cpu.Table{Base: sysBase + physGDT, Limit: 16*8 - 1}
	a.LDTR = cpu.Segment{Sel: 0x50, Attr: 0x82, Limit: uint32(len(ldt)*8 - 1), Base: sysBase + physLDT}
	a.IDTR = cpu.Table{Base: sysBase + physIDT, Limit: 256*16 - 1}
	a.TR = cpu.Segment{Sel: 0x40, Attr: 0x8b, Limit: 0x67, Base: sysBase + physTSS}
}

// segment is a segment register holding sel.
func segment(sel uint16) cpu.Segment {
	s := cpu.Segment{Sel: sel}
	table := gdt[:]
	if sel&4 != 0 {
		table = ldt[:]
	}
	if sel < 4 || int(sel>>3) >= len(table) {
		return s
	}
	d := table[sel>>3]
	s.Attr = uint16(d >> 40 & 0xf0ff)
	s.Base = d>>16&0xffffff | d>>56<<24
	s.Limit = uint32(d&0xffff | d>>48&0xf<<16)
	if s.Attr&0x8000 != 0 {
		s.Limit = s.Limit<<12 | 0xfff
	}
	return s
}

// mode is the decoding mode of a code selector.
func mode(sel uint16) isa.Mode {
	switch sel {
	case SelCode64:
		return isa.Mode64
	case SelCode16:
		return isa.Mode16
	}
	return isa.Mode32
}

// codeAt is where in CodeBase's page range a case's instruction is.
func (c *Case) codeAt() uint64 {
	if mode(c.Sel[isa.CS]) == isa.Mode16 {
		return c.RIP
	}
	return c.RIP - CodeBase
}

const rflagsFixed = 0x202 // IF

// load sets the state of a case.
func (v *Machine) load(s *Case) error {
	a := &v.c.Arch
	copy(a.R[:], s.R[:])
	a.RIP, a.RFLAGS, a.CPL = s.RIP, s.RFLAGS|rflagsFixed, 3
	for i, sel := range s.Sel {
		a.Seg[i] = segment(sel)
	}
	if s.Sel[isa.FS] == 0 {
		a.Seg[isa.FS].Base = s.FSBase
	}
	if s.Sel[isa.GS] == 0 {
		a.Seg[isa.GS].Base = s.GSBase
	}
	a.PKRU = 0
	a.CR2, a.Shadow, a.DBPending, a.DR[6] = 0, 0, 0, 0xffff0ff0
	vec := s.Vec
	if vec == nil {
		vec = &Vec{FCW: 0x37f, MXCSR: 0x1f80}
	}
	a.FCW, a.FSW, a.FTW, a.MXCSR, a.V = vec.FCW, vec.FSW, vec.FTW, vec.MXCSR, vec.X
	a.FOP, a.FIP, a.FDP, a.FCS, a.FDS = vec.FOP, vec.FIP, vec.FDP, 0, 0
	for i := range vec.ST {
		a.ST[(int(vec.FSW>>11)+i)&7] = vec.ST[i]
	}
	copy(v.data(), v.plain)
	for _, w := range s.Win {
		v.poke(w)
	}
	copy(v.seen, v.data())
	return v.c.Restored()
}

// poke writes a quadword; bytes outside test memory are dropped.
func (v *Machine) poke(w Window) {
	for k := uint64(0); k < 8; k++ {
		off := uint64(0)
		for _, r := range regions {
			if d := w.Addr + k - r.base; d < r.size {
				v.ram[physData+off+d] = byte(w.Val >> (8 * k))
			}
			off += r.size
		}
	}
}

// place writes bytes of code at an offset of the code pages.
func (v *Machine) place(off uint64, b []byte) {
	if off < CodeSize {
		v.m.Write(physCode+off, b[:min(uint64(len(b)), CodeSize-off)])
	}
}

// maxSteps bounds the iterations of a repeated string instruction.
const maxSteps = 1 << 17

// Reference runs a case on the reference engine; n is how many counts it took.
func (v *Machine) Reference(s *Case) (o *Result, n uint64, err error) {
	if err := v.load(s); err != nil {
		return nil, 0, err
	}
	v.place(s.codeAt(), s.Code)
	start := v.c.Count
	for v.user() && v.c.Count-start < maxSteps {
		v.c.Step()
	}
	v.place(s.codeAt(), int3[:len(s.Code)])
	return v.result(s), v.c.Count - start, nil
}

var int3 = func() (b [MaxCode]byte) {
	for i := range b {
		b[i] = 0xcc
	}
	return
}()

// user tells that no exception was delivered.
func (v *Machine) user() bool { return v.c.CPL == 3 && v.c.Activity == cpu.Running }

// Blocks runs a case on the block engine, n counts in two parts: up to the
// exception that ends it, and that.
func (v *Machine) Blocks(s *Case, n uint64) (*Result, error) {
	if err := v.load(s); err != nil {
		return nil, err
	}
	v.place(s.codeAt(), s.Code)
	for _, end := range [2]uint64{v.c.Count + n - 1, v.c.Count + n} {
		for i := uint64(0); v.c.Count < end && v.user() && i <= n; i++ {
			v.c.Run(end)
		}
	}
	v.place(s.codeAt(), int3[:len(s.Code)])
	if v.c.Activity == cpu.Running && v.user() && n < maxSteps {
		return nil, fmt.Errorf("the block engine is at %#x after %d counts", v.c.RIP, n)
	}
	return v.result(s), nil
}

// result reads the state, after an exception from its stack frame.
func (v *Machine) result(s *Case) *Result {
	v.c.Canonical()
	a := &v.c.Arch
	o := &Result{RIP: a.RIP, RFLAGS: a.RFLAGS, Trap: -2, FSBase: a.Seg[isa.FS].Base, GSBase: a.Seg[isa.GS].Base}
	copy(o.R[:], a.R[:16])
	for i := range o.Sel {
		o.Sel[i] = a.Seg[i].Sel
	}
	v.diff(o)
	if s.Vec != nil {
		o.Vec = &Vec{FCW: a.FCW, FSW: a.FSW, FTW: a.FTW, MXCSR: a.MXCSR, X: a.V}
		if a.FSW&0x80 != 0 || !v.amd { // AMD's processors save the pointers only then [APM 2 11.4.4]
			o.Vec.FOP, o.Vec.FIP, o.Vec.FDP = a.FOP, a.FIP, a.FDP
		}
		for i := range o.Vec.ST {
			o.Vec.ST[i] = a.ST[(int(a.FSW>>11)+i)&7]
		}
	}
	vec := a.RIP - (sysBase + physISR)
	if a.CPL == 3 || vec >= 256 {
		return o
	}
	o.Trap = int32(vec)
	sp := a.R[cpu.RSP] - sysBase
	switch vec {
	case 8, 10, 11, 12, 13, 14, 17:
		o.Err = binary.LittleEndian.Uint32(v.ram[sp:])
		sp += 8
	}
	if vec == 14 {
		o.CR2 = a.CR2
	}
	frame := func(i uint64) uint64 { return binary.LittleEndian.Uint64(v.ram[sp+8*i:]) }
	o.RIP, o.RFLAGS, o.R[cpu.RSP] = frame(0), frame(2), frame(3)
	o.Sel[isa.CS], o.Sel[isa.SS] = uint16(frame(1)), uint16(frame(4))
	return o
}

// diff finds the quadwords that changed.
func (v *Machine) diff(o *Result) {
	now, at := v.data(), 0
	for _, r := range regions {
		for a := r.base; a < r.base+r.size; a, at = a+8, at+8 {
			if q := binary.LittleEndian.Uint64(now[at:]); q != binary.LittleEndian.Uint64(v.seen[at:]) {
				o.Diff = append(o.Diff, Window{a, q})
			}
		}
	}
}

// decode decodes as the model's vendor does.
func (v *Machine) decode(code []byte, md isa.Mode, in *isa.Inst) isa.Status {
	if v.amd {
		return isa.DecodeAMD(code, md, in)
	}
	return isa.Decode(code, md, in)
}

// has tells that the model has a row's feature.
func (v *Machine) has(r *isa.Row) bool {
	return r.CPUID == 0 || v.on[isa.Features[r.CPUID]]
}

// Until runs a case on the reference engine for n counts.
func (v *Machine) Until(s *Case, n uint64) (*Result, error) {
	return v.until(s, n, v.c.RunReference)
}

// BlocksUntil runs a case on the block engine for n counts.
func (v *Machine) BlocksUntil(s *Case, n uint64) (*Result, error) {
	return v.until(s, n, v.c.Run)
}

func (v *Machine) until(s *Case, n uint64, run func(limit uint64)) (*Result, error) {
	if err := v.load(s); err != nil {
		return nil, err
	}
	v.place(s.codeAt(), s.Code)
	end := v.c.Count + n
	for i := uint64(0); v.c.Count < end && i <= n && v.c.Activity == cpu.Running; i++ {
		run(end)
	}
	v.place(s.codeAt(), int3[:len(s.Code)])
	return v.result(s), nil
}
