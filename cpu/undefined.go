package cpu

// Results that the manuals leave undefined: both engines give what processors of
// the model's vendor do, AMD's those of families 25 and 26 (of 26 where the two
// differ: family 25 leaves the flags of BSF and BSR as they were but ZF), Intel's
// those of Golden Cove (family 6, models 8Fh and CFh). tests/insn/native compares
// with the processor underneath.
//
//	instruction            undefined             AMD
//	AND OR XOR TEST        AF                    0
//	SHL SHR SAR, n > 0     AF                    1
//	SHL, n > 1             OF                    CF ^ result's top bit
//	SHR, n > 1             OF                    the result's two top bits differ
//	SHL SHR, n > size      CF                    0 (a bit that came in)
//	ROL ROR RCL RCR, n > 1 OF                    as for n = 1, of the result
//	SHLD SHRD, n > 0       AF                    1
//	SHLD, n > 1            OF                    CF ^ result's top bit; CF for 16 bits and n >= 16
//	SHRD, n > 1            OF                    the result's two top bits differ
//	SHLD SHRD, 16 bits,    everything            the filler rotated by n-16; CF 0; other flags of it
//	  n > 16
//	MUL IMUL               SF ZF AF PF           unchanged
//	DIV IDIV               all                   CF and OF unchanged, AF 1, SF ZF PF 0
//	BSF BSR                CF OF SF AF PF        0, but PF that of the bit number; 1 for a source of 0
//	BSF BSR of 0           destination           unchanged, upper half included
//	TZCNT LZCNT            OF                    unchanged
//	                       SF AF PF              0
//	BT BTS BTR BTC         OF SF AF PF           unchanged
//	ANDN BLSI BLSR BLSMSK  AF PF                 0, of the result
//	  BZHI
//	BEXTR                  AF SF PF              1, 0, of the result
//	BSWAP of 16 bits       destination           0
//	AAA AAS                OF SF ZF PF           those of AX + 106 (- 106) or + 0, before AL's upper half goes
//	AAD                    OF AF CF              those of AL + AH*imm
//	AAM                    OF AF CF              0
//	DAA DAS                OF                    that of the addition (subtraction) of 0, 6, 60 or 66
//
// Intel's differ in these:
//
//	instruction            undefined             Intel
//	SHL SHR SAR, n > 0     AF                    0
//	SHL SHR, n > 1         OF                    as for n = 1, of the operand
//	ROL ROR, n > 1         OF                    unchanged of a register by a constant; else as for n = 1, of the operand
//	RCL RCR, n > 1         OF                    as for n = 1, of the operand; unchanged after whole turns
//	SHLD SHRD, n > 0       AF                    0
//	SHLD, n > 1            OF                    the operand's two top bits differ
//	SHRD, n > 1            OF                    the operand's top bit ^ the filler's lowest
//	SHLD SHRD, 16 bits,    everything            the filler shifted by n-16, the operand behind it; CF the last bit
//	  n > 16                                     out of the filler; OF as above; other flags of the result
//	MUL IMUL               SF ZF AF PF           of the lower half, but ZF and AF 0
//	DIV IDIV               all                   unchanged
//	TZCNT LZCNT            OF                    0
//	ANDN BLSI BLSR BLSMSK  AF PF                 0
//	  BZHI BEXTR
//	BEXTR                  SF                    0
//	AAA AAS                OF SF ZF PF           of AL
//	DAA DAS                OF                    0

// intelShift corrects the flags f of a shift of a, in its lazy form, to Intel's.
func intelShift(op uint8, a, f uint64) uint64 {
	top := uint(8)<<(op&3) - 1
	var of uint64
	switch op &^ 3 {
	case lzShl:
		of = a>>top ^ a>>(top-1)
	case lzShr:
		of = a >> top
	}
	return f&^(flagAF|flagOF) | of&1<<11
}

// intelProduct sets the flags that Intel's processors make of a product's low
// half; size is a size code.
func (c *CPU) intelProduct(size uint8, lo uint64) {
	c.setFlags(flagSF|flagZF|flagAF|flagPF, flagsOf(lzLogic|size, lo, 0)&^flagZF)
}

// intelShld is shld on Intel's processors.
func intelShld(a, b, n uint64, size int) (r, flags uint64) {
	w := uint64(8 * size)
	of := a>>(w-1) ^ a>>(w-2)
	if n > w {
		a, b, n = b, a, n-w
	}
	r, flags = shld(a, b, n, size)
	return r, flags&^(flagAF|flagOF) | of&1<<11
}

// intelShrd is shrd on Intel's processors.
func intelShrd(a, b, n uint64, size int) (r, flags uint64) {
	w := uint64(8 * size)
	of := a>>(w-1) ^ b
	if n > w {
		a, b, n = b, a, n-w
	}
	r, flags = shrd(a, b, n, size)
	return r, flags&^(flagAF|flagOF) | of&1<<11
}
