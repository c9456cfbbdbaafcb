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
	if (in.Op != isa.MOVS && in.Op != isa.STOS) || !c.plainString(in) || c.RFLAGS&flagDF != 0 {
		return false
	}
	size, mask := uint64(in.ArgSize(0)), addrMask(in.AddrSize)
	did := false
	for c.R[RCX]&mask != 0 && c.Count < c.limit {
		k := min(c.R[RCX]&mask, c.limit-c.Count, pageRoom(c.R[RDI], size))
		if in.Op == isa.MOVS {
			k = min(k, pageRoom(c.R[RSI], size))
		}
		if k == 0 || !c.stretch(in, k*size, int(size)) {
			break
		}
		did = true
		c.Count += k
		c.R[RCX] = (c.R[RCX] - k) & mask
		c.R[RDI] = (c.R[RDI] + k*size) & mask
		if in.Op == isa.MOVS {
			c.R[RSI] = (c.R[RSI] + k*size) & mask
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

// plainString tells whether the index registers of a string instruction are
// linear addresses.
func (c *CPU) plainString(in *isa.Inst) bool {
	if in.Seg >= isa.FS {
		return false
	}
	if c.mode == isa.Mode64 {
		return in.AddrSize == 8
	}
	es := &c.Seg[isa.ES]
	return c.kind == kindFlat && in.AddrSize == 4 && in.Seg != isa.CS && in.Seg != isa.ES && es.wide() && es.Base == 0
}

// pageRoom is how many elements of size bytes fit between la and its page's end.
func pageRoom(la, size uint64) uint64 { return (4096 - la&0xfff) / size }

// stretch moves or fills n bytes that lie within a page on either side.
func (c *CPU) stretch(in *isa.Inst, n uint64, size int) bool {
	t := &c.tlb[c.mmu]
	si, di := c.R[RSI]&addrMask(in.AddrSize), c.R[RDI]&addrMask(in.AddrSize)
	var src uint64
	if in.Op == isa.MOVS {
		e := t.slot(si)
		if si-e.r > 4095 {
			return false
		}
		src = e.add + (si - e.r)
	}
	e := t.slot(di)
	if di-e.w > 4095 {
		return false
	}
	dst := e.add + (di - e.w)
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
