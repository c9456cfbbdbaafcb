package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

// bulk executes as many iterations of a REP MOVS or REP STOS as it can in whole
// stretches of memory that the TLB knows, within the counts that are left. The
// effect is that of the single iterations it counts. It reports whether it did
// any.
func (c *CPU) bulk(in *isa.Inst) bool {
	if (in.Op != isa.MOVS && in.Op != isa.STOS) || c.mode != isa.Mode64 || in.AddrSize != 8 ||
		in.Seg >= isa.FS || c.RFLAGS&flagDF != 0 || c.R[RCX] == 0 {
		return false
	}
	size := uint64(in.ArgSize(0))
	did := false
	for c.R[RCX] != 0 && c.Count < c.limit {
		k := min(c.R[RCX], c.limit-c.Count, pageRoom(c.R[RDI], size))
		if in.Op == isa.MOVS {
			k = min(k, pageRoom(c.R[RSI], size))
		}
		if k == 0 || !c.stretch(in, k*size, int(size)) {
			break
		}
		did = true
		c.Count += k
		c.R[RCX] -= k
		c.R[RDI] += k * size
		if in.Op == isa.MOVS {
			c.R[RSI] += k * size
		}
	}
	if did {
		c.RFLAGS &^= flagRF
		if c.R[RCX] == 0 {
			c.RIP = (c.RIP + uint64(in.Len)) & c.ripMask()
		}
	}
	return did
}

// pageRoom is how many elements of size bytes fit between la and its page's end.
func pageRoom(la, size uint64) uint64 { return (4096 - la&0xfff) / size }

// stretch moves or fills n bytes that lie within a page on either side.
func (c *CPU) stretch(in *isa.Inst, n uint64, size int) bool {
	t := &c.tlb[c.mmu]
	var src uint64
	if in.Op == isa.MOVS {
		e := t.slot(c.R[RSI])
		if c.R[RSI]-e.r > 4095 {
			return false
		}
		src = e.add + (c.R[RSI] - e.r)
	}
	e := t.slot(c.R[RDI])
	if c.R[RDI]-e.w > 4095 {
		return false
	}
	dst := e.add + (c.R[RDI] - e.w)
	if in.Op == isa.MOVS {
		copyUp(c.ram, dst, src, n, uint64(size))
		return true
	}
	c.storeN(dst, size, c.R[RAX])
	for done := uint64(size); done < n; done *= 2 {
		copy(c.ram[dst+done:dst+n], c.ram[dst:dst+done])
	}
	return true
}

// copyUp copies n bytes element by element with rising addresses: a destination
// that overlaps the source from above repeats it.
func copyUp(ram []byte, dst, src, n, size uint64) {
	if dst-src >= n {
		copy(ram[dst:dst+n], ram[src:src+n])
		return
	}
	for i := uint64(0); i < n; i += size {
		switch size {
		case 1:
			ram[dst+i] = ram[src+i]
		case 2:
			mem.Store16(ram, dst+i, mem.Load16(ram, src+i))
		case 4:
			mem.Store32(ram, dst+i, mem.Load32(ram, src+i))
		default:
			mem.Store64(ram, dst+i, mem.Load64(ram, src+i))
		}
	}
}
