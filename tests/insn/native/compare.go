package native

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"godwit/cpu"
	"godwit/cpu/isa"
)

// rflagsSeen are the RFLAGS bits compared: the status flags, DF, NT, AC, ID.
const rflagsSeen = 0x244cd5

// Compare tells in what two results of a case differ; "" if in nothing that is
// defined. Outside 64-bit mode the upper halves of registers are not.
func Compare(c *Case, want, got *Result) string {
	wide := mode(c.Sel[isa.CS]) == isa.Mode64 && mode(want.Sel[isa.CS]) == isa.Mode64
	mask, regs := ^uint64(0), 16
	if !wide {
		mask, regs = 0xffffffff, 8
	}
	var d diffs
	d.num("trap", uint64(want.Trap), uint64(got.Trap))
	if want.Trap == -2 || got.Trap == -2 {
		return d.String()
	}
	d.num("rip", want.RIP&mask, got.RIP&mask)
	d.num("rflags", want.RFLAGS&rflagsSeen, got.RFLAGS&rflagsSeen)
	for i := 0; i < regs; i++ {
		d.num(regNames[i], want.R[i]&mask, got.R[i]&mask)
	}
	for i := range want.Sel {
		d.num([]string{"es", "cs", "ss", "ds", "fs", "gs"}[i], selector(want.Sel[i]), selector(got.Sel[i]))
	}
	if wide {
		d.num("fs.base", want.FSBase, got.FSBase)
		d.num("gs.base", want.GSBase, got.GSBase)
	}
	we, ge := want.Err, got.Err
	if want.Trap == 14 {
		d.num("cr2", want.CR2, got.CR2)
		if want.CR2 >= 0x7ffffffff000 { // Linux hides what it maps there
			we, ge = we&^1, ge&^1
		}
	}
	d.num("err", uint64(we), uint64(ge))
	d.memory(want.Diff, got.Diff)
	if want.Vec != nil && got.Vec != nil {
		d.vec(want.Vec, got.Vec)
	}
	return d.String()
}

// forgive makes got like want where the manuals let processors differ, by no more
// than they allow: where processors of one vendor do.
func forgive(c *Case, in *isa.Inst, amd bool, want, got *Result) {
	if in.Row != 0 && amd && (in.Op == isa.FXSAVE || in.Op == isa.FXRSTOR) && want.Trap == 17 && got.Trap == 13 {
		got.Trap = 17 // with alignment checking either is right [SDM 2 FXSAVE]
	}
	switch {
	case in.Row == 0 || want.Trap != got.Trap:
	case amd && (in.Op == isa.BSF || in.Op == isa.BSR):
		const undefined = 0x895 // all but ZF; AMD's family 19h keeps them, 1Ah does not
		got.RFLAGS = got.RFLAGS&^undefined | want.RFLAGS&undefined
	case in.Op == isa.FNSAVE && want.Trap != 3:
		got.Diff = want.Diff // processors write what is before the limit
	case in.Op == isa.LSL && want.R[in.Reg&15]^got.R[in.Reg&15] < 256:
		got.R[in.Reg&15] = want.R[in.Reg&15] // of Linux's descriptor with the processor's number
	case imageOps[in.Op]:
		hideMask(c, want)
		hideMask(c, got)
		if want.Trap == 14 { // at which byte of an image a processor begins is its own affair
			got.CR2, got.Err = want.CR2, want.Err
		}
	case want.Vec == nil || got.Vec == nil:
	case approximates[in.Op]:
		for r := range want.Vec.X {
			for q := range want.Vec.X[r] {
				got.Vec.X[r][q] = near32s(want.Vec.X[r][q], got.Vec.X[r][q])
			}
		}
	case transcendental[in.Op]:
		for i := range want.Vec.ST {
			got.Vec.ST[i] = near80(want.Vec.ST[i], got.Vec.ST[i])
		}
		const rounding = 0x220 // PE and C1
		got.Vec.FSW = got.Vec.FSW&^rounding | want.Vec.FSW&rounding
	}
}

// transcendental are x87's functions that may be wrong by a unit of the last
// place [SDM 1 8.3.10].
var transcendental = map[isa.Op]bool{
	isa.FSIN: true, isa.FCOS: true, isa.FSINCOS: true, isa.FPTAN: true, isa.FPATAN: true,
	isa.F2XM1: true, isa.FYL2X: true, isa.FYL2XP1: true,
}

// near80 is want if got is less than two units of the last place from it.
func near80(want, got cpu.F80) cpu.F80 {
	line := func(v cpu.F80) int64 { return int64(v.Mant &^ (1 << 63)) }
	d := line(want) - line(got)
	switch {
	case want.SE == got.SE && d >= -1 && d <= 1,
		want.SE == got.SE+1 && want.Mant<<1 == 0 && got.Mant == ^uint64(0),
		got.SE == want.SE+1 && got.Mant<<1 == 0 && want.Mant == ^uint64(0):
		return want
	}
	return got
}

// approximates are SSE's approximations, with a relative error of up to 1.5 * 2^-12
// [SDM 2 RCPPS, RSQRTPS].
var approximates = map[isa.Op]bool{isa.RCPPS: true, isa.RCPSS: true, isa.RSQRTPS: true, isa.RSQRTSS: true}

// near32s is want, but for lanes of got that are too far off.
func near32s(want, got uint64) uint64 {
	for s := 0; s < 64; s += 32 {
		w, g := uint32(want>>s), uint32(got>>s)
		x, y := float64(math.Float32frombits(w)), float64(math.Float32frombits(g))
		if math.Abs(x-y) <= 3.0/4096*math.Abs(x) && !math.IsInf(x, 0) { // twice the bound: both may err
			got = got&^(0xffffffff<<s) | uint64(w)<<s
		}
	}
	return got
}

// hideMask removes MXCSR_MASK from a saved image: AMD's has a bit more, for
// misaligned operands.
func hideMask(c *Case, o *Result) {
	for i := range o.Diff {
		w := &o.Diff[i]
		for k := 0; k < 64; k += 8 { // wherever in the quadword it is
			const ours, theirs = 0xffff, 0x2ffff
			if bits.RotateLeft64(w.Val, -k)&0xffffffff == theirs {
				w.Val = bits.RotateLeft64(bits.RotateLeft64(w.Val, -k)-theirs+ours, k)
			}
		}
	}
}

// eitherFault tells that both accesses of a repeated CMPSB fault, and the
// processors chose different ones to tell of: AMD's family 19h looks at ES:DI
// first.
func eitherFault(in *isa.Inst, want, got *Result) bool {
	fault := func(t int32) bool { return t >= 12 && t <= 14 || t == 17 }
	return in.Row != 0 && in.Op == isa.CMPS && fault(want.Trap) && fault(got.Trap) && (want.Trap != got.Trap || want.CR2 != got.CR2)
}

// selector hides the RPL of null selectors: the return to the signal handler
// clears it [SDM 2 IRET].
func selector(s uint16) uint64 {
	if s < 4 {
		return 0
	}
	return uint64(s)
}

var regNames = [16]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

// diffs collects differences as "name: want..., got...".
type diffs []string

func (d diffs) String() string { return strings.Join(d, "; ") }

func (d *diffs) num(name string, want, got uint64) {
	if want != got {
		*d = append(*d, fmt.Sprintf("%s: want %#x, got %#x", name, want, got))
	}
}

func (d *diffs) memory(want, got []Window) {
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0].Addr < got[0].Addr:
			*d = append(*d, fmt.Sprintf("mem: at %#x want %#x, got no change", want[0].Addr, want[0].Val))
			want = want[1:]
		case len(want) == 0 || got[0].Addr < want[0].Addr:
			*d = append(*d, fmt.Sprintf("mem: at %#x want no change, got %#x", got[0].Addr, got[0].Val))
			got = got[1:]
		default:
			if want[0] != got[0] {
				*d = append(*d, fmt.Sprintf("mem: at %#x want %#x, got %#x", want[0].Addr, want[0].Val, got[0].Val))
			}
			want, got = want[1:], got[1:]
		}
	}
}

func (d *diffs) vec(want, got *Vec) {
	d.num("fcw", uint64(want.FCW), uint64(got.FCW))
	d.num("fsw", uint64(want.FSW), uint64(got.FSW))
	d.num("ftw", uint64(want.FTW), uint64(got.FTW))
	d.num("fop", uint64(want.FOP), uint64(got.FOP))
	d.num("fip", want.FIP, got.FIP)
	d.num("fdp", want.FDP, got.FDP)
	d.num("mxcsr", uint64(want.MXCSR), uint64(got.MXCSR))
	for i := range want.ST {
		d.num(fmt.Sprintf("st%d", i), want.ST[i].Mant, got.ST[i].Mant)
		d.num(fmt.Sprintf("st%d exponent", i), uint64(want.ST[i].SE), uint64(got.ST[i].SE))
	}
	for i := range want.X {
		if want.X[i] != got.X[i] {
			*d = append(*d, fmt.Sprintf("xmm%d: want %#x, got %#x", i, want.X[i], got.X[i]))
		}
	}
}
