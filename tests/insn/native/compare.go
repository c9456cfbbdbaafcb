package native

import (
	"fmt"
	"strings"

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
