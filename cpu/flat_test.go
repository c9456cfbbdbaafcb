package cpu

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// flatOpcodes are what random 32-bit code is made of: what has ops of its own in
// flat segments, and neighbours.
var flatOpcodes = [][]byte{
	{0x01},
	{0x03},
	{0x29},
	{0x2b},
	{0x11},
	{0x1b},
	{0x21},
	{0x33},
	{0x09},
	{0x39},
	{0x3b},
	{0x38},
	{0x02},
	{0x28},
	{0x80},
	{0x81},
	{0x83},
	{0x40},
	{0x4f},
	{0x50},
	{0x53},
	{0x54},
	{0x58},
	{0x5c},
	{0x5b},
	{0x68},
	{0x6a},
	{0x69},
	{0x6b},
	{0x84},
	{0x85},
	{0x86},
	{0x87},
	{0x88},
	{0x89},
	{0x8a},
	{0x8b},
	{0x8b},
	{0x8b},
	{0x89},
	{0x8d},
	{0x8f},
	{0xa0},
	{0xa1},
	{0xa2},
	{0xa3},
	{0xb8},
	{0xc0},
	{0xc1},
	{0xc3},
	{0xc2},
	{0xc6},
	{0xc7},
	{0xc9},
	{0xd1},
	{0xd3},
	{0xe8},
	{0xe9},
	{0xeb},
	{0x74},
	{0x75},
	{0x7c},
	{0xf6},
	{0xf7},
	{0xfe},
	{0xff},
	{0xff},
	{0xff},
	{0x0f, 0xb6},
	{0x0f, 0xbe},
	{0x0f, 0xb7},
	{0x0f, 0xaf},
	{0x0f, 0x44},
	{0x0f, 0x94},
	{0x0f, 0xa3},
	{0x0f, 0xba},
	{0x0f, 0x84},
	{0x0f, 0xc8},
	{0xf3, 0xa4},
	{0xf3, 0xab},
	{0xa5},
	{0x99},
	{0x98},
	{0x60},
	{0x61},
}

// flatCode makes n random instructions.
func flatCode(rng *rand.Rand, n int) (code []byte) {
	for range n {
		if p := rng.IntN(24); p < 6 {
			code = append(code, []byte{0x64, 0x65, 0x66, 0x26, 0x2e, 0x67}[p])
		}
		code = append(code, flatOpcodes[rng.IntN(len(flatOpcodes))]...)
		b := byte(rng.Uint32())
		if rng.IntN(3) > 0 {
			b &= 0x7f // with memory
		}
		// Small displacements and immediates, so that branches stay in the code.
		code = append(code, b, byte(rng.IntN(64)), byte(rng.IntN(40)), 0)
	}
	return code
}

// TestFlatBlocks compares the engines in random 32-bit code: with flat segments,
// with FS and GS elsewhere or absent, and with segments that have limits and
// bases.
func TestFlatBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	a, b := newRig(t), newRig(t)
	blocks, flat := uint64(0), 0
	for i := range 1500 {
		code := flatCode(rng, 12)
		shape, cpl := rng.IntN(6), uint8(rng.IntN(2)*3)
		var regs GPRs
		for r := range 8 {
			regs[r] = [...]uint64{
				uint64(0x20000 + rng.IntN(0x8000)), uint64(rng.IntN(64)), 0xfffffff0 + uint64(rng.IntN(16)),
				uint64(rng.Uint32()), rng.Uint64() & 0xffffffff_0000ffff, 0x21ffe,
			}[rng.IntN(6)]
		}
		if rng.IntN(4) > 0 {
			regs[RSP] = 0x30000 - uint64(rng.IntN(64))
		}
		for _, r := range []*rig{a, b} {
			clear(r.ram)
			r.protected32(cpl)
			r.CR0 |= cr0NE
			copy(r.ram[rigCode:], code)
			copy(r.R[:8], regs[:8])
			shapeSegments(r, shape)
			r.Activity, r.Shadow, r.Count = Running, 0, 0
			r.shared.flushCode()
		}
		for n := uint64(5); n <= 60; n += 11 {
			a.CPU.Run(n)
			for b.Count < a.Count {
				b.RunReference(a.Count)
				if b.Activity != Running {
					break
				}
			}
			a.Canonical()
			b.Canonical()
			require.Equal(t, archOf(b), archOf(a), "program %d, % x, shape %d, at %d", i, code, shape, n)
			require.True(t, bytes.Equal(b.ram, a.ram), "program %d, % x, shape %d, memory at %d", i, code, shape, n)
			if a.kind == kindFlat {
				flat++
			}
		}
		blocks = a.stats.Blocks
	}
	assert.Greater(t, blocks, uint64(1500))
	assert.Greater(t, flat, 1500)
}

// shapeSegments leaves the segments flat or gives some of them a base, a limit,
// a direction or nothing.
func shapeSegments(r *rig, shape int) {
	fs, gs, ds, ss := &r.Seg[isa.FS], &r.Seg[isa.GS], &r.Seg[isa.DS], &r.Seg[isa.SS]
	switch shape {
	case 1:
		fs.Base, gs.Base = 0x1234, 0xfffe0000
	case 2:
		*fs, gs.Limit = Segment{}, 0x20fff
	case 3:
		ds.Base = 0x1000
	case 4:
		ss.Attr |= segDown
		ss.Limit = 0xfff
	case 5:
		fs.Attr &^= segWritable
		ds.Limit = 0x24fff
	}
	r.changed()
}

// archOf is the state without what is derived.
func archOf(r *rig) Arch {
	a := r.Arch
	clear(a.R[16:])
	return a
}

// TestBlockBeyondLimit runs into the end of a code segment whose page goes on:
// the block there does not fit, and the instructions before the limit count.
func TestBlockBeyondLimit(t *testing.T) {
	r := newRig(t)
	r.protected32(0)
	r.put(rigCode, "90 40 40 40 40 40 40 40")
	r.Seg[isa.CS].Limit = rigCode + 3
	r.changed()
	r.CPU.Run(4)
	assert.Equal(t, uint64(4), r.Count)
	assert.Equal(t, uint64(rigCode+4), r.RIP)
	assert.Equal(t, uint64(3), r.R[RAX])
	r.CPU.Run(5)
	assert.Equal(t, uint64(isr(vecGP)), r.RIP)
}
