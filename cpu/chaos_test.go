package cpu

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/mem"
)

// chaosPages are linear pages that random kernel code works with: its own two and
// another mapping of them, data, and what is nowhere or a device.
var chaosPages = []uint64{rigCode >> 12, rigCode>>12 + 1, 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x28, 0x40, 0x41}

// chaosPTE is an entry for one of them: code goes on as code.
func chaosPTE(rng *rand.Rand, page uint64) uint64 {
	if page < 0x20 || page >= 0x40 {
		return rigCode + uint64(rng.IntN(2))<<12 | []uint64{7, 3, 0x67, 0x27, 5}[rng.IntN(5)]
	}
	target := []uint64{rigCode, rigCode + 0x1000, 0x20000, 0x21000, 0x30000, 0x31000, 0x40026000}[rng.IntN(7)]
	return target | []uint64{7, 3, 0x67, 0x63, 0x27, 1, 5, 0}[rng.IntN(8)]
}

// chaosCode makes n bytes of instructions that touch code, page tables, data and
// devices, and go anywhere.
func chaosCode(rng *rand.Rand, n int) (code []byte) {
	pick := func(v ...uint64) uint64 { return v[rng.IntN(len(v))] }
	address := func() uint64 {
		page := pick(chaosPages...)
		at := page<<12 + uint64(rng.IntN(4096))
		if rng.IntN(3) == 0 {
			at = page<<12 - 8 + uint64(rng.IntN(16))
		}
		return at
	}
	add := func(b ...byte) { code = append(code, b...) }
	imm := func(v uint64) { code = binary.LittleEndian.AppendUint32(code, uint32(v)) }
	for len(code) < n {
		r := byte(rng.IntN(8))
		switch rng.IntN(32) {
		case 0, 1, 2, 3: // mov r32, address
			if r != 4 {
				add(0xb8 | r)
				imm(address())
			}
		case 4: // mov r32, what is an instruction
			add(0xb8 | byte(rng.IntN(3)))
			imm(pick(0x90909090, 0x00ebc3f4, 0xfeebfeeb, uint64(rng.Uint32())))
		case 5, 6, 7: // mov [r], r of some size
			add([][]byte{{0x88}, {0x89}, {0x48, 0x89}, {0x66, 0x89}}[rng.IntN(4)]...)
			add(0x40|r&3|byte(rng.IntN(8))<<3|byte(pick(3, 6, 7)), byte(rng.IntN(256)))
		case 8, 9: // mov r, [r]
			add([][]byte{{0x8a}, {0x8b}, {0x48, 0x8b}}[rng.IntN(3)]...)
			add(0x40|byte(rng.IntN(3))<<3|byte(pick(3, 6, 7)), byte(rng.IntN(256)))
		case 10, 11: // add [r], r; xchg; cmpxchg
			add([][]byte{{0x01}, {0x48, 0x87}, {0xf0, 0x0f, 0xb1}, {0x48, 0x11}}[rng.IntN(4)]...)
			add(byte(rng.IntN(3))<<3 | byte(pick(3, 6, 7)))
		case 12, 13: // an entry: mov qword [entry], v
			page := pick(chaosPages...)
			add(0x48, 0xc7, 0x04, 0x25)
			imm(rigPML4 + 0x3000 + 8*page)
			imm(chaosPTE(rng, page))
		case 14: // and byte [entry], ~accessed and dirty
			add(0x80, 0x24, 0x25)
			imm(rigPML4 + 0x3000 + 8*pick(chaosPages...))
			add(byte(pick(0x9f, 0xdf, 0xbf)))
		case 15: // mov rax, cr3; mov cr3, rax; or an invalidation
			add([][]byte{{0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}, {0x0f, 0x01, 0x3b}, {0x0f, 0x01, 0x3e}}[rng.IntN(3)]...)
		case 16, 17, 18: // a short jump, conditional or not; not for ever in one place
			add([]byte{0xeb, 0x74, 0x75, 0x72, 0x7f, 0xe2}[rng.IntN(6)], byte(rng.IntN(160)-60))
		case 19: // near: the other page
			add(0xe9)
			imm(uint64(rng.IntN(8192) - 4096))
		case 20: // call
			add(0xe8)
			imm(uint64(rng.IntN(8192) - 4096))
		case 21: // jmp or call r
			add(0xff, 0xe0|byte(pick(0, 0xf0))&0x10|byte(pick(3, 6, 7)))
		case 22:
			add(0xc3)
		case 23, 24: // a string instruction
			add(0xb9)
			imm(uint64(rng.IntN(200)))
			add(byte(pick(0xf3, 0xf2, 0x90)))
			if rng.IntN(2) == 0 {
				add(0x48)
			}
			add(byte(pick(0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xa6, 0xae)))
		case 25: // push, pop
			add(byte(pick(0x50, 0x58)) | byte(pick(0, 3, 6, 7)))
		case 26: // mov esp, somewhere, mostly good
			add(0xbc)
			imm(pick(0x6000, 0x6ff8, 0x6008, 0x21008))
		case 27: // vectors
			add([][]byte{{0xf3, 0x0f, 0x6f, 0x03}, {0xf3, 0x0f, 0x7f, 0x07}, {0x66, 0x0f, 0x6f, 0x06}, {0x0f, 0x11, 0x46, 0x0c}}[rng.IntN(4)]...)
		case 28:
			add(byte(pick(0xfa, 0xfb, 0xfc, 0xfd, 0xcc)))
		case 29: // popf with any of the flags
			add(0x68)
			imm(2 | pick(0, 1, 0x40, 0x200, 0x300, 0x40000))
			add(0x9d)
		default: // arithmetic
			add([]byte{0x01, 0x29, 0x31, 0x39, 0x85}[rng.IntN(5)], 0xc0|byte(rng.IntN(3))<<3|byte(rng.IntN(3)))
		}
	}
	return code[:n]
}

// chaos readies a rig for random kernel code: every exception goes on a few bytes
// further.
func (r *rig) chaos(code, content []byte) {
	copy(r.ram, content)
	*r.bus = testBus{mmio: map[uint64]uint64{}}
	r.smallPages()
	r.long(0)
	r.put64(rigPML4+0x3000+8*0x40, rigCode|7, rigCode+0x1000|7)
	r.put64(rigPML4+0x2000, rigPML4+0x3000|7)
	for v := uint64(0); v < 256; v++ {
		h := "4883042403 48cf" // add qword [rsp], 3; iretq
		if v == vecNMI || v == vecDB || v == vecBP || v >= 32 {
			h = "48cf"
		} else if v >= 10 && v <= 14 || v == vecDF || v == vecAC {
			h = "4883c408 4883042403 48cf"
		}
		r.put(isr(v), h)
		r.ram[rigIDT+16*v+4] = 1 // on a stack of its own
	}
	r.put64(rigTSS+0x24, rigStack)
	copy(r.ram[rigCode:], code)
	for i := range 8 {
		r.R[i] = 0x20100
	}
	r.R[RSP], r.RIP, r.RFLAGS = 0x6000, rigCode, flagsFixed|flagIF
	r.CR0 |= cr0AM | cr0WP
	r.CR2, r.DR[6], r.Activity, r.Shadow, r.DBPending, r.Count = 0, dr6One, Running, 0, 0, 0
	r.V, r.SSLoaded = [16][4]uint64{}, false
	r.lapic.queue = nil
	r.INTR(false)
	r.changed()
	r.shared.Reset()
	r.jump = jumpCache{}
	r.jump.init()
}

// TestChaos compares the engines in random kernel code that overwrites itself and its
// page tables, runs where it is mapped twice, faults, is interrupted, and has to wait
// for memory; with TLBs of several sizes.
func TestChaos(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	a, b := newRig(t), newRig(t)
	content := make([]byte, len(a.ram))
	for i := 0x20000; i < len(content); i++ { // what is below has to make sense
		content[i] = byte(rng.Uint32() >> 9)
	}
	stalls, counts := 0, uint64(0)
	for i := range 1000 {
		code := chaosCode(rng, 0x2000)
		a.SetTLBSize([]int{1, 64, 1024}[rng.IntN(3)])
		a.chaos(code, content)
		b.chaos(code, content)
		step := []int{3, 40, 200}[rng.IntN(3)]
		for n := 0; a.Activity == Running && n < 12; n++ {
			if rng.IntN(3) == 0 && len(a.lapic.queue) == 0 {
				a.lapic.raise(0x40)
				b.lapic.raise(0x40)
			}
			var e *mem.Epoch
			if rng.IntN(4) == 0 {
				e = a.m.Epoch(1 + rng.IntN(3))
			}
			before := a.Arch
			a.Run(a.Count + uint64(1+rng.IntN(step)))
			if a.stalled {
				stalls++
			}
			if e != nil {
				e.Close()
			}
			if a.stalled && a.DBPending != 0 {
				a.Run(a.Count + 1)
			}
			for b.Count < a.Count && b.Activity == Running {
				b.RunReference(a.Count)
			}
			a.Canonical()
			b.Canonical()
			at := before.RIP & 0xfff
			require.Equal(t, b.Count, a.Count, "case %d from %#x: % x", i, before.RIP, code[at:at+16])
			require.Equal(t, archOf(b), archOf(a), "case %d from %#x at %d", i, before.RIP, a.Count)
			require.True(t, bytes.Equal(b.ram, a.ram), "case %d, memory at %d", i, a.Count)
			require.Equal(t, b.bus.mmio, a.bus.mmio, "case %d at %d", i, a.Count)
		}
		counts += a.Count
	}
	assert.Greater(t, stalls, 300)
	assert.Greater(t, counts, uint64(150_000))
	assert.Greater(t, a.stats.Blocks, uint64(30_000))
}
