package main

import "fmt"

// Vector ops do the common case and leave the rest, faults and exceptions above
// all, to the instruction's handler: op.imm is its place among the kept
// instructions. A memory operand's low and high quadword come to v and hi.
//
// They have a switch of their own: in interp's, they made the compiler spill what
// every other op keeps in registers.

const handler = " {\nreturn false\n}\n"

// unless leaves to the handler unless cond holds.
func unless(cond string) string { return "if !(" + cond + ")" + handler }

// vload reads w bits at the operand's address.
func vload(w int, aligned bool) string {
	cond := fmt.Sprintf("d <= 4096-%d", w/8)
	if aligned {
		cond += " && ea&15 == 0"
	}
	s := ea + entryAt + "d := ea - e.r\n" + unless(cond) + "d += e.add\n"
	if w == 128 {
		return s + rawLoad(64, "d", "v") + rawLoad(64, "(d+8)", "hi")
	}
	return s + rawLoad(w, "d", "v")
}

func vstore(w int, aligned bool) string {
	cond := fmt.Sprintf("d <= 4096-%d", w/8)
	if aligned {
		cond += " && ea&15 == 0"
	}
	return ea + entryAt + "d := ea - e.w\n" + unless(cond) + "d += e.add\n"
}

const (
	vdst = "x := &c.V[op.dst&15]\n"
	vsrc = "y := &c.V[op.src&15]\n"
)

// pairOf emits an op for registers and the same for a memory operand of w bits.
func pairOf(name string, w int, body string, props ...string) {
	props = append(props, barrier)
	reg := vsrc + "v = y[0]\n"
	if w == 128 {
		reg = vsrc + "v, hi = y[0], y[1]\n"
	}
	emit(name+"rr", reg+vdst+body, props...)
	emit(name+"rm", vload(w, w == 128)+vdst+body, props...)
}

func vectors() {
	vectorMoves()
	lanes := func(top, op string) string {
		if op == "add" {
			return fmt.Sprintf("(%%[1]s&^%[1]s + %%[2]s&^%[1]s) ^ (%%[1]s^%%[2]s)&%[1]s", top)
		}
		return fmt.Sprintf("((%%[1]s | %[1]s) - %%[2]s&^%[1]s) ^ ^(%%[1]s^%%[2]s)&%[1]s", top)
	}
	for _, o := range []struct{ name, expr string }{
		{"And", "%[1]s & %[2]s"},
		{"Andn", "%[2]s &^ %[1]s"},
		{"Or", "%[1]s | %[2]s"},
		{"Xor", "%[1]s ^ %[2]s"},
		{"Add8", lanes("top8", "add")},
		{"Add16", lanes("top16", "add")},
		{"Add32", lanes("top32", "add")},
		{"Add64", "%[1]s + %[2]s"},
		{"Sub8", lanes("top8", "sub")},
		{"Sub16", lanes("top16", "sub")},
		{"Sub32", lanes("top32", "sub")},
		{"Sub64", "%[1]s - %[2]s"},
	} {
		pairOf("opV"+o.name, 128, "x[0], x[1] = "+fmt.Sprintf(o.expr, "x[0]", "v")+", "+fmt.Sprintf(o.expr, "x[1]", "hi")+"\n")
	}
	pairOf("opVq", 128, "f := vecs[c.shared.code.insts[op.imm].Op].q\nx[0], x[1] = f(x[0], v), f(x[1], hi)\n")
	pairOf("opVx", 128, "r := vecs[c.shared.code.insts[op.imm].Op].x(xmm{x[0], x[1]}, xmm{v, hi}, op.n)\nx[0], x[1] = r.lo, r.hi\n")
	emit("opVshift", vdst+"f := vecs[c.shared.code.insts[op.imm].Op].shift\nx[0], x[1] = f(x[0], uint64(op.n)), f(x[1], uint64(op.n))\n", barrier)
	scalars()
	conversions()
}

func vectorMoves() {
	emit("opVmovrr", vdst+vsrc+"x[0], x[1] = y[0], y[1]\n", barrier)
	for _, a := range []struct {
		name    string
		aligned bool
	}{{"opVmova", true}, {"opVmovu", false}} {
		emit(a.name+"rm", vload(128, a.aligned)+vdst+"x[0], x[1] = v, hi\n", barrier)
		emit(a.name+"mr", vstore(128, a.aligned)+vdst+rawStore(64, "d", "x[0]")+rawStore(64, "(d+8)", "x[1]"), barrier)
	}
	for _, w := range []int{32, 64} {
		emit(fmt.Sprintf("opVmov%drr", w), vdst+vsrc+map[int]string{
			32: "x[0] = x[0]&^0xffffffff | y[0]&0xffffffff\n", 64: "x[0] = y[0]\n",
		}[w], barrier)
		emit(fmt.Sprintf("opVmov%drm", w), vload(w, false)+vdst+"x[0], x[1] = v, 0\n", barrier)
		emit(fmt.Sprintf("opVmov%dmr", w), vstore(w, false)+vdst+rawStore(w, "d", "x[0]"), barrier)
		emit(fmt.Sprintf("opVfromR%d", w), vdst+"x[0], x[1] = "+get(w, "src")+", 0\n", barrier)
		emit(fmt.Sprintf("opVtoR%d", w), vdst+set(w, "src", "x[0]"), barrier)
	}
	emit("opVmovqrr", vdst+vsrc+"x[0], x[1] = y[0], 0\n", barrier)
	for i := range 2 {
		emit(fmt.Sprintf("opVhalf%drm", i), vload(64, false)+vdst+fmt.Sprintf("x[%d] = v\n", i), barrier)
		emit(fmt.Sprintf("opVhalf%dmr", i), vstore(64, false)+vdst+rawStore(64, "d", fmt.Sprintf("x[%d]", i)), barrier)
	}
}

// scalars compute with the host's floating point where package fp would.
func scalars() {
	for _, w := range []int{64, 32} {
		type_, x0 := fmt.Sprintf("float%d", w), "x[0]"
		from, bits := fmt.Sprintf("math.Float%dfrombits", w), fmt.Sprintf("math.Float%dbits", w)
		put := "x[0] = r\n"
		a, b := "a", "v"
		if w == 32 {
			a, b, put = "uint32(a)", "uint32(v)", "x[0] = x[0]&^0xffffffff | uint64(r)\n"
		}
		for _, o := range []struct{ name, expr string }{
			{"Add", "%s + %s"}, {"Sub", "%s - %s"}, {"Mul", "%s * %s"}, {"Div", "%s / %s"},
		} {
			e := fmt.Sprintf(o.expr, from+"("+a+")", from+"("+b+")")
			pairOf(fmt.Sprintf("opF%s%d", o.name, w), w, "a = "+x0+"\n"+
				fmt.Sprintf("if !fp.HostOK(c.MXCSR) || !fp.Plain%d(%s, %s)%s", w, a, b, handler)+
				fmt.Sprintf("r := %s(%s(%s))\nif !fp.Settled%d(r)%s", bits, type_, e, w, handler)+put)
		}
		pairOf(fmt.Sprintf("opFSqrt%d", w), w, fmt.Sprintf("if !fp.HostOK(c.MXCSR) || !fp.Plain%d(%s, %s) || %s>>%d != 0%s", w, b, b, b, w-1, handler)+
			fmt.Sprintf("r := %s(%s(math.Sqrt(float64(%s(%s)))))\n", bits, type_, from, b)+put)
		for _, o := range []struct{ name, cmp string }{{"Min", "<"}, {"Max", ">"}} {
			pairOf(fmt.Sprintf("opF%s%d", o.name, w), w, fmt.Sprintf("a = %s\nif !fp.Ordered%d(%s, %s)%s", x0, w, a, b, handler)+
				fmt.Sprintf("r := %s\nif %s(%s) %s %s(r) {\nr = %s\n}\n", b, from, a, o.cmp, from, a)+put)
		}
		pairOf(fmt.Sprintf("opFCom%d", w), w, fmt.Sprintf("a = %s\nif !fp.Ordered%d(%s, %s)%s", x0, w, a, b, handler)+
			fmt.Sprintf("c.setRelation(%[1]s(%[2]s) < %[1]s(%[3]s), %[1]s(%[2]s) == %[1]s(%[3]s))\n", from, a, b), writes)
	}
	for _, o := range []struct{ name, op string }{{"Add", "+"}, {"Sub", "-"}, {"Mul", "*"}, {"Div", "/"}} {
		pairOf("opF"+o.name+"64x2", 128, "if !fp.HostOK(c.MXCSR) || !fp.Plain64(x[0], v) || !fp.Plain64(x[1], hi)"+handler+
			fmt.Sprintf("r := math.Float64bits(float64(math.Float64frombits(x[0]) %s math.Float64frombits(v)))\n", o.op)+
			fmt.Sprintf("s := math.Float64bits(float64(math.Float64frombits(x[1]) %s math.Float64frombits(hi)))\n", o.op)+
			"if !fp.Settled64(r) || !fp.Settled64(s)"+handler+"x[0], x[1] = r, s\n")
	}
}

func conversions() {
	for _, w := range []int{32, 64} {
		conv := fmt.Sprintf("a = uint64(int64(int%d(v)))\nif !fp.Exact64(int64(a))%sx[0] = math.Float64bits(float64(int64(a)))\n", w, handler)
		emit(fmt.Sprintf("opFInt%drr", w), "v = "+get(w, "src")+"\n"+vdst+conv, barrier)
		emit(fmt.Sprintf("opFInt%drm", w), vload(w, false)+vdst+conv, barrier)
		trunc := fmt.Sprintf("if !fp.HostOK(c.MXCSR) || !fp.Fits%d(v)%s", w, handler) + set(w, "dst", fmt.Sprintf("uint64(int%d(math.Float64frombits(v)))", w))
		emit(fmt.Sprintf("opFTrunc%drr", w), vsrc+"v = y[0]\n"+trunc, barrier)
		emit(fmt.Sprintf("opFTrunc%drm", w), vload(64, false)+trunc, barrier)
	}
}

const vectorHead = `
// vector does a vector op. False: it did nothing, the instruction is for its
// handler.
func (c *CPU) vector(op *op) bool {
	if !c.sse {
		return false
	}
	var (
		t            = &c.tlb[c.mmu]
		ea, a, v, hi uint64
	)
	switch op.code {
`

const vectorTail = `default:
		return false
	}
	return true
}
`
