package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

// bulkable tells whether bulk may do something for an instruction.
func (c *CPU) bulkable(in *isa.Inst) bool {
	return in.Flags&(isa.FlagRep|isa.FlagRepne) != 0 && (in.Op == isa.MOVS || in.Op == isa.STOS) &&
		c.plainString(in) && c.RFLAGS&flagDF == 0
}

// bulk executes as many iterations of a REP MOVS or REP STOS as it can in whole
// stretches of memory, within the counts that are left. The effect is that of
// executing it count by count, see repLine. It reports whether it did any.
//
// Preconditions: bulkable.
func (c *CPU) bulk(in *isa.Inst) bool {
	did := false
	for left := c.R[RCX] & addrMask(in.AddrSize); left != 0 && c.Count < c.limit; {
		k, counts := c.stretch(in, left, c.limit-c.Count)
		if k == 0 {
			break
		}
		did = true
		left -= k
		c.Count += counts
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

// stretch executes iterations, of those that are left, within the destination's
// page and limit counts, and returns how many and their counts. None: they begin
// with a count whose pages are not plain memory, or that one element crosses.
//
// The destination is looked up last: what it takes to find the source's pages may
// end that the destination may be written, if it holds entries of page tables.
func (c *CPU) stretch(in *isa.Inst, left, limit uint64) (k, counts uint64) {
	size, mask := uint64(in.ArgSize(0)), addrMask(in.AddrSize)
	di, si := c.R[RDI]&mask, c.R[RSI]&mask
	k, counts = wholeCounts(di, size, left, pageRoom(di, size), limit)
	var src source
	if k != 0 && in.Op == isa.MOVS {
		if n := c.sourceAt(&src, si, k*size); n < k*size {
			k, counts = wholeCounts(di, size, left, n/size, limit)
		}
	}
	if k == 0 {
		return 0, 0
	}
	dst, ok := c.plain(di, accWrite)
	if !ok {
		return 0, 0
	}
	if n := k * size; n > src.first && src.first%size != 0 && !(apart(dst, src.at, n) && apart(dst, src.then, n)) {
		k, counts = wholeCounts(di, size, left, src.first/size, limit) // an element that crosses may read what was written
	}
	if in.Op == isa.STOS {
		c.repeat(dst, k*size, int(size))
	} else {
		c.copyFrom(&src, dst, k*size, size)
		c.R[RSI] = (si + k*size) & mask
	}
	c.R[RCX] = left - k
	c.R[RDI] = (di + k*size) & mask
	return k, counts
}

// source is where bytes of one or two pages are: the first of them at an arena
// offset, the others at another.
type source struct{ at, first, then uint64 }

// sourceAt finds n bytes, at most a page, at linear address si, and returns how many
// of them it found.
func (c *CPU) sourceAt(s *source, si, n uint64) (found uint64) {
	var ok bool
	if s.at, ok = c.plain(si, accRead); !ok {
		return 0
	}
	if s.first = 4096 - si&0xfff; n <= s.first {
		return n
	}
	if s.then, ok = c.plain(c.secondPage(si), accRead); !ok {
		return s.first
	}
	return n
}

// copyFrom copies n bytes in elements of size bytes.
func (c *CPU) copyFrom(s *source, dst, n, size uint64) {
	first := min(n, s.first)
	copyUp(c.ram, dst, s.at, first, size)
	if n > first {
		copyUp(c.ram, dst+first, s.then, n-first, size)
	}
}

// wholeCounts is how many elements from di on, at most room, can be executed
// within limit counts so that they end with a count, and how many counts these
// are. Left are the elements that the instruction has, and the last of them ends
// a count.
func wholeCounts(di, size, left, room, limit uint64) (k, counts uint64) {
	// upTo is the elements after which rDI is in line n from its own.
	upTo := func(n uint64) uint64 { return (n<<lineBits - di&(1<<lineBits-1) + size - 1) / size }
	lines := func(k uint64) uint64 { return (di&(1<<lineBits-1) + k*size) >> lineBits }
	k = min(left, room, upTo(min(limit, 4096>>lineBits)))
	counts = lines(k)
	if k == left {
		if lines(k-1) == counts {
			counts++
		}
		return k, counts
	}
	if counts == 0 {
		return 0, 0
	}
	return upTo(counts), counts
}

// repeat stores the accumulator over n bytes, element by element.
func (c *CPU) repeat(dst, n uint64, size int) {
	c.storeN(dst, size, c.R[RAX])
	for done := uint64(size); done < n; done *= 2 {
		copy(c.ram[dst+done:dst+n], c.ram[dst:dst+done])
	}
}

// apart tells whether n bytes at two arena offsets have none in common.
func apart(a, b, n uint64) bool { return a-b >= n && b-a >= n }

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
