package insn

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
)

// Vector is one instruction, the state it ran in and what it did. The state
// comes from Seed by a fixed algorithm, then Set replaces registers.
type Vector struct {
	_    struct{} `cbor:",toarray"`
	Code []byte
	Seed uint32
	Set  []RegValue
	Out  Effect
}

// RegValue is a general register and its value.
type RegValue struct {
	_ struct{} `cbor:",toarray"`
	N uint8
	V uint64
}

// Effect is what differs from the state before.
type Effect struct {
	_     struct{} `cbor:",toarray"`
	RIP   int64    // relative to CodeRIP
	Flags uint64   // within FlagsMask
	Trap  int8     // vector of the exception, -1 if there was none
	Err   uint8
	CR2   uint64
	R     []RegValue
	V     []LaneValue // 64-bit lanes of the YMM registers: number is 4 * register + lane
	ST    []STValue
	Mem   []MemValue
	MXCSR uint32 // changed bits
	FSW   uint16 // changed bits
	FTW   uint8  // changed bits
}

// LaneValue is a lane of a vector register.
type LaneValue = RegValue

// STValue is ST(i).
type STValue struct {
	_    struct{} `cbor:",toarray"`
	N    uint8
	SE   uint16
	Mant uint64
}

// MemValue is an aligned quadword of memory.
type MemValue struct {
	_    struct{} `cbor:",toarray"`
	Addr uint64
	V    uint64
}

// Where State puts random bytes into memory; the rest is zero.
const (
	dataAt   = 0xf00
	dataLen  = 0x200
	stackAt  = 0x7c0
	stackLen = 0x80
	stackTop = StackBase + 0x800
)

// Input is the state that a vector starts in.
func (v *Vector) Input() (s State, mem []Window) {
	s, mem = stateOf(uint64(v.Seed))
	for _, r := range v.Set {
		s.R[r.N&15] = r.V
	}
	return s, mem
}

// effectOf tells how b differs from a; mem is what changed in memory.
func effectOf(a *State, b *Outcome, mem []MemValue) (e Effect) {
	e = Effect{
		RIP: int64(b.RIP - CodeRIP), Flags: b.RFLAGS & FlagsMask, Trap: int8(b.Trap), Err: uint8(b.Err), CR2: b.CR2,
		Mem: mem, MXCSR: a.MXCSR ^ b.MXCSR, FSW: a.FSW ^ b.FSW, FTW: a.FTW ^ b.FTW,
	}
	for i := range a.R {
		if a.R[i] != b.R[i] {
			e.R = append(e.R, RegValue{N: uint8(i), V: b.R[i]})
		}
	}
	for i := range a.V {
		for k := range a.V[i] {
			if a.V[i][k] != b.V[i][k] {
				e.V = append(e.V, LaneValue{N: uint8(4*i + k), V: b.V[i][k]})
			}
		}
	}
	for i := range a.ST {
		if a.ST[i] != b.ST[i] {
			e.ST = append(e.ST, STValue{N: uint8(i), SE: b.ST[i].SE, Mant: b.ST[i].Mant})
		}
	}
	return e
}

// Play executes a vector on our CPU.
func (m *Machine) Play(v *Vector) (Effect, error) {
	s, mem := v.Input()
	m.Clear()
	for _, w := range mem {
		m.Poke(w.Addr, w.Data)
	}
	copy(m.before[:], m.ram[physData:])
	o, err := m.Run(v.Code, &s)
	if err != nil {
		return Effect{}, fmt.Errorf("vector % x seed %d: %w", v.Code, v.Seed, err)
	}
	return effectOf(&s, &o, m.changes()), nil
}

// changes lists the quadwords of data and stack that differ from before.
func (m *Machine) changes() (list []MemValue) {
	now, before := m.ram[physData:physStack+StackSize], m.before[:]
	if bytes.Equal(now, before) {
		return nil
	}
	for o := 0; o < len(now); o += 8 {
		if !bytes.Equal(now[o:o+8], before[o:o+8]) {
			addr := uint64(DataBase + o)
			if o >= DataSize {
				addr = uint64(StackBase + o - DataSize)
			}
			list = append(list, MemValue{Addr: addr, V: m.Qword(addr)})
		}
	}
	return list
}

// Difference names the first thing in which got differs from what v says, or is
// empty. What the manuals leave undefined does not count.
func (v *Vector) Difference(got *Effect) string {
	want := v.Out
	flags, destination := undefined(v)
	if destination {
		got.R, want.R, got.Mem, want.Mem = nil, nil, nil, nil
	}
	if want.Trap >= 0 { // RFLAGS of a fault are those before it; the processor may have set RF
		flags = 0
	}
	got.Flags &^= flags
	want.Flags &^= flags
	for _, d := range []struct {
		name      string
		same      bool
		got, want any
	}{
		{"exception", got.Trap == want.Trap, got.Trap, want.Trap},
		{"rip", got.RIP == want.RIP, got.RIP, want.RIP},
		{"error code", got.Err == want.Err, got.Err, want.Err},
		{"cr2", got.CR2 == want.CR2, got.CR2, want.CR2},
		{"registers", slices.Equal(got.R, want.R), got.R, want.R},
		{"flags", got.Flags == want.Flags, got.Flags, want.Flags},
		{"memory", slices.Equal(got.Mem, want.Mem), got.Mem, want.Mem},
		{"vector lanes", slices.Equal(got.V, want.V), got.V, want.V},
		{"st", slices.Equal(got.ST, want.ST), got.ST, want.ST},
		{"mxcsr", got.MXCSR == want.MXCSR, got.MXCSR, want.MXCSR},
		{"fsw", got.FSW == want.FSW, got.FSW, want.FSW},
		{"ftw", got.FTW == want.FTW, got.FTW, want.FTW},
	} {
		if !d.same {
			return fmt.Sprintf("%s %x, want %x", d.name, d.got, d.want)
		}
	}
	return ""
}

// limits for corpora.
const (
	maxVectors = 1 << 20
	maxBytes   = 64 << 20
)

// WriteCorpus writes vectors as zstd-compressed CBOR.
func WriteCorpus(w io.Writer, vs []Vector) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	if err := cbor.NewEncoder(z).Encode(vs); err != nil {
		return err
	}
	return z.Close()
}

// ReadCorpus reads what WriteCorpus wrote.
func ReadCorpus(r io.Reader) (vs []Vector, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(maxBytes))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	mode, err := cbor.DecOptions{MaxArrayElements: maxVectors}.DecMode()
	if err != nil {
		return nil, err
	}
	if err := mode.NewDecoder(z).Decode(&vs); err != nil {
		return nil, fmt.Errorf("corpus: %w", err)
	}
	return vs, nil
}
