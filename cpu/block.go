package cpu

import (
	"godwit/cpu/isa"
	"godwit/mem"
)

//go:generate go run ./gen

// Properties of ops for liveness, see opProps.
const (
	propReads   = 1 << iota // needs flags that earlier ops made, or keeps some
	propWrites              // makes all six status flags
	propBarrier             // may leave the block before it is done: flags must be right
	propPair                // the next op code is the same without flags
)

// jumpCache finds the block at a linear address. Entries hold while their
// generation is the vCPU's.
type jumpCache struct {
	e [4096]jumpEntry
}

type jumpEntry struct {
	lin uint64
	blk *block // nil: none yet, and lin is that of another entry
	gen uint32
}

// init makes the zero value usable: only in the first entry can an address be found
// that is zero.
func (j *jumpCache) init() { j.e[0].blk = noBlock }

func (j *jumpCache) at(lin uint64) *jumpEntry { return &j.e[(lin^lin>>12)&4095] }

// gen is the generation of the vCPU's present translations and rights. Links
// between pages and jump cache entries hold for one generation.
func (c *CPU) gen() uint32 {
	ctx := uint8(c.kind) << 1
	if c.CPL == 3 {
		ctx |= 1
	}
	if c.gens[ctx&7] == 0 {
		c.shared.gen++
		c.gens[ctx&7] = c.shared.gen
	}
	c.curGen = c.gens[ctx&7]
	return c.curGen
}

// newGen makes every link and jump cache entry of the vCPU invalid.
func (c *CPU) newGen() { c.gens, c.curGen = [8]uint32{}, 0 }

// holds tells whether all of a block lies within the code segment; only asked
// outside 64-bit mode.
func (c *CPU) holds(b *block) bool {
	return c.R[isa.RegRIP]+uint64(b.size)-1 <= uint64(c.Seg[isa.CS].Limit)
}

// lookup finds or translates the block at rip, which is executed next. Nil: the
// reference must execute the instruction there.
func (c *CPU) lookup(rip uint64) *block {
	lin := rip
	if c.mode != isa.Mode64 {
		lin = (c.Seg[isa.CS].Base + rip) & 0xffffffff
	}
	j, gen := c.jump.at(lin), c.gen()
	if j.lin == lin && j.gen == gen && j.blk.n != deadBlock {
		return j.blk
	}
	if c.mode == isa.Mode64 && !c.canonical(lin) {
		return nil
	}
	var off uint64
	if e := c.tlb[c.mmu].slot(lin); lin-e.x <= 4095 {
		off = e.add + (lin - e.x)
	} else {
		p, ok := c.translate(lin, accExec, c.mmu)
		if !ok || !p.ram {
			return nil
		}
		off = p.off
	}
	b := c.shared.code.find(blockKey(off, c.kind))
	if b == nil {
		if b = c.translateBlock(off); b == nil {
			return nil
		}
		gen = c.gen()
	}
	*j = jumpEntry{lin, b, gen}
	return b
}

// follow finds the successor at rip of a block that was entered at address at,
// through exit x, and links it, where segments play no part. Without counts left
// nothing is looked at: the instruction there is not next.
func (c *CPU) follow(b *block, x int, at, rip uint64) *block {
	if c.left <= 0 {
		return nil
	}
	to := c.lookup(rip)
	if to == nil || c.mode != isa.Mode64 && c.kind != kindFlat {
		return to
	}
	// A target in the same page is good as long as the block itself is.
	if d := int64(b.key>>2&0xfff) + int64(b.exit[x]); d >= 0 && d < 4096 {
		b.next[x], b.gen[x] = to, genAny
		return to
	}
	if b.at != at { // its page is mapped elsewhere, too, with other neighbours
		b.at = at
		if b.gen[1-x] != genAny {
			b.next[1-x], b.gen[1-x] = noBlock, 0
		}
	}
	b.next[x], b.gen[x] = to, c.gen()
	return to
}

// leave ends interp before the instruction at rip.
func (c *CPU) leave(rip uint64) bool {
	c.RIP = rip
	c.Count = c.limit - uint64(c.left)
	return false
}

// leaveAt ends interp before the instruction of an op, of a block whose
// instructions were taken from what is left.
func (c *CPU) leaveAt(b *block, o *op) {
	m := c.shared.code.meta[b.place(o)]
	c.left += int64(b.n) - int64(m.idx)
	c.leave((c.R[isa.RegRIP] + uint64(m.off)) & c.ripMask())
}

// translateBlock decodes and lowers the instructions from an arena offset to
// the block's end. Nil: the first one cannot be part of a block.
func (c *CPU) translateBlock(off uint64) *block {
	cc := &c.shared.code
	if len(cc.meta) > maxOps {
		c.shared.flushCode()
	}
	cc.room()
	first := len(cc.meta)
	l := lowerer{c: c, cc: cc, start: len(cc.ops), mode: c.mode, flat: c.kind == kindFlat}
	code := c.ram[off : off&^0xfff+mem.PageSize]
	for !l.done && l.n < maxBlock && l.pos < len(code) {
		var in isa.Inst
		if c.decode(code[l.pos:], &in) != isa.OK || !c.known(&in) || handlers[in.Op] == nil {
			break
		}
		l.lower(&in)
		l.pos += int(in.Len)
	}
	if l.pos == 0 {
		return nil
	}
	if !l.exits {
		l.fall()
	}
	l.liveness()
	c.stats.Translated++
	return cc.insert(block{
		n: int32(l.n), first: uint32(first), code: cc.ops[l.start:len(cc.ops):len(cc.ops)],
		exit: l.exit, key: blockKey(off, c.kind), size: uint16(l.pos),
	}, c.mem, c.shared)
}

// flushCode forgets all translated code.
func (s *Shared) flushCode() {
	s.code.flush(s.mem)
	for _, c := range s.cpus {
		c.newGen()
	}
}

// ready makes a memory operand that is read and written accessible through the
// TLB's write tag. False: a fault, or the reference must execute it.
func (c *CPU) ready(la uint64, size int) bool {
	if la&0xfff+uint64(size) > 4096 {
		c.stepReq = true
		return false
	}
	p, ok := c.translate(la, accWrite, c.mmu)
	if !ok || !c.mayWrite(p, size) || p.rom {
		return false
	}
	c.tagWrite(la, p.off, c.mmu)
	return c.tlb[c.mmu].slot(la).w == la&^0xfff
}

// slow executes an op of a block through its reference handler.
func (c *CPU) slow(b *block, o *op) bool {
	cc := &c.shared.code
	m, in := cc.meta[b.place(o)], &cc.insts[o.imm]
	c.materialize()
	rip := c.R[isa.RegRIP]
	c.RIP = (rip + uint64(m.off)) & c.ripMask()
	c.Count = c.limit - uint64(c.left) - uint64(b.n) + uint64(m.idx)
	c.nextRIP = c.RIP + uint64(in.Len)
	c.R[isa.RegRIP] = c.nextRIP
	c.try()
	ok := handlers[in.Op](c, in)
	if !ok {
		c.takeBack() // the reference executes it, or raises what it raised, again
	}
	c.trying = false
	c.R[isa.RegRIP] = rip
	return ok
}

// end executes the instruction of an op that ends its block, as the reference
// would. A REP instruction runs until its iterations, the counts or the quiet are
// over.
func (c *CPU) end(b *block, o *op) {
	cc := &c.shared.code
	c.leave((c.R[isa.RegRIP] + uint64(cc.meta[b.place(o)].off)) & c.ripMask())
	c.in = cc.insts[o.imm]
	c.inBlock = false
	c.materialize()
	c.stepReq = false
	rep := c.in.Flags&(isa.FlagRep|isa.FlagRepne) != 0
	c.quick = c.bulkable(&c.in)
	for rip := c.RIP; c.RIP == rip && c.Count < c.limit; {
		if c.quick && c.bulk(&c.in) {
			continue
		}
		c.try()
		c.finish(c.execute())
		c.trying = false
		if !rep || c.event || c.yield || c.stalled || b.n == deadBlock || c.curGen == 0 {
			return // or it overwrote itself, or what maps it
		}
	}
}
