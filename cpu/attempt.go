package cpu

// Attempts. An access may be refused: a pre-image pool is full, a dirty budget is
// spent, a page is absent. The instruction, or the delivery of an interrupt, is
// then executed again later, from its beginning, and nobody may be able to tell:
// not from memory either, if the machine is saved in between. Registers are only
// written when nothing can be refused any more; what was stored before is noted,
// and taken back.

// undo is what a store of size bytes at an arena offset replaced.
type undo struct {
	off, old uint64
	size     int
}

// try begins an attempt: what is stored from now on can be taken back.
func (c *CPU) try() {
	c.trying, c.undoTables = true, false
	c.undos, c.undoBreaks = c.undos[:0], c.DBPending
}

// takeBack ends an attempt that failed. Pages it touched stay dirty, which the
// guest cannot see, and translations it found are forgotten with the A and D
// bits that they rest on.
func (c *CPU) takeBack() {
	c.trying = false
	for i := len(c.undos) - 1; i >= 0; i-- {
		u := &c.undos[i]
		c.storeN(u.off, u.size, u.old)
	}
	if c.undoTables {
		c.shared.tableChanged()
	}
	c.undos, c.DBPending = c.undos[:0], c.undoBreaks
}

// note remembers what is about to be overwritten.
func (c *CPU) note(off uint64, size int) {
	c.undos = append(c.undos, undo{off, c.loadN(off, size), size})
}
