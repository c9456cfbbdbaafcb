package cpu

import "godwit/cpu/isa"

// lowerer turns the instructions of one block into ops.
type lowerer struct {
	c     *CPU
	cc    *codeCache
	start int // first op in its chunk
	mode  isa.Mode
	flat  bool // 32-bit mode without segments: c.flat
	pos   int  // bytes so far
	n     int  // instructions so far
	exit  [2]int32
	exits bool // exit is set: the block ends in a branch
	done  bool
}

// put appends an op for the instruction at pos.
func (l *lowerer) put(in *isa.Inst, o op) {
	l.cc.ops = append(l.cc.ops, o)
	l.cc.meta = append(l.cc.meta, opMeta{off: uint16(l.pos), idx: uint8(l.n), len: in.Len})
}

// lower appends the op for one instruction: its own if there is one, else the
// call of its reference handler.
func (l *lowerer) lower(in *isa.Inst) {
	a := isa.Rows[in.Row].Attrs
	switch f := lowerings[in.Op]; {
	case a&isa.AttrEnd != 0 || in.Op == isa.PAUSE || // PAUSE ends the slice, in every engine
		in.Op == isa.ENTER || // it reads what it wrote: it cannot be tried first
		(a&isa.AttrString != 0 && in.Flags&(isa.FlagRep|isa.FlagRepne) != 0):
		l.last(in)
		return
	case f != nil && f(l, in):
	case a&isa.AttrBranch != 0:
		l.last(in)
		return
	default:
		l.put(in, op{code: opSlow, imm: l.inst(in)})
	}
	l.n++
}

// last ends the block with an instruction that leaves it: not counted in the
// block's instructions, since it takes its own count.
func (l *lowerer) last(in *isa.Inst) {
	l.put(in, op{code: opEnd, imm: l.inst(in)})
	l.done, l.exits = true, true
}

// fall ends the block where the next one begins.
func (l *lowerer) fall() {
	l.exit[0] = int32(l.pos)
	l.put(&isa.Inst{}, op{code: opFall})
}

func (l *lowerer) inst(in *isa.Inst) int32 {
	l.cc.insts = append(l.cc.insts, *in)
	return int32(len(l.cc.insts) - 1)
}

// mem folds the memory operand's address into o. False where segments, address
// size or encoding need more than base, index and displacement.
func (l *lowerer) mem(in *isa.Inst, o *op) bool {
	if l.flat {
		return l.mem32(in, o)
	}
	if l.mode != isa.Mode64 || in.AddrSize != 8 {
		return false
	}
	if r := &isa.Rows[in.Row]; r.Args[0] == isa.ArgMoffs || r.Args[1] == isa.ArgMoffs {
		o.base, o.index, o.scale, o.disp = isa.RegZero, isa.RegZero, 0, int32(in.Imm)
		return uint64(int64(o.disp)) == in.Imm && l.segment(in, o)
	}
	o.base, o.index, o.scale, o.disp = in.Base, in.Index, in.Scale, in.Disp
	if in.Base == isa.RegRIP {
		d := int64(in.Disp) + int64(l.pos) + int64(in.Len)
		o.disp = int32(d)
		if int64(o.disp) != d {
			return false
		}
	}
	return l.segment(in, o)
}

// mem32 is mem in flat 32-bit mode: an op of its own computes the address, cuts
// it to 32 bits and looks at the rare cases.
func (l *lowerer) mem32(in *isa.Inst, o *op) bool {
	if in.AddrSize != 4 || in.Seg == isa.ES || in.Seg == isa.CS {
		return false
	}
	ea := op{code: opAddr32, base: in.Base, index: in.Index, scale: in.Scale, disp: in.Disp}
	if r := &isa.Rows[in.Row]; r.Args[0] == isa.ArgMoffs || r.Args[1] == isa.ArgMoffs {
		ea.base, ea.index, ea.scale, ea.disp = isa.RegZero, isa.RegZero, 0, int32(uint32(in.Imm))
	}
	if in.Seg >= isa.FS {
		ea.code, ea.dst, ea.src = opAddrSeg, regFS+in.Seg-isa.FS, in.Seg-isa.FS
	}
	l.put(in, ea)
	o.base, o.index = regTmp, isa.RegZero
	return true
}

// segment adds the base of FS and GS, the only ones in 64-bit mode. False where
// o has no room for it. AMD's processors also check the address before: see
// linear.
func (l *lowerer) segment(in *isa.Inst, o *op) bool {
	if in.Seg < isa.FS {
		return true
	}
	seg := uint8(regFS + in.Seg - isa.FS)
	switch {
	case l.c.amd && (o.base != isa.RegZero || o.index != isa.RegZero):
		l.put(in, op{code: opAddrSeg64, base: o.base, index: o.index, scale: o.scale, disp: o.disp, dst: seg})
		o.base, o.index, o.scale, o.disp = regTmp, isa.RegZero, 0, 0
	case o.base == isa.RegZero:
		o.base = seg
	case o.index == isa.RegZero:
		o.index, o.scale = seg, 0
	default:
		return false
	}
	return true
}

// width is the position of an operand size among the ops' widths 8, 32 and 64.
func width(size int) (int, bool) {
	switch size {
	case 1:
		return 0, true
	case 4:
		return 1, true
	case 8:
		return 2, true
	}
	return 0, false
}

// low tells that register n of this size is no AH, CH, DH or BH.
func low(in *isa.Inst, n uint8, size int) bool {
	return size != 1 || n < 4 || n >= 8 || in.Flags&isa.FlagRex != 0
}

// Operand shapes, in the order of the generated op codes.
const (
	shapeRR = iota
	shapeRI
	shapeRM
	shapeMR
	shapeMI
)

// binary resolves a two-operand instruction into its shape and o's operands.
func (l *lowerer) binary(in *isa.Inst, o *op) (shape int, ok bool) {
	r := &isa.Rows[in.Row]
	size := in.ArgSize(0)
	memory := in.Flags&isa.FlagMem != 0
	dst, ok0 := l.regArg(in, 0)
	src, ok1 := l.regArg(in, 1)
	imm := r.Args[1] == isa.ArgImm
	switch {
	case ok0 && ok1:
		shape = shapeRR
	case ok0 && imm:
		shape = shapeRI
	case ok0 && memory:
		shape = shapeRM
	case memory && ok1:
		shape = shapeMR
	case memory && imm:
		shape = shapeMI
	default:
		return 0, false
	}
	o.dst, o.src = dst, src
	if imm {
		o.imm = int32(in.Imm)
		if size == 8 && int64(o.imm) != int64(in.Imm) {
			return 0, false
		}
	}
	if shape >= shapeRM && !l.mem(in, o) {
		return 0, false
	}
	return shape, true
}

// regArg gives the register of operand i, if it is one that ops can name.
func (l *lowerer) regArg(in *isa.Inst, i int) (n uint8, ok bool) {
	switch isa.Rows[in.Row].Args[i] {
	case isa.ArgRM:
		if in.Flags&isa.FlagMem != 0 {
			return 0, false
		}
		n = in.RM
	case isa.ArgReg, isa.ArgOpReg:
		n = in.Reg
	case isa.ArgAcc:
		n = RAX
	default:
		return 0, false
	}
	return n, low(in, n, in.ArgSize(i))
}

// prev is the op before, if it belongs to the instruction just before this one.
func (l *lowerer) prev() *op {
	if len(l.cc.ops) == l.start || int(l.cc.meta[len(l.cc.meta)-1].idx) != l.n-1 {
		return nil
	}
	return &l.cc.ops[len(l.cc.ops)-1]
}

// liveness goes backwards over the block and takes the flags from ops whose
// flags nobody can see: overwritten before they are read, with nothing between
// that might leave the block.
func (l *lowerer) liveness() {
	live := true
	for i := len(l.cc.ops) - 1; i >= l.start; i-- {
		o := &l.cc.ops[i]
		p := opProps[o.code]
		if p&propPair != 0 && !live {
			o.code++
			p = opProps[o.code]
		}
		if p&propWrites != 0 {
			live = false
		}
		if p&(propReads|propBarrier) != 0 {
			live = true
		}
	}
}
