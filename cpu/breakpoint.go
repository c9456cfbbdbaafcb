package cpu

// Kinds of breakpoint condition, the R/W fields of DR7 [SDM 3B 18.2.4].
const (
	breakExec = iota
	breakWrite
	breakPort
	breakAccess
)

// breakLen maps the LEN fields of DR7 to bytes.
var breakLen = [4]uint64{1, 2, 8, 4}

// breaks gives the DR6 bits of the enabled breakpoints that an access of size
// bytes at addr meets.
func (c *CPU) breaks(addr uint64, size int, kind uint64) (bits uint64) {
	dr7 := c.DR[7]
	for i := range uint(4) {
		if dr7>>(2*i)&3 == 0 {
			continue
		}
		rw := dr7 >> (16 + 4*i) & 3
		if rw != kind && (rw != breakAccess || kind != breakWrite) {
			continue
		}
		n := breakLen[dr7>>(18+4*i)&3]
		first := c.DR[i] &^ (n - 1)
		if addr < first+n && first < addr+uint64(size) {
			bits |= 1 << i
		}
	}
	return bits
}

// codeBreak raises the fault of an instruction breakpoint at linear address la,
// unless RF holds it back, or on Intel's processors a load of SS before it
// [SDM 3A 6.8.3]. False: the fault is pending.
//
// Preconditions: DR7 enables something.
func (c *CPU) codeBreak(la uint64) bool {
	if c.RFLAGS&flagRF != 0 || c.SSLoaded && !c.amd {
		return true
	}
	bits := c.breaks(la, 1, breakExec)
	if bits == 0 {
		return true
	}
	c.fault = Fault{Vec: vecDB, Addr: bits}
	return false
}

// dataBreak notes data breakpoints that an access meets: a trap after the
// instruction.
//
// Preconditions: DR7 enables something.
func (c *CPU) dataBreak(la uint64, size int, write bool) {
	kind := uint64(breakAccess)
	if write {
		kind = breakWrite
	}
	c.DBPending |= c.breaks(la, size, kind)
}

// portBreak notes I/O breakpoints, which CR4.DE brings.
func (c *CPU) portBreak(port uint16, size int) {
	if c.DR[7]&0xff != 0 && c.CR4&cr4DE != 0 {
		c.DBPending |= c.breaks(uint64(port), size, breakPort)
	}
}
