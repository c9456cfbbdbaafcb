package cpu

// Run executes until Count reaches limit, the vCPU waits or yields its slice, an
// access is refused, or an instruction reached a device: then deadlines and lines may
// have moved and the machine looks at them before it calls again. Where Run
// returns early is not observable.
func (c *CPU) Run(limit uint64) {
	c.begin(limit)
	for c.Count < limit && !c.event && !c.yield && !c.stalled {
		if c.deliverable() {
			c.Interrupt()
			continue
		}
		if c.Activity != Running && !c.wake() {
			return
		}
		if c.mustStep() || !c.runBlocks() {
			c.Step()
		}
	}
}

// RunReference is Run on the reference engine alone.
func (c *CPU) RunReference(limit uint64) {
	c.begin(limit)
	for c.Count < limit && !c.event && !c.yield && !c.stalled {
		if c.deliverable() {
			c.Interrupt()
			continue
		}
		if c.Activity != Running && !c.wake() {
			return
		}
		c.Step()
	}
}

func (c *CPU) begin(limit uint64) {
	c.limit = limit
	c.event, c.yield, c.stalled = false, false, false
	if g := c.mem.Gen(); g != c.memGen {
		c.memGen = g
		c.holdWrites()
	}
}

// deliverable tells whether something is delivered before the next instruction.
func (c *CPU) deliverable() bool {
	return (c.intr || c.NMIPending || c.DBPending != 0) && c.Interruptible()
}

// mustStep tells whether the next instruction needs what only the reference
// does: shadows, single-stepping, breakpoints, alignment checks.
func (c *CPU) mustStep() bool {
	return c.Shadow != 0 || c.RFLAGS&(flagTF|flagRF|flagVM) != 0 || c.DR[7]&0xff != 0 ||
		(c.RFLAGS&flagAC != 0 && c.CPL == 3 && c.CR0&cr0AM != 0)
}

// runBlocks runs translated code from RIP. False: the instruction at RIP needs
// the reference.
func (c *CPU) runBlocks() bool {
	c.inBlock = true
	b := c.lookup(c.RIP)
	if b == nil || int64(b.n) > int64(c.limit-c.Count) {
		c.inBlock = false
		return false
	}
	c.stats.Blocks++
	c.sse = c.CR0&(cr0EM|cr0TS) == 0 && c.CR4&cr4OSFXSR != 0
	c.R[16] = c.RIP
	c.left = int64(c.limit - c.Count)
	step := c.interp(b)
	c.inBlock = false
	return !step
}

// Idle tells whether the vCPU waits for something.
func (c *CPU) Idle() bool {
	if c.Activity == Running || c.deliverable() {
		return false
	}
	return c.Activity != Halted || !c.MonArmed || c.monitorHere() && c.waiting()
}

// Deaf tells whether the vCPU waits for something that no ordinary interrupt is, nor a
// store to memory.
func (c *CPU) Deaf() bool {
	return c.Idle() && (c.Activity == WaitSIPI || c.Activity == Halted && !c.MonArmed && c.RFLAGS&flagIF == 0)
}

// Event tells whether the last Run ended because a device was reached.
func (c *CPU) Event() bool { return c.event }

// Stalled tells whether the last Run ended at an access that memory refused; its
// Refused says why. The guest is then as it was before that instruction.
func (c *CPU) Stalled() bool { return c.stalled }

// Yielded tells whether the last Run ended because the vCPU gave up its slice.
func (c *CPU) Yielded() bool { return c.yield }

// SetAPICPage names the page of the local APIC, which hides memory below it; all
// ones when it answers nowhere.
func (c *CPU) SetAPICPage(pa uint64) {
	if pa != c.apicBase {
		c.apicBase = pa
		c.FlushTLB()
	}
}

// Canonical brings Arch up to date: lazily kept flags are written out.
func (c *CPU) Canonical() { c.materialize() }

// SetMSR is WRMSR as firmware does it; false means #GP.
func (c *CPU) SetMSR(n uint32, v uint64) bool { return c.writeMSR(n, v) }
