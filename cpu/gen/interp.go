package main

const head = `// interp runs block bk, whose first instruction is at R[RegRIP], and the blocks
// that follow it, while they fit into the counts that are left. It leaves RIP at the
// next instruction and Count exact; step tells that the reference must execute
// that instruction.
//
// Few locals live across ops: more would not stay in registers.
func (c *CPU) interp(bk *block) (step bool) {
	var (
		t   = &c.tlb[c.mmu]
		op  *op

		ea, a, b, v, hi, rip uint64
		ok                   bool
	)
	for {
		if c.left -= int64(bk.n); c.left < 0 {
			c.left += int64(bk.n)
			return c.leave(c.R[isa.RegRIP])
		}
		if c.mode != isa.Mode64 && !c.holds(bk) {
			c.left += int64(bk.n)
			c.leave(c.R[isa.RegRIP])
			return true
		}
	again:
		for op = &bk.code[0]; ; op = elem.Next(bk.code, op) {
			switch op.code {
`

const tail = `default:
			if !c.vector(op) && !c.slow(bk, op) {
				goto leave
			}
		}
		}
	fall:
		ea, rip = c.R[isa.RegRIP], c.R[isa.RegRIP]+uint64(int64(bk.exit[0]))
		if c.mode != isa.Mode64 {
			rip &= c.ripMask()
		}
		c.R[isa.RegRIP] = rip
		if g := bk.gen[0]; g == genAny || g == c.curGen && bk.at == ea {
			if to := bk.next[0]; to.n != deadBlock {
				bk = to
				continue
			}
		}
		if bk = c.follow(bk, 0, ea, rip); bk != nil {
			continue
		}
		return c.leave(rip)

	taken: // only in 64-bit and flat 32-bit mode
		ea, rip = c.R[isa.RegRIP], c.R[isa.RegRIP]+uint64(int64(bk.exit[1]))
		if c.mode != isa.Mode64 {
			rip &= 0xffffffff
		}
		c.R[isa.RegRIP] = rip
		if g := bk.gen[1]; g == genAny || g == c.curGen && bk.at == ea {
			to := bk.next[1]
			if n := int64(to.n); to == bk && n != deadBlock && c.left >= n { // a loop of one block
				c.left -= n
				goto again
			}
			if to.n != deadBlock {
				bk = to
				continue
			}
		}
		if bk = c.follow(bk, 1, ea, rip); bk != nil {
			continue
		}
		return c.leave(rip)

	indirect:
		c.R[isa.RegRIP] = rip
		if j := c.jump.at(rip); j.lin == rip && j.gen == c.curGen {
			if to := j.blk; to.n != deadBlock {
				bk = to
				continue
			}
		}
		if c.left > 0 {
			if bk = c.lookup(rip); bk != nil {
				continue
			}
		}
		return c.leave(rip)

	leave:
		c.leaveAt(bk, op)
		return true
	}
}
`
