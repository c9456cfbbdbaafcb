// Command gen writes the block interpreter's op codes and its dispatch switch,
// zinterp.go. The switch is a table written out: operation x width x operand
// shape x whether the flags are needed.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"strings"
)

// Properties of an op for liveness; the names are constants in block.go.
const (
	reads   = "propReads"   // reads flags, or keeps some
	writes  = "propWrites"  // writes all six status flags
	barrier = "propBarrier" // may leave the block: flags must be right before it
	pair    = "propPair"    // the next code is the same op without flags
)

type entry struct {
	name, props, body string
	vector            bool // of vector's switch, not interp's
}

var (
	ops       []entry
	inVectors bool
)

func emit(name string, body string, props ...string) {
	p := strings.Join(props, " | ")
	if p == "" {
		p = "0"
	}
	ops = append(ops, entry{name, p, body, inVectors})
}

func get(w int, f string) string {
	switch w {
	case 8:
		return "c.R[op." + f + "] & 0xff"
	case 16:
		return "c.R[op." + f + "] & 0xffff"
	case 32:
		return "uint64(uint32(c.R[op." + f + "]))"
	}
	return "c.R[op." + f + "]"
}

func set(w int, f, v string) string {
	r := "c.R[op." + f + "]"
	switch w {
	case 8:
		return r + " = " + r + "&^0xff | (" + v + ")&0xff\n"
	case 16:
		return r + " = " + r + "&^0xffff | (" + v + ")&0xffff\n"
	case 32:
		return r + " = uint64(uint32(" + v + "))\n"
	}
	return r + " = " + v + "\n"
}

func mask(w int, v string) string {
	switch w {
	case 8:
		return "(" + v + ") & 0xff"
	case 32:
		return "uint64(uint32(" + v + "))"
	}
	return v
}

const ea = "ea = c.R[op.base] + c.R[op.index]<<(op.scale&3) + uint64(int64(op.disp))\n"

// rawLoad reads w bits at an arena offset into v. It is written out by bytes, which
// the compiler makes one load of: interp is too large for it to inline a function that
// does so.
func rawLoad(w int, at, v string) string {
	if w == 8 {
		return fmt.Sprintf("%s = uint64(c.ram[%s])\n", v, at)
	}
	e := make([]string, w/8)
	for i := range e {
		e[i] = fmt.Sprintf("uint%d(m[%d])<<%d", w, i, 8*i)
	}
	return fmt.Sprintf("{\nm := c.ram[%s:%s+%d]\n%s = uint64(%s)\n}\n", at, at, w/8, v, strings.Join(e, "|"))
}

// rawStore writes w bits of v at an arena offset.
func rawStore(w int, at, v string) string {
	if w == 8 {
		return fmt.Sprintf("c.ram[%s] = byte(%s)\n", at, v)
	}
	s := fmt.Sprintf("{\nm, v := c.ram[%s:%s+%d], uint%d(%s)\n", at, at, w/8, w, v)
	for i := range w / 8 {
		s += fmt.Sprintf("m[%d] = byte(v>>%d)\n", i, 8*i)
	}
	return s + "}\n"
}

// entryAt is tlb.slot, which the compiler does not inline into functions of this size.
const entryAt = "e := &t.e[(ea>>12^ea>>17)&(tlbSize-1)]\n"

// load reads w bits at ea into v.
func load(w int, v string) string {
	return fmt.Sprintf(entryAt+`if d := ea - e.r; d <= 4096-%d {
		d += e.add
		%s} else if %s, ok = c.readSlow(ea, %d, c.mmu); !ok {
		goto leave
	}
	`, w/8, rawLoad(w, "d", v), v, w/8)
}

// store writes w bits of v at ea.
func store(w int, v string) string {
	return fmt.Sprintf(entryAt+`if d := ea - e.w; d <= 4096-%d {
		d += e.add
		%s} else if !c.writeSlow(ea, %d, %s, c.mmu) {
		goto leave
	}
	`, w/8, rawStore(w, "d", v), w/8, v)
}

// modify makes at the arena offset of w bits at ea that may be read and written.
func modify(w int) string {
	return fmt.Sprintf(entryAt+`at := ea - e.w
	if at > 4096-%d {
		if !c.ready(ea, %d) {
			goto leave
		}
		at = ea - e.w
	}
	at += e.add
	`, w/8, w/8)
}

func size(w int) int { return map[int]int{8: 0, 16: 1, 32: 2, 64: 3}[w] }

// lazyOp is the lazy operation of a kind at a width.
func lazyOp(kind string, w int) string {
	if n := size(w); n != 0 {
		return fmt.Sprintf("%s|%d", kind, n)
	}
	return kind
}

func lazy(w int, kind, a, b string) string {
	return fmt.Sprintf("c.lzOp, c.lzA, c.lzB = %s, %s, %s\n", lazyOp(kind, w), a, b)
}

var widths = []int{8, 32, 64}

// shapes: where destination and source are.
var shapes = []string{"rr", "ri", "rm", "mr", "mi"}

// operands gives the code that sets a and b, and the one that writes result v.
func operands(w int, shape string) (pre string, write func(v string) string) {
	a, b := "a = "+get(w, "dst")+"\n", "b = "+get(w, "src")+"\n"
	imm := "b = " + mask(w, "uint64(int64(op.imm))") + "\n"
	reg := func(v string) string { return set(w, "dst", v) }
	memw := func(v string) string { return rawStore(w, "at", v) }
	old := rawLoad(w, "at", "a")
	switch shape {
	case "rr":
		return a + b, reg
	case "ri":
		return a + imm, reg
	case "rm":
		return ea + load(w, "b") + a, reg
	case "mr":
		return ea + modify(w) + b + old, memw
	}
	return ea + modify(w) + imm + old, memw
}

// readOperands is operands for CMP and TEST, which write nothing.
func readOperands(w int, shape string) string {
	switch shape {
	case "mr":
		return ea + load(w, "a") + "b = " + get(w, "src") + "\n"
	case "mi":
		return ea + load(w, "a") + "b = " + mask(w, "uint64(int64(op.imm))") + "\n"
	}
	pre, _ := operands(w, shape)
	return pre
}

func isMem(shape string) bool { return strings.Contains(shape, "m") }

func with(shape string, props ...string) []string {
	if isMem(shape) {
		props = append(props, barrier)
	}
	return props
}

func alu() {
	for _, o := range []struct{ name, kind, expr string }{
		{"Add", "lzAdd", "a + b"},
		{"Or", "", "a | b"},
		{"Adc", "", ""},
		{"Sbb", "", ""},
		{"And", "", "a & b"},
		{"Sub", "lzSub", "a - b"},
		{"Xor", "", "a ^ b"},
	} {
		for _, w := range widths {
			for _, s := range shapes {
				pre, write := operands(w, s)
				name := fmt.Sprintf("op%s%d%s", o.name, w, s)
				switch {
				case o.name == "Adc" || o.name == "Sbb":
					carry(name, o.name, w, s, pre, write)
				case o.kind != "":
					emit(name, pre+write(o.expr)+lazy(w, o.kind, "a", "b"), with(s, writes, pair)...)
					emit(name+"N", pre+write(o.expr), with(s)...)
				default:
					emit(name, pre+"v = "+o.expr+"\n"+write("v")+lazy(w, "lzLogic", "v", "0"), with(s, writes, pair)...)
					emit(name+"N", pre+write(o.expr), with(s)...)
				}
			}
		}
	}
}

func carry(name, op string, w int, s, pre string, write func(string) string) {
	kind, kindC, expr := "lzAdd", "lzAdc", "a + b + v"
	if op == "Sbb" {
		kind, kindC, expr = "lzSub", "lzSbb", "a - b - v"
	}
	body := pre + "v = c.carry()\n" + write(expr)
	flags := fmt.Sprintf("c.lzOp, c.lzA, c.lzB = %s, a, b\nif v != 0 {\nc.lzOp = %s\n}\n", lazyOp(kind, w), lazyOp(kindC, w))
	emit(name, body+flags, with(s, reads, writes, pair)...)
	emit(name+"N", body, with(s, reads)...)
}

// conds are those worth a fused op, by number.
var conds = []int{2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15}

func cmpCond(w, n int) string {
	sa, sb := fmt.Sprintf("int%d(a)", w), fmt.Sprintf("int%d(b)", w)
	sub := fmt.Sprintf("int%d(a-b) < 0", w)
	e := map[int]string{2: "a < b", 4: "a == b", 6: "a <= b", 8: sub, 12: sa + " < " + sb, 14: sa + " <= " + sb}[n&^1]
	if n&1 != 0 {
		e = "!(" + e + ")"
	}
	return e
}

func testCond(w, n int) string {
	neg := fmt.Sprintf("int%d(v) < 0", w)
	e := map[int]string{2: "false", 4: "v == 0", 6: "v == 0", 8: neg, 12: neg, 14: fmt.Sprintf("int%d(v) <= 0", w)}[n&^1]
	if n&1 != 0 {
		e = "!(" + e + ")"
	}
	return e
}

func branch(cond string) string { return "if " + cond + " {\ngoto taken\n}\ngoto fall\n" }

func compares() {
	for _, w := range widths {
		for _, s := range shapes {
			emit(fmt.Sprintf("opCmp%d%s", w, s), readOperands(w, s)+lazy(w, "lzSub", "a", "b"), with(s, writes)...)
		}
	}
	for _, w := range widths {
		for _, s := range []string{"rr", "ri", "mr", "mi"} {
			emit(fmt.Sprintf("opTest%d%s", w, s), readOperands(w, s)+lazy(w, "lzLogic", "a&b", "0"), with(s, writes)...)
		}
	}
	for _, w := range widths {
		for _, s := range shapes {
			for _, n := range conds {
				emit(fmt.Sprintf("opCmp%d%sJ%d", w, s, n), readOperands(w, s)+lazy(w, "lzSub", "a", "b")+branch(cmpCond(w, n)), with(s, writes)...)
			}
		}
	}
	for _, w := range widths {
		for _, s := range []string{"rr", "ri", "mi"} {
			for _, n := range conds {
				emit(fmt.Sprintf("opTest%d%sJ%d", w, s, n), readOperands(w, s)+"v = a & b\n"+lazy(w, "lzLogic", "v", "0")+branch(testCond(w, n)), with(s, writes)...)
			}
		}
	}
}

func unary() {
	for _, w := range widths {
		for _, s := range []string{"r", "m"} {
			pre, write := "a = "+get(w, "dst")+"\n", func(v string) string { return set(w, "dst", v) }
			if s == "m" {
				pre, write = ea+modify(w)+rawLoad(w, "at", "a"), func(v string) string { return rawStore(w, "at", v) }
			}
			for _, o := range []struct{ name, kind, expr string }{{"Inc", "lzInc", "a + 1"}, {"Dec", "lzDec", "a - 1"}} {
				name := fmt.Sprintf("op%s%d%s", o.name, w, s)
				emit(name, pre+"v = c.carry()\n"+write(o.expr)+lazy(w, o.kind, "a", "v"), with(s, reads, writes, pair)...)
				emit(name+"N", pre+write(o.expr), with(s)...)
			}
			name := fmt.Sprintf("opNeg%d%s", w, s)
			emit(name, pre+write("-a")+lazy(w, "lzSub", "0", "a"), with(s, writes, pair)...)
			emit(name+"N", pre+write("-a"), with(s)...)
			emit(fmt.Sprintf("opNot%d%s", w, s), pre+write("^a"), with(s)...)
		}
	}
}

func shifts() {
	for _, w := range []int{32, 64} {
		a := "a = " + get(w, "dst") + "\nb = uint64(op.imm) & 63\n"
		for _, o := range []struct{ name, kind, expr string }{
			{"Shl", "lzShl", "a << b"},
			{"Shr", "lzShr", "a >> b"},
			{"Sar", "lzSar", fmt.Sprintf("uint64(int%d(a) >> b)", w)},
		} {
			name := fmt.Sprintf("op%s%dri", o.name, w)
			emit(name, a+set(w, "dst", o.expr)+lazy(w, o.kind, "a", "b"), writes, pair)
			emit(name+"N", a+set(w, "dst", o.expr))
			m := fmt.Sprintf("b = c.R[RCX] & %d\n", w-1)
			name = fmt.Sprintf("op%s%drc", o.name, w)
			av := "a = " + get(w, "dst") + "\n" + m
			emit(name, av+set(w, "dst", o.expr)+"if b != 0 {\n"+lazy(w, o.kind, "a", "b")+"}\n", reads, writes, pair)
			emit(name+"N", av+set(w, "dst", o.expr))
		}
		// Rotates write CF and OF only: these serve when no flag is needed.
		rot := fmt.Sprintf("bits.RotateLeft%d(uint%d(a), int(b))", w, w)
		emit(fmt.Sprintf("opRol%dri", w), a+"a = uint64("+rot+")\n"+set(w, "dst", "a")+fmt.Sprintf("c.rotFlags(a, a>>%d^a)\n", w-1), reads, pair)
		emit(fmt.Sprintf("opRol%driN", w), a+set(w, "dst", "uint64("+rot+")"))
		rot = fmt.Sprintf("bits.RotateLeft%d(uint%d(a), -int(b))", w, w)
		emit(fmt.Sprintf("opRor%dri", w), a+"a = uint64("+rot+")\n"+set(w, "dst", "a")+fmt.Sprintf("c.rotFlags(a>>%d, a>>%d^a>>%d)\n", w-1, w-1, w-2), reads, pair)
		emit(fmt.Sprintf("opRor%driN", w), a+set(w, "dst", "uint64("+rot+")"))
		intelRotates(w, a)
		for _, o := range []struct{ name, step string }{{"Shld", "a<<b | v>>(%d-b)"}, {"Shrd", "a>>b | v<<(%d-b)"}} {
			name := fmt.Sprintf("op%s%driN", o.name, w)
			emit(name, a+"v = "+get(w, "src")+"\n"+set(w, "dst", fmt.Sprintf(o.step, w)))
		}
	}
}

func moves() {
	for _, w := range []int{8, 16, 32, 64} {
		emit(fmt.Sprintf("opMov%drr", w), set(w, "dst", get(w, "src")))
		emit(fmt.Sprintf("opMov%drm", w), ea+load(w, "v")+set(w, "dst", "v"), barrier)
		emit(fmt.Sprintf("opMov%dmr", w), ea+"v = "+get(w, "src")+"\n"+store(w, "v"), barrier)
		emit(fmt.Sprintf("opMov%dmi", w), ea+"v = uint64(int64(op.imm))\n"+store(w, "v"), barrier)
	}
	emit("opMov8ri", set(8, "dst", "uint64(int64(op.imm))"))
	emit("opMov16ri", set(16, "dst", "uint64(int64(op.imm))"))
	emit("opMovri", "c.R[op.dst] = op.imm64()\n")
	for _, from := range []int{8, 16, 32} {
		// Zero extension to 32 and 64 bits is the same; from 32 bits it is MOV.
		if from < 32 {
			emit(fmt.Sprintf("opMovzx%drr", from), "c.R[op.dst] = "+get(from, "src")+"\n")
			emit(fmt.Sprintf("opMovzx%drm", from), ea+load(from, "v")+"c.R[op.dst] = v\n", barrier)
		}
		for _, to := range []int{32, 64} {
			if from >= to {
				continue
			}
			sx := func(v string) string { return fmt.Sprintf("uint64(int64(int%d(%s)))", from, v) }
			emit(fmt.Sprintf("opMovsx%dto%drr", from, to), set(to, "dst", sx("c.R[op.src]")))
			emit(fmt.Sprintf("opMovsx%dto%drm", from, to), ea+load(from, "v")+set(to, "dst", sx("v")), barrier)
		}
	}
	emit("opLea32", ea+set(32, "dst", "ea"))
	emit("opLea64", ea+set(64, "dst", "ea"))
	for _, w := range []int{32, 64} {
		emit(fmt.Sprintf("opXchg%drr", w), "a = "+get(w, "dst")+"\nb = "+get(w, "src")+"\n"+set(w, "dst", "b")+set(w, "src", "a"))
		emit(fmt.Sprintf("opXchg%dmr", w), ea+modify(w)+"b = "+get(w, "src")+"\n"+rawLoad(w, "at", "a")+rawStore(w, "at", "b")+set(w, "src", "a"), barrier)
		emit(fmt.Sprintf("opCmov%drr", w), "v = "+get(w, "dst")+"\nif c.cond(op.scale) {\nv = "+get(w, "src")+"\n}\n"+set(w, "dst", "v"), reads)
		emit(fmt.Sprintf("opCbw%d", w), set(w, "dst", fmt.Sprintf("uint64(int64(int%d(c.R[RAX])))", w/2)))
		emit(fmt.Sprintf("opCwd%d", w), set(w, "dst", fmt.Sprintf("uint64(int%d(c.R[RAX]) >> %d)", w, w-1)))
		emit(fmt.Sprintf("opBswap%d", w), set(w, "dst", fmt.Sprintf("uint64(bits.ReverseBytes%d(uint%d(c.R[op.dst])))", w, w)))
	}
	emit("opSetcc", "v = 0\nif c.cond(op.scale) {\nv = 1\n}\n"+set(8, "dst", "v"), reads)
}

func multiply() {
	for _, w := range []int{32, 64} {
		imul := "hi, v = imulWide(a, b, 8)\n"
		fl := "c.mulFlags(hi != uint64(int64(v)>>63))\n"
		plain := set(w, "dst", "a * b")
		if w == 32 {
			imul = "v = uint64(int64(int32(a)) * int64(int32(b)))\n"
			fl = "c.mulFlags(int64(v) != int64(int32(v)))\n"
		}
		for _, s := range []string{"rr", "rm"} {
			pre, write := operands(w, s)
			emit(fmt.Sprintf("opImul%d%s", w, s), pre+imul+write("v")+fl, with(s, reads, pair)...)
			emit(fmt.Sprintf("opImul%d%sN", w, s), pre+plain, with(s)...)
		}
		pre := "a = " + get(w, "src") + "\nb = uint64(int64(op.imm))\n"
		if w == 32 {
			pre = "a = " + get(w, "src") + "\nb = uint64(uint32(op.imm))\n"
		}
		emit(fmt.Sprintf("opImul%drri", w), pre+imul+set(w, "dst", "v")+fl, reads, pair)
		emit(fmt.Sprintf("opImul%drriN", w), pre+plain)
		emit(fmt.Sprintf("opMul%dr", w), "hi, v = mulWide("+get(w, "src")+", "+get(w, "dst")+fmt.Sprintf(", %d)\n", w/8)+
			setName(w, "RAX", "v")+setName(w, "RDX", "hi")+"c.mulFlags(hi != 0)\n", reads)
		intelProduct(w)
	}
}

func setName(w int, reg, v string) string {
	if w == 32 {
		return "c.R[" + reg + "] = uint64(uint32(" + v + "))\n"
	}
	return "c.R[" + reg + "] = " + v + "\n"
}

func bitops() {
	for _, w := range []int{32, 64} {
		m := fmt.Sprintf("%d", w-1)
		for _, s := range []string{"rr", "ri", "mi"} {
			b := "b = c.R[op.src] & " + m + "\n"
			if s != "rr" {
				b = "b = uint64(op.imm) & " + m + "\n"
			}
			a := "a = " + get(w, "dst") + "\n"
			if s == "mi" {
				a = ea + load(w, "a")
			}
			emit(fmt.Sprintf("opBt%d%s", w, s), a+b+"c.setFlags(flagCF, a>>b&1)\n", with(s, reads)...)
		}
	}
}

func control() {
	emit("opFall", "goto fall\n") // ends a block without a branch
	emit("opJmp", "goto taken\n")
	emit("opJcc", "if c.cond(op.scale) {\ngoto taken\n}\ngoto fall\n", reads)
	emit("opJccZ", "if c.zero() {\ngoto taken\n}\ngoto fall\n", reads)
	emit("opJccNZ", "if !c.zero() {\ngoto taken\n}\ngoto fall\n", reads)
	emit("opPush", "ea = c.R[RSP] - 8\nv = c.R[op.src]\n"+store(64, "v")+"c.R[RSP] -= 8\n", barrier)
	emit("opPushi", "ea = c.R[RSP] - 8\nv = uint64(int64(op.imm))\n"+store(64, "v")+"c.R[RSP] -= 8\n", barrier)
	emit("opPop", "ea = c.R[RSP]\n"+load(64, "v")+"c.R[RSP] += 8\nc.R[op.dst] = v\n", barrier)
	emit("opLeave", "ea = c.R[RBP]\n"+load(64, "v")+"c.R[RSP] = ea + 8\nc.R[RBP] = v\n", barrier)
	emit("opCall", "ea = c.R[RSP] - 8\nv = c.R[isa.RegRIP] + uint64(int64(op.imm))\n"+store(64, "v")+"c.R[RSP] -= 8\ngoto taken\n", barrier)
	emit("opCallr", "rip = c.R[op.dst]\nif !c.canonical(rip) {\ngoto leave\n}\nea = c.R[RSP] - 8\nv = c.R[isa.RegRIP] + uint64(int64(op.imm))\n"+store(64, "v")+"c.R[RSP] -= 8\ngoto indirect\n", barrier)
	emit("opCallm", ea+load(64, "rip")+"if !c.canonical(rip) {\ngoto leave\n}\nea = c.R[RSP] - 8\nv = c.R[isa.RegRIP] + uint64(int64(op.imm))\n{\n"+store(64, "v")+"}\nc.R[RSP] -= 8\ngoto indirect\n", barrier)
	emit("opJmpr", "rip = c.R[op.dst]\nif !c.canonical(rip) {\ngoto leave\n}\ngoto indirect\n", barrier)
	emit("opJmpm", ea+load(64, "rip")+"if !c.canonical(rip) {\ngoto leave\n}\ngoto indirect\n", barrier)
	emit("opRet", "ea = c.R[RSP]\n"+load(64, "rip")+"if !c.canonical(rip) {\ngoto leave\n}\nc.R[RSP] += 8 + uint64(uint32(op.imm))\ngoto indirect\n", barrier)
	flat32()
	emit("opSlow", "if !c.slow(bk, op) {\ngoto leave\n}\n", reads, barrier)
	emit("opEnd", "c.end(bk, op)\nreturn false\n", reads, barrier)
}

// maxFlat is the last offset of which no access of a handful of bytes meets the
// end of a flat segment, where wrapping and limits begin.
const maxFlat = "0xfffffff0"

// flat32 is what differs in flat 32-bit mode: addresses and the stack. Memory
// operands have their address computed by an op before.
func flat32() {
	addr := "ea = uint64(uint32(c.R[op.base] + c.R[op.index]<<(op.scale&3) + uint64(int64(op.disp))))\n"
	end := "if ea > " + maxFlat + " {\ngoto leave\n}\n"
	emit("opAddr32", addr+end+"c.R[regTmp] = ea\n", barrier)
	emit("opAddrSeg", addr+end+"if !c.wide[op.src&1] {\ngoto leave\n}\nc.R[regTmp] = uint64(uint32(ea + c.R[op.dst]))\n", barrier)
	emit("opAddrSeg64", ea+"if !c.canonical(ea) || !c.canonical(ea+7) {\ngoto leave\n}\nc.R[regTmp] = ea + c.R[op.dst]\n", barrier)

	top, below := "ea = uint64(uint32(c.R[RSP]))\n"+end, "ea = uint64(uint32(c.R[RSP] - 4))\n"+end
	pop := func(v string) string { return top + load(32, v) + "c.R[RSP] = ea + 4\n" }
	push := func(v string) string { return below + "v = " + v + "\n" + store(32, "v") + "c.R[RSP] = ea\n" }
	next := "c.R[isa.RegRIP] + uint64(int64(op.imm))"
	emit("opPush32", push("c.R[op.src]"), barrier)
	emit("opPushi32", push("uint64(int64(op.imm))"), barrier)
	emit("opPushm32", "ea = c.R[regTmp]\n"+load(32, "a")+below+"{\n"+store(32, "a")+"}\nc.R[RSP] = ea\n", barrier)
	emit("opPop32", pop("v")+"c.R[op.dst] = v\n", barrier)
	emit("opLeave32", "ea = uint64(uint32(c.R[RBP]))\n"+end+load(32, "v")+"c.R[RSP] = ea + 4\nc.R[RBP] = v\n", barrier)
	emit("opCall32", push(next)+"goto taken\n", barrier)
	emit("opCallr32", "rip = uint64(uint32(c.R[op.dst]))\n"+push(next)+"goto indirect\n", barrier)
	emit("opCallm32", "ea = c.R[regTmp]\n"+load(32, "rip")+below+"v = "+next+"\n{\n"+store(32, "v")+"}\nc.R[RSP] = ea\ngoto indirect\n", barrier)
	emit("opJmpr32", "rip = uint64(uint32(c.R[op.dst]))\ngoto indirect\n", barrier)
	emit("opJmpm32", "ea = c.R[regTmp]\n"+load(32, "rip")+"goto indirect\n", barrier)
	emit("opRet32", top+load(32, "rip")+"c.R[RSP] = uint64(uint32(ea + 4 + uint64(uint32(op.imm))))\ngoto indirect\n", barrier)
}

func main() {
	alu()
	compares()
	unary()
	shifts()
	moves()
	multiply()
	bitops()
	control()
	inVectors = true
	vectors()

	var out bytes.Buffer
	p := func(f string, a ...any) { fmt.Fprintf(&out, f, a...) }
	p("// Code generated by cpu/gen; DO NOT EDIT.\n\npackage cpu\n\nimport (\n\"math\"\n\"math/bits\"\n\n\"godwit/cpu/elem\"\n\"godwit/cpu/fp\"\n\"godwit/cpu/isa\"\n)\n\n")
	p("// Op codes of the block interpreter. N: without flags.\nconst (\n")
	for i, o := range ops {
		if i == 0 {
			p("%s = iota\n", o.name)
		} else {
			p("%s\n", o.name)
		}
	}
	p("numOps\n)\n\n// opProps are the properties that liveness needs.\nvar opProps = [numOps]uint8{\n")
	for _, o := range ops {
		if o.props != "0" {
			p("%s: %s,\n", o.name, o.props)
		}
	}
	p("}\n\n")
	p("%s", head)
	cases := func(vector bool) {
		for _, o := range ops {
			if o.vector == vector {
				p("case %s:\n%s", o.name, o.body)
			}
		}
	}
	cases(false)
	p("%s%s", tail, vectorHead)
	cases(true)
	p("%s", vectorTail)
	src, err := format.Source(out.Bytes())
	if err != nil {
		os.WriteFile("zinterp.go", out.Bytes(), 0o644)
		log.Fatal(err)
	}
	if err := os.WriteFile("zinterp.go", src, 0o644); err != nil {
		log.Fatal(err)
	}
}
