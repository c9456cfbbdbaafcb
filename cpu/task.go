package cpu

import "godwit/cpu/isa"

// Why a task is switched to [SDM 3A 8.3].
const (
	taskJump = iota
	taskCall // the new task is nested in the old one
	taskEvent
	taskReturn
)

// taskLayout says where a task-state segment keeps what a switch moves
// [SDM 3A 8.2.1, 8.6].
type taskLayout struct {
	size          int // of each field that is not a selector
	segStep       uint64
	limit         uint32
	cr3           uint64 // 0 is none
	eip, regs     uint64 // EFLAGS follows EIP
	segs, nsegs   uint64
	ldt, trapFlag uint64
}

var (
	task32 = taskLayout{size: 4, segStep: 4, limit: 0x67, cr3: 28, eip: 32, regs: 40, segs: 72, nsegs: 6, ldt: 96, trapFlag: 100}
	task16 = taskLayout{size: 2, segStep: 2, limit: 0x2b, eip: 14, regs: 18, segs: 34, nsegs: 4, ldt: 42}
)

func layoutOf(attr uint16) *taskLayout {
	if attr&8 != 0 {
		return &task32
	}
	return &task16
}

// taskState is what a switch loads.
type taskState struct {
	cr3, eip, eflags uint64
	r                [8]uint64
	seg              [6]uint16
	ldt              uint16
	trap             bool
}

// namesTask tells whether a far branch to d switches tasks. Long mode has no
// tasks.
func (c *CPU) namesTask(d *descriptor) bool {
	switch d.kind() {
	case gateTask, sysTSS16, sysTSS32, sysTSS16Busy, sysTSS32Busy:
		return !c.longMode()
	}
	return false
}

// farTask is a far JMP or CALL to a TSS or a task gate.
func (c *CPU) farTask(d *descriptor, why int) bool {
	code := uint32(d.sel &^ 3)
	if d.dpl() < c.CPL || d.dpl() < uint8(d.sel&3) {
		return c.gp(code)
	}
	sel := d.sel
	if d.kind() == gateTask {
		if d.attr()&segP == 0 {
			return c.raiseErr(vecNP, code)
		}
		sel = uint16(d.lo >> 16)
	}
	return c.switchTask(sel, why, c.nextRIP, c.RFLAGS, 0)
}

// taskGate delivers an interrupt or exception through a task gate.
func (c *CPU) taskGate(e *delivery, g gate) bool {
	before := c.Arch
	if c.throughTaskGate(e, g) {
		return true
	}
	c.restart(&before)
	return false
}

func (c *CPU) throughTaskGate(e *delivery, g gate) bool {
	if !c.switchTask(g.sel(), taskEvent, e.ret, e.flags, e.ext) {
		return false
	}
	if !e.hasErr {
		return true
	}
	f := c.currentFrame(e.ext)
	if !c.pushTo(&f, layoutOf(c.TR.Attr).size, uint64(e.err)) {
		return false
	}
	c.useFrame(&f)
	return true
}

// iretTask returns to the task that TR's back link names.
func (c *CPU) iretTask() bool {
	if c.longMode() {
		return c.gp(0)
	}
	link, ok := c.sysRead(c.TR.Base, 2)
	if !ok || !c.switchTask(uint16(link), taskReturn, c.nextRIP, c.RFLAGS&^flagNT, 0) {
		return false
	}
	c.NMIBlocked = false
	c.unmasked()
	return true
}

// switchTask makes sel's task the running one [SDM 3A 8.3]. Faults found before
// the new state is loaded belong to the old task, later ones to the new: RIP is
// then already the new task's.
func (c *CPU) switchTask(sel uint16, why int, ret, flags uint64, ext uint32) bool {
	before := c.Arch
	if c.enterTask(sel, why, ret, flags, ext) {
		return true
	}
	c.restart(&before)
	return false
}

// restart makes the old task the running one again, if the switch failed because
// memory refused an access.
func (c *CPU) restart(before *Arch) {
	if c.stalled {
		c.Arch = *before
		c.FlushTLB()
		c.changed()
	}
}

func (c *CPU) enterTask(sel uint16, why int, ret, flags uint64, ext uint32) bool {
	d, ok := c.taskDescriptor(sel, why, ext)
	if !ok {
		return false
	}
	tss := d.segment()
	t, ok := c.readTask(&tss)
	if !ok || !c.saveTask(ret, flags) {
		return false
	}
	if why == taskCall || why == taskEvent {
		if !c.rawWrite(tss.Base, 2, uint64(c.TR.Sel), c.sysMMU()) {
			return false
		}
		t.eflags |= flagNT
	}
	if why != taskReturn && !c.setBusy(&d, true) {
		return false
	}
	if why == taskJump || why == taskReturn {
		old, found, ok := c.findDescriptor(c.TR.Sel)
		if !ok || found && !c.setBusy(&old, false) {
			return false
		}
	}
	tss.Attr |= sysBusy
	c.TR = tss
	return c.loadTask(&t, ext)
}

// taskDescriptor fetches and checks the TSS to switch to: available, or busy
// for a return.
func (c *CPU) taskDescriptor(sel uint16, why int, ext uint32) (d descriptor, ok bool) {
	vec, code := uint8(vecGP), uint32(sel&^3)|ext
	want := uint8(sysTSS16)
	if why == taskReturn {
		vec, want = vecTS, sysTSS16Busy
	}
	if sel&4 != 0 || sel&^3 == 0 {
		return d, c.raiseErr(vec, code)
	}
	if d, ok = c.descriptor(sel, vec, ext); !ok {
		return d, false
	}
	if d.kind()&^8 != want {
		return d, c.raiseErr(vec, code)
	}
	if d.attr()&segP == 0 {
		return d, c.raiseErr(vecNP, code)
	}
	if s := d.segment(); s.Limit < layoutOf(s.Attr).limit {
		return d, c.raiseErr(vecTS, code)
	}
	return d, true
}

// setBusy sets or clears the busy bit of a TSS descriptor.
func (c *CPU) setBusy(d *descriptor, busy bool) bool {
	b := d.lo >> 40 & 0xff &^ sysBusy
	if busy {
		b |= sysBusy
	}
	return c.rawWrite(d.la+5, 1, b, c.sysMMU())
}

// readTask reads the state of the task to enter.
func (c *CPU) readTask(tss *Segment) (t taskState, ok bool) {
	l := layoutOf(tss.Attr)
	ok = true
	get := func(off uint64, size int) uint64 {
		var v uint64
		if ok {
			v, ok = c.sysRead(tss.Base+off, size)
		}
		return v
	}
	t.eip, t.eflags = get(l.eip, l.size), get(l.eip+uint64(l.size), l.size)
	for i := range t.r {
		t.r[i] = get(l.regs+uint64(i*l.size), l.size)
		if l.size == 2 {
			t.r[i] |= 0xffff0000
		}
	}
	for i := uint64(0); i < l.nsegs; i++ {
		t.seg[i] = uint16(get(l.segs+i*l.segStep, 2))
	}
	t.ldt = uint16(get(l.ldt, 2))
	t.cr3 = c.CR3
	if l.cr3 != 0 {
		t.trap = get(l.trapFlag, 2)&1 != 0
		t.cr3 = get(l.cr3, 4)
	}
	return t, ok
}

// saveTask writes the old task's state. Its TSS is checked first.
func (c *CPU) saveTask(ret, flags uint64) bool {
	l := layoutOf(c.TR.Attr)
	if c.TR.Limit < l.limit {
		return c.raiseErr(vecTS, uint32(c.TR.Sel&^3))
	}
	mmu := c.sysMMU()
	if !c.probe(c.TR.Base&0xffffffff, int(l.limit)+1, accWrite, mmu) {
		return false
	}
	ok := true
	put := func(off uint64, size int, v uint64) {
		ok = ok && c.rawWrite(c.TR.Base+off, size, v&sizeMask(size), mmu)
	}
	put(l.eip, l.size, ret)
	put(l.eip+uint64(l.size), l.size, flags)
	for i := range 8 {
		put(l.regs+uint64(i*l.size), l.size, c.R[i])
	}
	for i := uint64(0); i < l.nsegs; i++ {
		put(l.segs+i*l.segStep, 2, uint64(c.Seg[i].Sel))
	}
	return ok
}

// loadTask loads the new task's state.
func (c *CPU) loadTask(t *taskState, ext uint32) bool {
	if c.CR0&cr0PG != 0 && !c.setCR3(t.cr3) {
		return false
	}
	c.lzOp = lzNone
	c.RFLAGS = t.eflags&(flagsUser|flagRF|flagIF|flagIOPL|flagVM|flagVIF|flagVIP) | flagsFixed
	copy(c.R[:], t.r[:])
	c.CR0 |= cr0TS
	c.DR[7] &^= 0x155 // local breakpoints are the old task's
	c.RIP, c.nextRIP = t.eip, t.eip
	for i, sel := range t.seg {
		c.Seg[i] = Segment{Sel: sel}
	}
	c.LDTR = Segment{Sel: t.ldt}
	c.CPL = uint8(t.seg[isa.CS] & 3)
	if c.vm86() {
		c.CPL = 3
	}
	ok := c.loadTaskSegments(t, ext)
	c.changed()
	if ok && t.trap {
		c.DBPending |= dr6BT
	}
	return ok
}

// loadTaskSegments loads LDTR and the segment registers; what is wrong with them
// is #TS in the new task.
func (c *CPU) loadTaskSegments(t *taskState, ext uint32) bool {
	if t.ldt&^3 != 0 {
		d, ok := c.descriptor(t.ldt, vecTS, ext)
		if !ok {
			return false
		}
		if t.ldt&4 != 0 || d.kind() != sysLDT || d.attr()&segP == 0 {
			return c.raiseErr(vecTS, uint32(t.ldt&^3)|ext)
		}
		c.LDTR = d.segment()
	}
	if c.vm86() {
		for i, sel := range t.seg {
			c.realSegment(i, sel)
		}
		return true
	}
	if !c.taskCode(t.seg[isa.CS], ext) || !c.taskStack(t.seg[isa.SS], ext) {
		return false
	}
	for _, i := range [...]int{isa.ES, isa.DS, isa.FS, isa.GS} {
		if !c.taskData(i, t.seg[i], ext) {
			return false
		}
	}
	if s := &c.Seg[isa.CS]; !c.inCode(s, t.eip) {
		return c.gp(ext)
	}
	return true
}

func (c *CPU) taskCode(sel uint16, ext uint32) bool {
	code := uint32(sel&^3) | ext
	if sel&^3 == 0 {
		return c.raiseErr(vecTS, code)
	}
	d, ok := c.descriptor(sel, vecTS, ext)
	if !ok {
		return false
	}
	a := d.attr()
	if a&(segS|segCode) != segS|segCode || a&segConform == 0 && d.dpl() != c.CPL || d.dpl() > c.CPL {
		return c.raiseErr(vecTS, code)
	}
	if a&segP == 0 {
		return c.raiseErr(vecNP, code)
	}
	if !c.markAccessed(&d) {
		return false
	}
	c.Seg[isa.CS] = d.segment()
	return true
}

func (c *CPU) taskStack(sel uint16, ext uint32) bool {
	if sel&^3 == 0 {
		return c.raiseErr(vecTS, ext)
	}
	d, ok := c.stackDescriptor(sel, c.CPL, vecTS, ext)
	if !ok || !c.markAccessed(&d) {
		return false
	}
	c.Seg[isa.SS] = d.segment()
	return true
}

func (c *CPU) taskData(i int, sel uint16, ext uint32) bool {
	if sel&^3 == 0 {
		return true
	}
	d, ok := c.dataDescriptor(sel)
	if !ok {
		if c.fault.Vec == vecGP {
			c.fault.Vec = vecTS
		}
		c.fault.Err |= ext
		return false
	}
	if !c.markAccessed(&d) {
		return false
	}
	c.Seg[i] = d.segment()
	return true
}
