// Package fp is the floating-point arithmetic of the guest's CPU: binary16,
// binary32 and binary64 as SSE, AVX, FMA3 and F16C use them, and the x87's
// 80-bit double-extended format.
//
// Specifications: IEEE 754-2008; [SDM 1 4.8] formats and NaN rules, [SDM 1 8]
// x87, [SDM 1 11.5] and [SDM 1 E] SIMD exceptions, [SDM 2] per instruction.
//
// Everything is computed in integers, except on the checked fast path of fast.go,
// so a result and its exception flags are the same on every host. Nothing
// allocates and nothing panics.
//
// # Exceptions
//
// An operation adds the exceptions it raises to [Env.Flags]. It never traps: the
// caller asks for unmasked ones and then drops the result where the manual says
// that the destination stays as it was.
//
// SSE: keep one Env per vCPU, loaded by LDMXCSR, call [Env.Begin] before the
// elements of an instruction and [Env.End] after them, and store nothing if
// that returns exceptions. With sticky flags kept in the Env, most operations
// take the fast path.
//
// x87: make an Env by [FromFCW] for each instruction, and add [Env.FSW] to FSW.
// If [Env.Unmasked] has IE, DE or ZE, nothing is written; if it has OE or UE,
// only stores to memory write nothing.
//
// An unmasked denormal-operand exception stops the operation before it computes
// anything, so no overflow, underflow or inexact is reported with it.
//
// # Hosts and vendors
//
// testdata/oracle.c runs every operation on a host's own units; TestAgainstHost
// compares with it and testdata/vectors.zst is a recording from an AMD Zen 4.
// Results the manuals leave open follow it: FPREM's partial steps, F2XM1 and
// FYL2XP1 outside their domains, PE of an exact FYL2X, PE not set by an FST whose
// unmasked overflow or underflow stores nothing. [Env.AMD] chooses what FPREM makes of
// a denormal and an infinity. Vendors also differ in RCPPS and RSQRTPS, and in the
// last bit of the x87's transcendental functions; those are algorithms of our own
// (approx.go, trans.go, trig.go).
package fp

// Rounding modes, as encoded in MXCSR.RC, FCW.RC and the immediate of ROUNDSS.
const (
	Nearest uint8 = iota // to nearest, ties to even
	Down                 // toward minus infinity
	Up                   // toward plus infinity
	Zero                 // truncate
)

// Exceptions, as placed in MXCSR bits 5:0, FSW bits 5:0 and FCW bits 5:0.
const (
	IE uint8 = 1 << iota // invalid operation
	DE                   // denormal operand
	ZE                   // divide by zero
	OE                   // overflow
	UE                   // underflow
	PE                   // inexact (precision)

	AllExceptions = IE | DE | ZE | OE | UE | PE
)

// x87 precision control, as encoded in FCW.PC [SDM 1 8.1.5.2]. The reserved
// value 1 rounds to 64 bits.
const (
	Prec24 uint8 = 0
	Prec53 uint8 = 2
	Prec64 uint8 = 3
)

// Env is the floating-point environment of one operation: the controls from
// MXCSR or FCW, and the exceptions it raised. The zero Env rounds to nearest
// with every exception unmasked; use [FromMXCSR] or [FromFCW].
type Env struct {
	Round uint8 // Nearest, Down, Up or Zero
	Masks uint8 // masked exceptions: they change results (underflow, overflow, FTZ)
	Flags uint8 // exceptions raised so far; operations only add to it
	Prec  uint8 // x87 only: Prec24, Prec53 or Prec64
	DAZ   bool  // SSE only: denormal operands are zeros
	FTZ   bool  // SSE only: tiny results are zeros, if underflow is masked
	AMD   bool  // x87 only: where vendors differ, results are AMD's
	C1    bool  // x87 only, set anew by each operation: the significand was rounded up
	den   uint8 // x87 only: clsDen if the memory operand was denormal, see Operand32
	done  uint8 // exceptions of an instruction's steps that are complete, see Step
}

// FromMXCSR is the environment that MXCSR describes [SDM 1 10.2.3], including
// its sticky exception flags.
func FromMXCSR(v uint32) Env {
	return Env{
		Round: uint8(v>>13) & 3,
		Masks: uint8(v>>7) & AllExceptions,
		Flags: uint8(v) & AllExceptions,
		DAZ:   v&(1<<6) != 0,
		FTZ:   v&(1<<15) != 0,
	}
}

// FromFCW is the environment that the x87 control word describes [SDM 1 8.1.5],
// with no exceptions raised.
func FromFCW(v uint16) Env {
	return Env{
		Round: uint8(v>>10) & 3,
		Masks: uint8(v) & AllExceptions,
		Prec:  uint8(v>>8) & 3,
	}
}

// MXCSR is the inverse of [FromMXCSR].
func (e *Env) MXCSR() uint32 {
	v := uint32(e.Flags) | uint32(e.Masks)<<7 | uint32(e.Round)<<13
	if e.DAZ {
		v |= 1 << 6
	}
	if e.FTZ {
		v |= 1 << 15
	}
	return v
}

// FSW is the raised exceptions and C1, as placed in the x87 status word.
func (e *Env) FSW() uint16 {
	v := uint16(e.Flags)
	if e.C1 {
		v |= C1
	}
	return v
}

// Unmasked is the raised exceptions that are not masked: those that trap.
func (e *Env) Unmasked() uint8 { return e.Flags &^ e.Masks }

// Begin starts an SSE instruction. Its result is for End.
func (e *Env) Begin() (before uint8) {
	before = e.Flags
	if e.Masks != AllExceptions {
		e.Flags, e.done = 0, 0
	}
	return before
}

// Step comes between the steps of an SSE instruction that computes with its own
// results, as DPPS does. False: an unmasked exception ends it here.
func (e *Env) Step() bool {
	if e.Masks == AllExceptions {
		return true
	}
	if e.Unmasked() != 0 {
		return false
	}
	e.done = e.Flags
	return true
}

// End finishes an SSE instruction and returns the unmasked exceptions it raised.
// Why: if IE, DE or ZE is unmasked for one element, the CPU stops before it
// computes any, and reports no overflow, underflow or inexact [SDM 1 11.5.3].
func (e *Env) End(before uint8) (unmasked uint8) {
	if e.Masks == AllExceptions {
		return 0
	}
	if pre := e.Flags & (IE | DE | ZE); pre&^e.Masks != 0 {
		e.Flags = pre | e.done
	}
	unmasked = e.Unmasked()
	e.Flags |= before
	return unmasked
}

// denormal raises DE if c includes a denormal operand, and reports whether the
// exception is unmasked: then the operation must not go on.
func (e *Env) denormal(c class) bool {
	if c&clsDen == 0 {
		return false
	}
	e.Flags |= DE
	return e.Masks&DE == 0
}

// increment is 1 if a significand must be incremented to round it. rem is the
// discarded part, aligned so that bit 63 is worth half a unit in the last place;
// it is not zero.
func increment(rc uint8, neg bool, sig, rem uint64) uint64 {
	const half = 1 << 63
	switch rc {
	case Nearest:
		if rem > half || rem == half && sig&1 != 0 {
			return 1
		}
	case Down:
		if neg {
			return 1
		}
	case Up:
		if !neg {
			return 1
		}
	}
	return 0
}
