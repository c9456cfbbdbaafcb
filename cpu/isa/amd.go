package isa

// DecodeAMD is Decode as AMD's processors do it. They differ from Intel's in
// 64-bit mode: near branches heed 66, which makes rip and displacement 16 bits
// wide unless REX.W is there too [APM 3 CALL (Near)]; far pointers in memory
// have no 64-bit offset [APM 3 LDS]; the register forms of the prefetch
// instructions are #UD instead of NOP; UD0 and UD1 end with their opcode; PAUSE
// with REX.B is XCHG.
func DecodeAMD(code []byte, mode Mode, in *Inst) Status {
	d := decoder{in: in, code: code, mode: mode, key: uint32(mode) << keyMode, amd: true}
	return d.decode()
}

// Rows that AMD's processors treat in their own way.
var farRows, prefetchRegs = func() (far, regs [len(Rows)]bool) {
	for i := range Rows {
		r := &Rows[i]
		far[i] = r.Sizes[0] == SizeFar || r.Sizes[1] == SizeFar
		regs[i] = r.Op == NOP && r.Enc == "0F 0D /r"
	}
	return far, regs
}()

// PAUSE, and the row of XCHG that it becomes with REX.B: on Intel's processors it
// stays PAUSE.
var xchgRow, pauseRow = func() (xchg, pause uint16) {
	for i := range Rows {
		switch r := &Rows[i]; {
		case r.Op == XCHG && r.Enc == "90+r":
			xchg = uint16(i)
		case r.Op == PAUSE:
			pause = uint16(i)
		}
	}
	return xchg, pause
}()

// vendor applies AMD's rules to the row found; false means #UD.
func (d *decoder) vendor(f *form) bool {
	in := d.in
	switch {
	case f.osz == oszF64 && d.mode == Mode64 && d.has66 != 0 && d.rex&8 == 0:
		in.OpSize = 2
	case in.OpSize == 8 && farRows[in.Row]:
		in.OpSize = 4
	case prefetchRegs[in.Row]:
		return false
	}
	return true
}
