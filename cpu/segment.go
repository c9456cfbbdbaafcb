package cpu

import "godwit/cpu/isa"

// realData and realCode are the access rights of segments in real mode, and
// vmSegment those in virtual-8086 mode [SDM 3C 27.3.1.2].
const (
	realData  = segP | segS | segWritable | segAccessed
	realCode  = segP | segS | segCode | segReadable | segAccessed
	vmSegment = realData | 3<<segDPLShift
)

func init() {
	register(map[isa.Op]handler{
		isa.MOVTOSEG: hMovToSeg, isa.MOVFROMSEG: hMovFromSeg,
		isa.LES: loadFar(isa.ES), isa.LDS: loadFar(isa.DS), isa.LSS: loadFar(isa.SS),
		isa.LFS: loadFar(isa.FS), isa.LGS: loadFar(isa.GS),
		isa.LLDT: notReal(supervisor(hLldt)), isa.LTR: notReal(supervisor(hLtr)),
		isa.SLDT: notReal(umip(hSldt)), isa.STR: notReal(umip(hStr)),
		isa.LGDT: supervisor(hLgdt), isa.LIDT: supervisor(hLidt),
		isa.SGDT: umip(hSgdt), isa.SIDT: umip(hSidt),
		isa.LAR: notReal(hLar), isa.LSL: notReal(hLsl),
		isa.VERR: notReal(hVerr), isa.VERW: notReal(hVerw), isa.ARPL: notReal(hArpl),
		isa.RDFSBASE: hRdBase(isa.FS), isa.RDGSBASE: hRdBase(isa.GS),
		isa.WRFSBASE: hWrBase(isa.FS), isa.WRGSBASE: hWrBase(isa.GS),
		isa.SWAPGS: supervisor(hSwapgs),
	})
}

// supervisor guards an instruction that only CPL 0 may execute.
func supervisor(h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.CPL != 0 {
			return c.gp(0)
		}
		return h(c, in)
	}
}

// supervisorUD is supervisor for instructions that are unknown elsewhere.
func supervisorUD(h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.CPL != 0 {
			return c.ud()
		}
		return h(c, in)
	}
}

// notReal guards an instruction that only protected mode knows.
func notReal(h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if !c.protected() {
			return c.ud()
		}
		return h(c, in)
	}
}

// umip guards an instruction that CR4.UMIP takes from user code
// [SDM 3A 2.5].
func umip(h handler) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.CR4&cr4UMIP != 0 && c.CPL != 0 {
			return c.gp(0)
		}
		return h(c, in)
	}
}

// realSegment loads a segment register as real and virtual-8086 mode do. Real
// mode keeps limit and rights, so that segments made large in protected mode
// stay large.
func (c *CPU) realSegment(seg int, sel uint16) {
	s := &c.Seg[seg]
	s.Sel, s.Base = sel, uint64(sel)<<4
	switch {
	case c.vm86():
		s.Limit, s.Attr = 0xffff, vmSegment
	case s.Attr&segP == 0: // held a null selector
		s.Limit, s.Attr = 0xffff, realData
	}
}

// loadSegment loads ES, SS, DS, FS or GS as MOV does [SDM 2 MOV].
func (c *CPU) loadSegment(seg int, sel uint16) bool {
	if !c.protected() {
		c.realSegment(seg, sel)
		c.changed()
		return true
	}
	s, ok := c.checkSegment(seg, sel)
	if ok {
		c.Seg[seg] = s
		c.changed()
	}
	return ok
}

// checkSegment does all of a load but the last step.
func (c *CPU) checkSegment(seg int, sel uint16) (s Segment, ok bool) {
	if sel&^3 == 0 {
		if seg != isa.SS {
			return Segment{Sel: sel}, true
		}
		if c.mode != isa.Mode64 || c.CPL == 3 || uint8(sel&3) != c.CPL {
			return s, c.gp(0)
		}
		s = nullStack(c.CPL)
		s.Sel = sel
		return s, true
	}
	var d descriptor
	if seg == isa.SS {
		d, ok = c.stackDescriptor(sel, c.CPL, vecGP, 0)
	} else {
		d, ok = c.dataDescriptor(sel)
	}
	if !ok || !c.markAccessed(&d) {
		return s, false
	}
	return d.segment(), true
}

// dataDescriptor fetches and checks a segment for ES, DS, FS or GS.
func (c *CPU) dataDescriptor(sel uint16) (d descriptor, ok bool) {
	d, ok = c.descriptor(sel, vecGP, 0)
	if !ok {
		return d, false
	}
	a, code := d.attr(), uint32(sel&^3)
	if a&segS == 0 || a&(segCode|segReadable) == segCode {
		return d, c.gp(code)
	}
	if a&(segCode|segConform) != segCode|segConform && (uint8(sel&3) > d.dpl() || c.CPL > d.dpl()) {
		return d, c.gp(code)
	}
	if a&segP == 0 {
		return d, c.raiseErr(vecNP, code)
	}
	return d, true
}

func hMovToSeg(c *CPU, in *isa.Inst) bool {
	if in.Reg == isa.CS || in.Reg > isa.GS {
		return c.ud()
	}
	v, ok := c.arg(in, 1)
	if !ok || !c.loadSegment(int(in.Reg), uint16(v)) {
		return false
	}
	if in.Reg == isa.SS {
		c.Shadow, c.SSLoaded = 2, true
	}
	return true
}

func hMovFromSeg(c *CPU, in *isa.Inst) bool {
	if in.Reg > isa.GS {
		return c.ud()
	}
	return c.setArg(in, 0, uint64(c.Seg[in.Reg].Sel))
}

// loadFar makes the handlers of LDS and its like: offset, then selector.
func loadFar(seg int) handler {
	return func(c *CPU, in *isa.Inst) bool {
		sel, off, ok := c.farPointer(in)
		if !ok || !c.loadSegment(seg, sel) {
			return false
		}
		c.setReg(in, in.Reg, int(in.OpSize), off)
		return true
	}
}

// farPointer reads a far pointer from memory.
func (c *CPU) farPointer(in *isa.Inst) (sel uint16, off uint64, ok bool) {
	ea, size := c.ea(in), uint64(in.OpSize)
	if off, ok = c.load(in.Seg, ea, int(size)); !ok {
		return 0, 0, false
	}
	s, ok := c.load(in.Seg, (ea+size)&addrMask(in.AddrSize), 2)
	return uint16(s), off, ok
}

func hLldt(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	sel := uint16(v)
	if sel&^3 == 0 {
		c.LDTR = Segment{Sel: sel}
		return true
	}
	d, ok := c.systemDescriptor(sel)
	if !ok {
		return false
	}
	if d.kind() != sysLDT {
		return c.gp(uint32(sel &^ 3))
	}
	if d.attr()&segP == 0 {
		return c.raiseErr(vecNP, uint32(sel&^3))
	}
	if c.longMode() && !c.readHigh(&d) {
		return false
	}
	c.LDTR = d.segment()
	return true
}

// systemDescriptor fetches a descriptor that must be in the GDT.
func (c *CPU) systemDescriptor(sel uint16) (d descriptor, ok bool) {
	if sel&4 != 0 {
		return d, c.gp(uint32(sel &^ 3))
	}
	return c.descriptor(sel, vecGP, 0)
}

// hLtr loads the task register and marks the TSS busy [SDM 2 LTR].
func hLtr(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	sel := uint16(v)
	if sel&^3 == 0 {
		return c.gp(0)
	}
	d, ok := c.systemDescriptor(sel)
	if !ok {
		return false
	}
	if k := d.kind(); k != sysTSS32 && (k != sysTSS16 || c.longMode()) {
		return c.gp(uint32(sel &^ 3))
	}
	if d.attr()&segP == 0 {
		return c.raiseErr(vecNP, uint32(sel&^3))
	}
	if c.longMode() && !c.readHigh(&d) {
		return false
	}
	d.lo |= sysBusy << 40
	if !c.rawWrite(d.la+5, 1, d.lo>>40&0xff, c.sysMMU()) {
		return false
	}
	c.TR = d.segment()
	return true
}

func hSldt(c *CPU, in *isa.Inst) bool { return c.setArg(in, 0, uint64(c.LDTR.Sel)) }
func hStr(c *CPU, in *isa.Inst) bool  { return c.setArg(in, 0, uint64(c.TR.Sel)) }

// loadTable reads the operand of LGDT and LIDT.
func (c *CPU) loadTable(in *isa.Inst) (t Table, ok bool) {
	ea := c.ea(in)
	limit, ok := c.load(in.Seg, ea, 2)
	if !ok {
		return t, false
	}
	size := 4
	if c.mode == isa.Mode64 {
		size = 8
	}
	base, ok := c.load(in.Seg, (ea+2)&addrMask(in.AddrSize), size)
	if size == 4 && in.OpSize == 2 {
		base &= 0xffffff // as on the 80286
	}
	if ok && !c.canonicalBase(base) {
		ok = c.gp(0)
	}
	return Table{Base: base, Limit: uint16(limit)}, ok
}

func hLgdt(c *CPU, in *isa.Inst) bool {
	t, ok := c.loadTable(in)
	if ok {
		c.GDTR = t
	}
	return ok
}

func hLidt(c *CPU, in *isa.Inst) bool {
	t, ok := c.loadTable(in)
	if ok {
		c.IDTR = t
	}
	return ok
}

// storeTable writes the operand of SGDT and SIDT: all bytes or none.
func (c *CPU) storeTable(in *isa.Inst, t *Table) bool {
	size := 4
	if c.mode == isa.Mode64 {
		size = 8
	}
	ea := c.ea(in)
	at := (ea + 2) & addrMask(in.AddrSize)
	if _, ok := c.dstMem(in.Seg, at, size); !ok {
		return false
	}
	return c.store(in.Seg, ea, 2, uint64(t.Limit)) && c.store(in.Seg, at, size, t.Base)
}

func hSgdt(c *CPU, in *isa.Inst) bool { return c.storeTable(in, &c.GDTR) }
func hSidt(c *CPU, in *isa.Inst) bool { return c.storeTable(in, &c.IDTR) }

// visible fetches a descriptor for LAR, LSL, VERR and VERW: they clear ZF
// instead of faulting.
func (c *CPU) visible(in *isa.Inst, arg int) (d descriptor, seen, ok bool) {
	v, ok := c.arg(in, arg)
	sel := uint16(v)
	if !ok || sel&^3 == 0 {
		return d, false, ok
	}
	d, seen, ok = c.findDescriptor(sel)
	if !seen {
		return d, false, ok
	}
	a := d.attr()
	conforming := a&(segS|segCode|segConform) == segS|segCode|segConform
	if !conforming && (c.CPL > d.dpl() || uint8(sel&3) > d.dpl()) {
		seen = false
	}
	return d, seen, ok
}

// System descriptor types that LAR and LSL accept, bit n for type n
// [SDM 2 LAR, LSL].
const (
	larTypes   = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<9 | 1<<11 | 1<<12
	lslTypes   = 1<<1 | 1<<2 | 1<<3 | 1<<9 | 1<<11
	larTypes64 = 1<<2 | 1<<9 | 1<<11 | 1<<12
	lslTypes64 = 1<<2 | 1<<9 | 1<<11
)

func (c *CPU) setZF(z bool) { c.setFlags(flagZF, b2u(z)*flagZF) }

// larBits is what LAR shows of a descriptor's upper half. The limit's upper
// bits are undefined; processors of both vendors show them.
const larBits = 0x00ffff00

func hLar(c *CPU, in *isa.Inst) bool {
	d, seen, ok := c.visible(in, 1)
	if !ok {
		return false
	}
	types := uint32(larTypes)
	if c.longMode() {
		types = larTypes64
	}
	if seen && d.attr()&segS == 0 && types>>d.kind()&1 == 0 {
		seen = false
	}
	if seen {
		c.setReg(in, in.Reg, int(in.OpSize), d.lo>>32&larBits)
	}
	c.setZF(seen)
	return true
}

func hLsl(c *CPU, in *isa.Inst) bool {
	d, seen, ok := c.visible(in, 1)
	if !ok {
		return false
	}
	types := uint32(lslTypes)
	if c.longMode() {
		types = lslTypes64
	}
	if seen && d.attr()&segS == 0 && types>>d.kind()&1 == 0 {
		seen = false
	}
	if seen {
		s := d.segment()
		c.setReg(in, in.Reg, int(in.OpSize), uint64(s.Limit))
	}
	c.setZF(seen)
	return true
}

func hVerr(c *CPU, in *isa.Inst) bool {
	d, seen, ok := c.visible(in, 0)
	if ok {
		a := d.attr()
		c.setZF(seen && a&segS != 0 && a&(segCode|segReadable) != segCode)
	}
	return ok
}

func hVerw(c *CPU, in *isa.Inst) bool {
	d, seen, ok := c.visible(in, 0)
	if ok {
		c.setZF(seen && d.attr()&(segS|segCode|segWritable) == segS|segWritable)
	}
	return ok
}

func hArpl(c *CPU, in *isa.Inst) bool {
	v, ok := c.arg(in, 0)
	if !ok {
		return false
	}
	rpl := c.reg(in, in.Reg, 2) & 3
	if v&3 < rpl && !c.setArg(in, 0, v&^3|rpl) {
		return false // only now must the operand be writable
	}
	c.setZF(v&3 < rpl)
	return true
}

// hRdBase and hWrBase are the FSGSBASE instructions [SDM 2 RDFSBASE, WRFSBASE].
func hRdBase(seg int) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.CR4&cr4FSGSBASE == 0 {
			return c.ud()
		}
		return c.setArg(in, 0, c.Seg[seg].Base)
	}
}

func hWrBase(seg int) handler {
	return func(c *CPU, in *isa.Inst) bool {
		if c.CR4&cr4FSGSBASE == 0 {
			return c.ud()
		}
		v, ok := c.arg(in, 0)
		if !ok {
			return false
		}
		v &= sizeMask(in.ArgSize(0))
		if !c.canonicalBase(v) || !c.amd && !c.canonical(v) { // Intel's go by the paging that is on
			return c.gp(0)
		}
		c.Seg[seg].Base = v
		c.changed()
		return true
	}
}

func hSwapgs(c *CPU, _ *isa.Inst) bool {
	gs := &c.Seg[isa.GS]
	gs.Base, c.KernelGSBase = c.KernelGSBase, gs.Base
	c.changed()
	return true
}
