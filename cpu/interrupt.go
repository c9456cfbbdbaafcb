package cpu

import "godwit/cpu/isa"

// delivery is one interrupt or exception on its way through the IDT.
type delivery struct {
	vec    uint8
	hasErr bool
	soft   bool   // INT n, INT3, INTO: the gate's DPL counts
	err    uint32 // error code
	ext    uint32 // EXT of error codes raised on the way: 0 when soft [SDM 3A 6.13]
	ret    uint64 // RIP to save
	flags  uint64 // RFLAGS to save
}

// Vectors by class [SDM 3A 6.15 table 6-5]; bit n is vector n.
const (
	contributory = 1<<vecDE | 1<<vecTS | 1<<vecNP | 1<<vecSS | 1<<vecGP

	// faultClass exceptions save RFLAGS with RF set, but for instruction
	// breakpoints [SDM 3B 18.3.1.1].
	faultClass = 1<<vecDE | 1<<vecDB | 1<<vecBR | 1<<vecUD | 1<<vecNM | 1<<vecTS | 1<<vecNP |
		1<<vecSS | 1<<vecGP | 1<<vecPF | 1<<vecMF | 1<<vecAC | 1<<vecXM
)

// escalates tells whether fault second, met while delivering first, makes a
// double fault [SDM 3A 6.15 table 6-5].
func escalates(first, second uint8) bool {
	c2 := contributory>>second&1 != 0
	switch {
	case first == vecPF:
		return c2 || second == vecPF
	case contributory>>first&1 != 0:
		return c2
	}
	return false
}

// deliverFault delivers an exception of the instruction at RIP, or what its
// delivery escalates to. Where memory refuses an access it changes nothing but
// what takeBack takes back.
func (c *CPU) deliverFault(f Fault) {
	cr2, dr6, dr7, ctl := c.CR2, c.DR[6], c.DR[7], c.MSRs.DebugCtl
	for {
		c.noteFault(f)
		e := delivery{vec: f.Vec, hasErr: f.HasErr, err: f.Err, ext: 1, ret: c.RIP, flags: c.RFLAGS}
		if faultClass>>f.Vec&1 != 0 && (f.Vec != vecDB || f.Addr&dr6Points == 0) {
			e.flags |= flagRF
		}
		if c.deliver(&e) {
			return
		}
		if c.stalled {
			c.CR2, c.DR[6], c.DR[7], c.MSRs.DebugCtl = cr2, dr6, dr7, ctl
			return
		}
		switch {
		case f.Vec == vecDF:
			c.shutdown()
			return
		case escalates(f.Vec, c.fault.Vec):
			f = Fault{Vec: vecDF, HasErr: true}
		default:
			f = c.fault
		}
	}
}

// noteFault sets what an exception leaves in registers besides its frame.
func (c *CPU) noteFault(f Fault) {
	switch f.Vec {
	case vecPF:
		c.CR2 = f.Addr
	case vecDB:
		c.noteDebug(f.Addr)
	}
}

// noteDebug reports a debug exception in DR6 and lifts general detection
// [SDM 3B 18.2.3, 18.2.4].
func (c *CPU) noteDebug(bits uint64) {
	c.DR[6] = c.DR[6]&^dr6Points | bits
	c.DR[7] &^= dr7GD
	c.MSRs.DebugCtl &^= debugBTF
}

// debugBTF of IA32_DEBUGCTL makes the single step one of branches
// [SDM 3B 18.4.3].
const debugBTF = 1 << 1

// branched tells whether the instruction that retired was a branch taken.
func (c *CPU) branched() bool {
	switch c.in.Op {
	case isa.JMP, isa.CALL, isa.RET, isa.JMPFAR, isa.CALLFAR, isa.RETFAR, isa.IRET,
		isa.SYSCALL, isa.SYSRET, isa.SYSENTER, isa.SYSEXIT:
		return true
	case isa.JCC, isa.JCXZ, isa.LOOP, isa.LOOPE, isa.LOOPNE:
		return c.nextRIP != c.R[isa.RegRIP]
	}
	return false
}

// shutdown stops the vCPU until it is reset: the triple fault.
func (c *CPU) shutdown() {
	c.Activity = Shutdown
	c.event, c.yield = true, true
}

// trap delivers the debug trap due after an instruction: single step, and what
// DBPending holds. After MOV SS and POP SS the single step is lost, and after
// INT n, INT3 and INTO there is none: they cleared TF [SDM 3B 18.3.1.4].
func (c *CPU) trap(tf bool) {
	bits := c.DBPending
	switch c.in.Op {
	case isa.INT, isa.INT3, isa.INT1, isa.INTO:
		tf = false
	case isa.SYSCALL, isa.SYSRET:
		tf = c.RFLAGS&flagTF != 0 // as it is afterwards: FMASK may have cleared it
	case isa.MOVTOSEG, isa.POP:
		if c.Shadow > 0 {
			return
		}
	}
	if tf && (c.MSRs.DebugCtl&debugBTF == 0 || c.branched()) {
		bits |= dr6BS
	}
	if bits == 0 || c.Activity == Shutdown {
		return
	}
	dr6, dr7, ctl := c.DR[6], c.DR[7], c.MSRs.DebugCtl
	c.noteDebug(bits)
	if !c.deliverEvent(&delivery{vec: vecDB, ext: 1, ret: c.RIP, flags: c.RFLAGS}) {
		c.DR[6], c.DR[7], c.MSRs.DebugCtl = dr6, dr7, ctl
		c.DBPending = bits // Interrupt delivers it when memory refuses nothing any more
		return
	}
	c.DBPending = 0
}

// deliverEvent delivers what is not a fault of an instruction, wakes the vCPU
// and counts. False: memory refused an access and nothing happened.
func (c *CPU) deliverEvent(e *delivery) bool {
	c.Shadow, c.SSLoaded = 0, false
	c.try()
	if !c.deliver(e) {
		if !c.stalled {
			c.deliverFault(c.fault)
		}
		if c.stalled {
			c.takeBack()
			return false
		}
	}
	c.trying = false
	if c.Activity == Halted {
		c.Activity = Running
	}
	c.MonArmed = false
	c.Count++
	return true
}

// Interruptible tells whether Interrupt would deliver something.
func (c *CPU) Interruptible() bool {
	if c.Activity > Halted || c.Shadow != 0 {
		return false
	}
	return c.intr && c.RFLAGS&flagIF != 0 || c.NMIPending && !c.NMIBlocked || c.DBPending != 0
}

// Interrupt delivers what is pending here, in the order of [SDM 3A 6.9]: a debug
// trap that an earlier instruction left, an NMI, an external interrupt. It wakes
// a halted vCPU, counts one, and tells whether it delivered anything.
func (c *CPU) Interrupt() bool {
	if !c.Interruptible() {
		return false
	}
	c.materialize()
	e := delivery{ext: 1, ret: c.RIP, flags: c.RFLAGS}
	switch {
	case c.DBPending != 0:
		c.in = isa.Inst{}
		c.trap(false)
		return c.DBPending == 0
	case c.NMIPending && !c.NMIBlocked:
		e.vec = vecNMI
		if !c.deliverEvent(&e) {
			return false
		}
		c.NMIPending, c.NMIBlocked = false, true
		return true
	}
	var ok bool
	if e.vec, ok = c.apic.Vector(); !ok {
		c.intr = false // withdrawn meanwhile
		return false
	}
	if !c.deliverEvent(&e) {
		return false
	}
	c.apic.Ack()
	return true
}

// deliver takes an interrupt or exception through the IDT. On failure nothing
// has changed but memory below the stack pointer, and a fault is pending.
func (c *CPU) deliver(e *delivery) bool {
	if c.realMode() {
		return c.deliverReal(e)
	}
	g, ok := c.readGate(e)
	if !ok {
		return false
	}
	if g.kind() == gateTask {
		return c.taskGate(e, g)
	}
	d, cpl, ok := c.gateTarget(e, g)
	if !ok {
		return false
	}
	f, ok := c.gateStack(e, g, cpl)
	if !ok || !c.markAccessed(&d) || !c.pushGateFrame(e, g, &f, cpl) {
		return false
	}
	c.enterGate(g, &d, &f, cpl)
	return true
}

// deliverReal goes through the interrupt vector table [SDM 3B 21.1.4].
func (c *CPU) deliverReal(e *delivery) bool {
	off := uint64(e.vec) * 4
	if off+3 > uint64(c.IDTR.Limit) {
		return c.gp(uint32(e.vec)<<3 | 2 | e.ext)
	}
	v, ok := c.sysRead(c.IDTR.Base+off, 4)
	if !ok {
		return false
	}
	f := c.currentFrame(0)
	if !c.pushTo(&f, 2, e.flags) || !c.pushTo(&f, 2, uint64(c.Seg[isa.CS].Sel)) || !c.pushTo(&f, 2, e.ret) {
		return false
	}
	c.useFrame(&f)
	c.RFLAGS &^= flagIF | flagTF | flagRF | flagAC
	c.realSegment(isa.CS, uint16(v>>16))
	c.RIP = v & 0xffff
	c.nextRIP = c.RIP
	c.changed()
	return true
}

// readGate fetches and checks the IDT entry [SDM 3A 6.12, 6.14].
func (c *CPU) readGate(e *delivery) (g gate, ok bool) {
	size := uint64(8)
	if c.longMode() {
		size = 16
	}
	off, code := uint64(e.vec)*size, uint32(e.vec)<<3|2|e.ext
	if off+size-1 > uint64(c.IDTR.Limit) {
		return g, c.gp(code)
	}
	if g.lo, ok = c.sysRead(c.IDTR.Base+off, 8); !ok {
		return g, false
	}
	if size == 16 {
		if g.hi, ok = c.sysRead(c.IDTR.Base+off+8, 8); !ok {
			return g, false
		}
	}
	k := g.kind()
	good := k == gateInt32 || k == gateTrap32
	if size == 8 {
		good = good || k == gateInt16 || k == gateTrap16 || k == gateTask
	}
	if !good || (e.soft && g.dpl() < c.CPL) {
		return g, c.gp(code)
	}
	if !g.present() {
		return g, c.raiseErr(vecNP, code)
	}
	return g, true
}

// gateTarget resolves an interrupt or trap gate's code segment and the new CPL.
func (c *CPU) gateTarget(e *delivery, g gate) (d descriptor, cpl uint8, ok bool) {
	sel := g.sel()
	if sel&^3 == 0 {
		return d, 0, c.gp(e.ext)
	}
	d, ok = c.descriptor(sel, vecGP, e.ext)
	if !ok {
		return d, 0, false
	}
	a, code := d.attr(), uint32(sel&^3)|e.ext
	if a&(segS|segCode) != segS|segCode || d.dpl() > c.CPL {
		return d, 0, c.gp(code)
	}
	if c.longMode() && a&(segL|segDB) != segL {
		return d, 0, c.gp(code)
	}
	if a&segP == 0 {
		return d, 0, c.raiseErr(vecNP, code)
	}
	cpl = c.CPL
	if a&segConform == 0 {
		cpl = d.dpl()
	}
	if c.vm86() && cpl != 0 {
		return d, 0, c.gp(code)
	}
	seg := d.segment()
	if !c.inCode(&seg, g.off()) {
		return d, 0, c.gp(e.ext)
	}
	return d, cpl, true
}

// gateStack chooses the stack of the handler [SDM 3A 6.12.1, 6.14.2].
func (c *CPU) gateStack(e *delivery, g gate, cpl uint8) (f frame, ok bool) {
	if !c.longMode() {
		if cpl < c.CPL {
			return c.innerStack(cpl, e.ext)
		}
		return c.currentFrame(e.ext), true
	}
	f = frame{ss: c.Seg[isa.SS], sp: c.R[RSP], long: true, mmu: c.mmuFor(cpl), err: e.ext}
	if cpl < c.CPL {
		f.ss = nullStack(cpl)
	}
	if ist := g.ist(); ist != 0 {
		f.sp, ok = c.tss64(tssIST1+8*(ist-1), e.ext)
	} else if cpl < c.CPL {
		f.sp, ok = c.tss64(tssRSP0+8*uint64(cpl), e.ext)
	} else {
		ok = true
	}
	f.sp &^= 15
	return f, ok
}

// pushGateFrame saves the interrupted context on the handler's stack.
func (c *CPU) pushGateFrame(e *delivery, g gate, f *frame, cpl uint8) bool {
	size := g.size()
	if c.longMode() {
		size = 8
	}
	if c.vm86() {
		for _, s := range [...]int{isa.GS, isa.FS, isa.DS, isa.ES} {
			if !c.pushTo(f, size, uint64(c.Seg[s].Sel)) {
				return false
			}
		}
	}
	if cpl < c.CPL || c.longMode() {
		if !c.pushTo(f, size, uint64(c.Seg[isa.SS].Sel)) || !c.pushTo(f, size, c.R[RSP]) {
			return false
		}
	}
	if !c.pushTo(f, size, e.flags) || !c.pushTo(f, size, uint64(c.Seg[isa.CS].Sel)) || !c.pushTo(f, size, e.ret) {
		return false
	}
	return !e.hasErr || c.pushTo(f, size, uint64(e.err))
}

// enterGate commits: the handler's code, stack and flags.
func (c *CPU) enterGate(g gate, d *descriptor, f *frame, cpl uint8) {
	c.useFrame(f)
	if c.vm86() {
		for _, s := range [...]int{isa.GS, isa.FS, isa.DS, isa.ES} {
			c.Seg[s] = Segment{}
		}
	}
	c.RFLAGS &^= flagTF | flagRF | flagVM | flagNT
	if g.kind()&1 == 0 {
		c.RFLAGS &^= flagIF
	}
	c.enterCode(d, cpl, g.off())
	c.RIP = c.nextRIP
}

// softInt delivers INT n, INT3 or INTO, which return to the next instruction.
func (c *CPU) softInt(vec uint8) bool {
	return c.deliver(&delivery{vec: vec, soft: true, ret: c.nextRIP & c.ripMask(), flags: c.RFLAGS})
}

// hInt: in virtual-8086 mode INT n needs IOPL 3, and the interrupt redirection
// bitmap of VME may send it through the task's own vector table [SDM 3B 21.3].
func hInt(c *CPU, in *isa.Inst) bool {
	vec := uint8(in.Imm)
	if c.vm86() {
		if c.CR4&cr4VME != 0 {
			direct, ok := c.redirected(vec)
			if !ok {
				return false
			}
			if direct {
				return c.intVME(vec)
			}
		}
		if c.RFLAGS&flagIOPL != flagIOPL {
			return c.gp(0)
		}
	}
	return c.softInt(vec)
}

// redirected tells whether the redirection bitmap, the 32 bytes below the I/O
// bitmap of the TSS, sends vec to the 8086 program's handler [SDM 3B 21.3.3].
func (c *CPU) redirected(vec uint8) (direct, ok bool) {
	if c.TR.Attr&segP == 0 || c.TR.Attr&0xd != 9 || c.TR.Limit < tssIOMap+1 {
		return false, c.gp(0)
	}
	base, ok := c.sysRead(c.TR.Base+tssIOMap, 2)
	if !ok {
		return false, false
	}
	at := base - 32 + uint64(vec>>3)
	if base < 32 || at > uint64(c.TR.Limit) {
		return false, c.gp(0)
	}
	b, ok := c.sysRead(c.TR.Base+at, 1)
	return b>>(vec&7)&1 == 0, ok
}

// intVME is INT n through the vector table at linear address 0; below IOPL 3 VIF
// stands in for IF [SDM 3B 21.3.3.1].
func (c *CPU) intVME(vec uint8) bool {
	v, ok := c.readLin(uint64(vec)*4, 4, c.mmu)
	if !ok {
		return false
	}
	flags, clear := c.RFLAGS, uint64(flagTF|flagRF|flagNT|flagIF)
	if flags&flagIOPL != flagIOPL {
		flags = flags&^flagIF | flags&flagVIF>>10 | flagIOPL
		clear = flagTF | flagRF | flagNT | flagVIF
	}
	f := c.currentFrame(0)
	if !c.pushTo(&f, 2, flags) || !c.pushTo(&f, 2, uint64(c.Seg[isa.CS].Sel)) || !c.pushTo(&f, 2, c.nextRIP) {
		return false
	}
	c.useFrame(&f)
	c.RFLAGS &^= clear
	c.realSegment(isa.CS, uint16(v>>16))
	c.nextRIP = v & 0xffff
	c.changed()
	return true
}

func hInt3(c *CPU, _ *isa.Inst) bool { return c.softInt(vecBP) }

func hInto(c *CPU, _ *isa.Inst) bool {
	if c.RFLAGS&flagOF == 0 {
		return true
	}
	return c.softInt(vecOF)
}

// hInt1 raises a debug exception without DPL checks and without bits in DR6 but
// those of breakpoints that MOV SS before it put off: both are one exception
// [SDM 2 INT n, SDM 3A 6.8.3].
func hInt1(c *CPU, _ *isa.Inst) bool {
	if !c.deliver(&delivery{vec: vecDB, ext: 1, ret: c.nextRIP & c.ripMask(), flags: c.RFLAGS}) {
		return false
	}
	points := c.DR[6] & dr6Points
	if c.DBPending != 0 {
		points = 0
	}
	c.noteDebug(c.DBPending | points)
	c.DBPending = 0
	return true
}

func init() {
	register(map[isa.Op]handler{
		isa.INT: hInt, isa.INT3: hInt3, isa.INTO: hInto, isa.INT1: hInt1,
	})
}
