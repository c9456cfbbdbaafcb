// Package native runs single instructions on our two engines and on the
// processor underneath, and compares what they do.
//
// A case is a complete user-mode state and a few instruction bytes. exec.c is
// the native executor; Machine runs the same case on the reference engine and
// on the block engine. Gen makes cases from the rows of the instruction table.
package native

import (
	"encoding/binary"
	"fmt"
	"io"

	"godwit/cpu"
)

// Where test memory is, as in exec.c. Nothing else is mapped for user code.
const (
	CodeBase  = 0x10000000 // read-only, all INT3
	CodeSize  = 0x10000
	CodeRIP   = CodeBase + 0x8000
	DataBase  = 0x20000000
	DataSize  = 0x2000
	StackBase = 0x30000000
	StackSize = 0x2000
	HighBase  = 0x30010000 // the top of the 16-bit stack segment
	HighSize  = 0x1000
)

// Bounds of a case, as in exec.c.
const (
	MaxCode = 32
	MaxWin  = 16
)

// Selectors. The first four are Linux's; the others are in the LDT that exec.c
// and Machine make.
const (
	SelCode32   = 0x23
	SelData     = 0x2b
	SelCode64   = 0x33
	SelLDT      = 0x07 // first of ldt
	SelCode16   = 0x0f
	SelData16   = 0x17
	SelStack16  = 0x1f
	SelReadOnly = 0x27
	SelDown32   = 0x2f
	SelDown16   = 0x37
	SelAbsent   = 0x3f
	SelExecOnly = 0x47
	SelConform  = 0x4f // absent
	SelSmall    = 0x57
	SelBig16    = 0x5f
)

// Window is a quadword of memory, not necessarily aligned.
type Window struct{ Addr, Val uint64 }

// Vec is x87 and vector state. ST is in stack order, as FXSAVE has it.
type Vec struct {
	FCW, FSW uint16
	FTW      uint8 // FXSAVE's abridged tags
	FOP      uint16
	MXCSR    uint32
	FIP, FDP uint64
	ST       [8]cpu.F80
	X        [16][4]uint64 // least significant quadword first
}

// Case is the state before.
type Case struct {
	Code   []byte
	Sel    [6]uint16 // ES CS SS DS FS GS
	R      [16]uint64
	RFLAGS uint64
	RIP    uint64
	FSBase uint64 // used when the selector is null
	GSBase uint64
	Win    []Window // what test memory holds beside its filling
	Vec    *Vec     // nil: the initial state, not compared
}

// Result is the state after, as the handler of the exception that ended the
// case saw it: that of the INT3 which follows the instruction, if it was none of
// its own.
type Result struct {
	Trap   int32 // vector; -2 for a case that did not end
	Err    uint32
	CR2    uint64
	R      [16]uint64
	RFLAGS uint64
	RIP    uint64
	FSBase uint64
	GSBase uint64
	Sel    [6]uint16
	Diff   []Window // aligned quadwords that changed, in order of address
	Vec    *Vec
}

// regions of test memory in the order in which they are compared.
var regions = [...]struct{ base, size uint64 }{{DataBase, DataSize}, {StackBase, StackSize}, {HighBase, HighSize}}

// fill is the content of test memory at a quadword's address.
func fill(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

const (
	inputSize  = 472
	outputSize = 200
	vecSize    = 32 + 128 + 512
	flagVec    = 1
)

// appendInput appends the executor's record of c.
func (c *Case) appendInput(b []byte, id uint32) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, make([]byte, inputSize)...)
	p := b[start:]
	le.PutUint32(p, id)
	p[5], p[6] = uint8(len(c.Code)), uint8(len(c.Win))
	for i, s := range c.Sel {
		le.PutUint16(p[8+2*i:], s)
	}
	copy(p[24:], c.Code)
	q := p[56:]
	for i, v := range c.R {
		le.PutUint64(q[8*i:], v)
	}
	for i, v := range [4]uint64{c.RFLAGS, c.RIP, c.FSBase, c.GSBase} {
		le.PutUint64(q[128+8*i:], v)
	}
	for i, w := range c.Win {
		le.PutUint64(q[160+16*i:], w.Addr)
		le.PutUint64(q[168+16*i:], w.Val)
	}
	if c.Vec == nil {
		return b
	}
	p[4] = flagVec
	return c.Vec.append(b)
}

func (v *Vec) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, v.FCW)
	b = le.AppendUint16(b, v.FSW)
	b = le.AppendUint16(b, uint16(v.FTW))
	b = le.AppendUint16(b, v.FOP)
	b = le.AppendUint64(b, uint64(v.MXCSR))
	b = le.AppendUint64(le.AppendUint64(b, v.FIP), v.FDP)
	for _, s := range v.ST {
		b = le.AppendUint64(b, s.Mant)
		b = le.AppendUint64(b, uint64(s.SE))
	}
	for half := 0; half < 2; half++ {
		for i := range v.X {
			b = le.AppendUint64(b, v.X[i][2*half])
			b = le.AppendUint64(b, v.X[i][2*half+1])
		}
	}
	return b
}

func readVec(b []byte) *Vec {
	le := binary.LittleEndian
	v := &Vec{FCW: le.Uint16(b), FSW: le.Uint16(b[2:]), FTW: b[4], FOP: le.Uint16(b[6:]), MXCSR: le.Uint32(b[8:])}
	v.FIP, v.FDP = le.Uint64(b[16:]), le.Uint64(b[24:])
	for i := range v.ST {
		v.ST[i] = cpu.F80{Mant: le.Uint64(b[32+16*i:]), SE: le.Uint16(b[40+16*i:])}
	}
	for i := range v.X {
		for k := range v.X[i] {
			v.X[i][k] = le.Uint64(b[160+256*(k>>1)+16*i+8*(k&1):])
		}
	}
	return v
}

// readOutput reads one record of the executor; vec says that the case had
// vector state.
func readOutput(r io.Reader, id uint32, vec bool) (*Result, error) {
	le := binary.LittleEndian
	var b [outputSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, fmt.Errorf("executor's result %d: %w", id, err)
	}
	if got := le.Uint32(b[:]); got != id {
		return nil, fmt.Errorf("executor's result is of case %d, want %d", got, id)
	}
	o := &Result{Trap: int32(le.Uint32(b[4:])), Err: le.Uint32(b[8:]), CR2: le.Uint64(b[16:])}
	for i := range o.R {
		o.R[i] = le.Uint64(b[24+8*i:])
	}
	o.RFLAGS, o.RIP = le.Uint64(b[152:]), le.Uint64(b[160:])
	o.FSBase, o.GSBase = le.Uint64(b[168:]), le.Uint64(b[176:])
	for i := range o.Sel {
		o.Sel[i] = le.Uint16(b[184+2*i:])
	}
	n := le.Uint32(b[12:])
	if n > (DataSize+StackSize+HighSize)/8 {
		return nil, fmt.Errorf("executor's result %d has %d changed quadwords", id, n)
	}
	d := make([]byte, 16*n)
	if _, err := io.ReadFull(r, d); err != nil {
		return nil, fmt.Errorf("executor's result %d: %w", id, err)
	}
	for ; len(d) != 0; d = d[16:] {
		o.Diff = append(o.Diff, Window{le.Uint64(d), le.Uint64(d[8:])})
	}
	if vec {
		v := make([]byte, vecSize)
		if _, err := io.ReadFull(r, v); err != nil {
			return nil, fmt.Errorf("executor's result %d: %w", id, err)
		}
		o.Vec = readVec(v)
	}
	return o, nil
}

// String shows what a case begins with.
func (c *Case) String() string {
	s := fmt.Sprintf("rip %#x rflags %#x sel %#x fs %#x gs %#x", c.RIP, c.RFLAGS, c.Sel, c.FSBase, c.GSBase)
	for i, v := range c.R {
		s += fmt.Sprintf(" %s %#x", regNames[i], v)
	}
	for _, w := range c.Win {
		s += fmt.Sprintf(" [%#x]=%#x", w.Addr, w.Val)
	}
	return s
}
