package cpu

// Results that the manuals leave undefined. Both engines, on every model, give
// what AMD's processors (families 25 and 26) do, those of family 26 where the two
// differ: family 25 leaves the flags of BSF and BSR as they were but ZF.
// tests/insn/native compares with the processor underneath.
//
//	instruction            undefined             here
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
//	BEXTR                  AF SF PF              1, 0, of the result
//	BSWAP of 16 bits       destination           0
//	AAA AAS                OF SF ZF PF           those of AX + 106 (- 106) or + 0, before AL's upper half goes
//	AAD                    OF AF CF              those of AL + AH*imm
//	AAM                    OF AF CF              0
//	DAA DAS                OF                    that of the addition (subtraction) of 0, 6, 60 or 66
