package cpu

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/mem"
)

// One count of REP MOVS and REP STOS goes to the end of a line of the destination.
func TestRepCounts(t *testing.T) {
	for _, c := range []struct {
		name, code string
		di, n      uint64
		down       bool
		counts     []uint64 // iterations left after each
		trap       bool
		brk        uint64 // where a data breakpoint is
	}{
		{name: "a line", code: "f3aa", di: 0x20000, n: 64, counts: []uint64{0}},
		{name: "and a byte", code: "f3aa", di: 0x20000, n: 65, counts: []uint64{1, 0}},
		{name: "from its middle", code: "f3aa", di: 0x2000a, n: 200, counts: []uint64{146, 82, 18, 0}},
		{name: "one iteration", code: "f3a4", di: 0x2003f, n: 1, counts: []uint64{0}},
		{name: "across its end", code: "f348ab", di: 0x2003d, n: 10, counts: []uint64{9, 1, 0}},
		{name: "words", code: "f366a5", di: 0x20000, n: 33, counts: []uint64{1, 0}},
		{name: "downwards", code: "f3a4", di: 0x20041, n: 68, down: true, counts: []uint64{66, 2, 0}},
		{name: "downwards, across", code: "f348a5", di: 0x2003d, n: 10, down: true, counts: []uint64{2, 0}},
		{name: "over the end of a page", code: "f3aa", di: 0x20ffe, n: 5, counts: []uint64{3, 0}},
		{name: "to a device", code: "f3aa", di: 0x26000, n: 3, counts: []uint64{2, 1, 0}},
		{name: "memory, then a device", code: "f3aa", di: 0x25ffe, n: 4, counts: []uint64{2, 1, 0}},
		{name: "a data breakpoint", code: "f3aa", di: 0x20000, n: 9, brk: 0x20005, counts: []uint64{3, 0}},
		{name: "single steps", code: "f3aa", di: 0x20000, n: 3, trap: true, counts: []uint64{2, 1, 0}},
		{name: "to a page that is missing", code: "f3a4", di: 0x21fc0, n: 70, counts: []uint64{6, 6}},
		{name: "loads are counted singly", code: "f3ac", di: 0x20000, n: 3, counts: []uint64{2, 1, 0}},
	} {
		for _, reference := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", reference ", reference), func(t *testing.T) {
				r := newRig(t)
				r.smallPages()
				r.put(rigCode, c.code+"90")
				r.put(isr(vecDB), "48cf")
				r.R[RDI], r.R[RSI], r.R[RCX] = c.di, 0x25000, c.n
				if c.down {
					r.RFLAGS |= flagDF
				}
				if c.trap {
					r.RFLAGS |= flagTF
				}
				if c.brk != 0 {
					r.DR[0], r.DR[7] = c.brk, 1|breakWrite<<16
				}
				for i, left := range c.counts {
					for more := true; more; more = r.RIP == isr(vecDB) {
						if reference {
							r.RunReference(r.Count + 1)
						} else {
							r.Run(r.Count + 1)
						}
					}
					require.Equal(t, left, r.R[RCX], "after %d", i+1)
				}
			})
		}
	}
}

// repCase is a repeated string instruction in random surroundings.
type repCase struct {
	kind  int // 0 to 2: 64-, 32-, 16-bit code
	code  []byte
	regs  GPRs
	flags uint64
	dr    [2]uint64 // DR0, DR7
	amd   bool
}

func (q *repCase) String() string {
	return fmt.Sprintf("%d bit, % x, rsi %#x rdi %#x rcx %#x rax %#x flags %#x dr %#x amd %v", 64>>q.kind,
		q.code, q.regs[RSI], q.regs[RDI], q.regs[RCX], q.regs[RAX], q.flags, q.dr, q.amd)
}

func randomRep(rng *rand.Rand) *repCase {
	q := &repCase{kind: max(0, rng.IntN(5)-2), amd: rng.IntN(2) == 0}
	for _, p := range []struct {
		b    byte
		of   int
		kind bool
	}{{0x66, 4, true}, {0x67, 8, true}, {0x64, 12, true}, {0x48, 3, q.kind == 0}} {
		if p.b == 0x48 {
			q.code = append(q.code, 0xf3^byte(rng.IntN(8)/7))
		}
		if p.kind && rng.IntN(p.of) == 0 {
			q.code = append(q.code, p.b)
		}
	}
	q.code = append(q.code, [...]byte{0xa4, 0xa5, 0xa4, 0xa5, 0xaa, 0xab, 0xaa, 0xab, 0xac, 0xa6, 0xae}[rng.IntN(11)])
	where := func() uint64 {
		at := uint64(0x20000 + rng.IntN(0x9000))
		if rng.IntN(2) == 0 {
			at = at&^0xfff + uint64(rng.IntN(160)) - 80
		}
		switch rng.IntN(24) {
		case 0:
			return rigCode - uint64(rng.IntN(100)) // itself
		case 1:
			return rigPML4 + 0x3000 + 8*rigCode>>12 - uint64(rng.IntN(100)) // what maps it
		case 2:
			return -uint64(rng.IntN(300)) // the end of addresses
		case 3:
			return 0xffff - uint64(rng.IntN(300)) | at&0xff<<32
		}
		return at
	}
	q.regs[RSI], q.regs[RDI] = where(), where()
	if rng.IntN(3) == 0 {
		q.regs[RSI] = q.regs[RDI] + uint64(rng.IntN(80)) - 40
		if rng.IntN(2) == 0 {
			q.regs[RSI] = q.regs[RDI] - uint64(rng.IntN(9))
		}
	}
	q.regs[RCX] = uint64(rng.IntN([]int{3, 100, 700, 9000}[rng.IntN(4)]))
	q.regs[RAX] = rng.Uint64()
	if rng.IntN(3) == 0 {
		q.regs[RAX] = 0x9090909090909090
	}
	q.flags = flagsFixed | flagIF
	for _, f := range []uint64{flagDF, flagTF, flagRF, flagAC} {
		if rng.IntN(8) == 0 {
			q.flags |= f
		}
	}
	if rng.IntN(8) == 0 {
		q.dr = [2]uint64{q.regs[RDI] + uint64(rng.IntN(100)), 1 | uint64(rng.IntN(16))<<16}
	}
	return q
}

// prepare readies a rig for the case. Whatever happens ends at a HLT, but for
// debug traps and interrupts, which return.
func (r *rig) prepare(q *repCase, content []byte) {
	copy(r.ram, content)
	*r.bus = testBus{mmio: map[uint64]uint64{}}
	back := "48cf"
	switch q.kind {
	case 0:
		r.smallPages()
	case 1:
		r.protected32(3)
		back = "cf"
	default:
		r.Arch = Arch{}
		r.Reset()
		r.real()
		back = "cf"
	}
	r.amd = q.amd
	for _, v := range []uint64{vecDB, 0x40} {
		r.put(isr(v), back)
	}
	copy(r.ram[rigCode:], append(q.code, 0xf4))
	sp := r.R[RSP]
	r.R = q.regs
	r.R[RSP] = sp
	r.RFLAGS, r.DR[0], r.DR[7], r.DR[6] = q.flags, q.dr[0], q.dr[1], dr6One
	r.CR0 |= cr0AM
	r.CR2, r.Activity, r.Shadow, r.DBPending, r.Count = 0, Running, 0, 0, 0
	r.lapic.queue = nil
	r.INTR(false)
	r.changed()
	r.shared.Reset()
	r.jump = jumpCache{}
	r.jump.init()
}

// TestRepLockstep compares the engines over random repeated string instructions:
// with faults, devices, overlaps, their own code and page tables in the way, with
// any number of counts at a time, interrupts, and pages that have to wait.
func TestRepLockstep(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	a, b := newRig(t), newRig(t)
	content := make([]byte, len(a.ram))
	for i := 0x20000; i < len(content); i++ { // what is below has to make sense
		content[i] = byte(rng.Uint32() >> 7)
	}
	stalls, bulks := 0, 0
	for i := range 3000 {
		q := randomRep(rng)
		a.prepare(q, content)
		b.prepare(q, content)
		step := [...]int{1, 3, 20, 200}[rng.IntN(4)]
		for n := 0; a.Activity == Running && n < 40; n++ {
			if rng.IntN(10) == 0 && len(a.lapic.queue) == 0 {
				a.lapic.raise(0x40)
				b.lapic.raise(0x40)
			}
			var e *mem.Epoch
			if rng.IntN(4) == 0 {
				e = a.m.Epoch(1 + rng.IntN(2))
			}
			steps := a.stats.Steps
			before := a.Count
			a.Run(a.Count + uint64(1+rng.IntN(step)))
			if a.stalled {
				stalls++
			}
			if a.Count-before > 20 && a.stats.Steps == steps {
				bulks++
			}
			if e != nil {
				e.Close()
			}
			if a.stalled && a.DBPending != 0 {
				a.Run(a.Count + 1) // the trap waited, and b cannot stop before it
			}
			for b.Count < a.Count && b.Activity == Running {
				b.RunReference(a.Count)
			}
			a.Canonical()
			b.Canonical()
			require.Equal(t, b.Count, a.Count, "case %d: %v", i, q)
			require.Equal(t, archOf(b), archOf(a), "case %d: %v at %d", i, q, a.Count)
			require.True(t, bytes.Equal(b.ram, a.ram), "case %d: %v, memory at %d", i, q, a.Count)
			require.Equal(t, b.bus.mmio, a.bus.mmio, "case %d: %v at %d", i, q, a.Count)
		}
	}
	assert.Greater(t, stalls, 300)
	assert.Greater(t, bulks, 100)
}

// TestRepOverItself has REP STOSB overwrite its own bytes: what is there then is
// executed next.
func TestRepOverItself(t *testing.T) {
	for _, reference := range []bool{false, true} {
		r := newRig(t)
		r.long(0)
		code, _ := hex.DecodeString("f3aaf4")
		copy(r.ram[rigCode:], code)
		r.R[RDI], r.R[RCX], r.R[RAX] = rigCode-64, 1000, 0xf4
		for r.Activity == Running {
			if reference {
				r.RunReference(r.Count + 100)
			} else {
				r.Run(r.Count + 100)
			}
		}
		assert.Equal(t, uint64(rigCode+1), r.RIP)
		assert.Equal(t, uint64(3), r.Count)
		assert.Equal(t, uint64(1000-128), r.R[RCX])
	}
}
