package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// What virtual-8086 tasks may do at IOPL 0 and at IOPL 3 [SDM 3B 21.2.6, 21.3]:
// the vector of the fault or interrupt, or -1 where execution goes on.
func TestVM86Rules(t *testing.T) {
	for _, tt := range []struct {
		name, code   string
		iopl0, iopl3 int
	}{
		{"cli", "fa", vecGP, -1},
		{"sti", "fb", vecGP, -1},
		{"pushf", "9c", vecGP, -1},
		{"pushfd", "669c", vecGP, -1},
		{"popf", "9d", vecGP, -1},
		{"popfd", "669d", vecGP, -1},
		{"iret", "cf", vecGP, -1},
		{"iretd", "66cf", vecGP, -1},
		{"int 22h, DPL 0", "cd22", vecGP, vecGP},
		{"int 3 by its own opcode", "cc", vecBP, vecBP},
		{"int 3 by number", "cd03", vecGP, vecBP},
		{"into without overflow", "ce", -1, -1},
		{"icebp", "f1", vecDB, vecDB},
		{"hlt", "f4", vecGP, vecGP},
		{"in, whatever IOPL", "e464", vecGP, vecGP},
		{"out, whatever IOPL", "e664", vecGP, vecGP},
		{"smsw", "0f01e0", -1, -1},
		{"sgdt", "0f01060050", -1, -1},
		{"lgdt", "0f01160050", vecGP, vecGP},
		{"lidt", "0f011e0050", vecGP, vecGP},
		{"lmsw", "0f01f0", vecGP, vecGP},
		{"clts", "0f06", vecGP, vecGP},
		{"mov from cr0", "0f20c0", vecGP, vecGP},
		{"mov to dr0", "0f23c0", vecGP, vecGP},
		{"invlpg", "0f013e0050", vecGP, vecGP},
		{"wbinvd", "0f09", vecGP, vecGP},
		{"rdmsr", "0f32", vecGP, vecGP},
		{"sldt", "0f00c0", vecUD, vecUD},
		{"str", "0f00c8", vecUD, vecUD},
		{"lldt", "0f00d0", vecUD, vecUD},
		{"ltr", "0f00d8", vecUD, vecUD},
		{"verr", "0f00e0", vecUD, vecUD},
		{"verw", "0f00e8", vecUD, vecUD},
		{"lar", "0f02c0", vecUD, vecUD},
		{"lsl", "0f03c0", vecUD, vecUD},
		{"arpl", "63c0", vecUD, vecUD},
		{"mov to cs", "8ec8", vecUD, vecUD},
		{"lock mov", "f0a30050", vecUD, vecUD},
		{"a word at ffff", "a1ffff", vecGP, vecGP},
		{"a word of the stack at ffff", "36a1ffff", vecSS, vecSS},
	} {
		for iopl, want := range map[uint64]int{0: tt.iopl0, flagIOPL: tt.iopl3} {
			t.Run(tt.name, func(t *testing.T) {
				r := newRig(t)
				r.virtual()
				r.RFLAGS |= iopl
				r.put64(0x6000, 0x9000) // a frame for IRET: 0000:9000, flags 0; of IRETD only its IP
				r.put(rigCode, tt.code)
				r.Step()
				if want < 0 {
					assert.True(t, r.vm86())
					assert.Less(t, r.RIP, uint64(rigISR))
					return
				}
				require.Equal(t, isr(uint64(want)), r.RIP)
				assert.False(t, r.vm86())
				if want == vecGP || want == vecSS {
					assert.Zero(t, r.get32(r.R[RSP])&^0xffff, "error code")
				}
				assert.Equal(t, uint8(0), r.CPL)
			})
		}
	}
}

// From a virtual-8086 task interrupts go to level 0 alone, by gates of either
// size; the 16-bit frame has the halves of the task's registers.
func TestVM86Gates(t *testing.T) {
	for _, tt := range []struct {
		name string
		gate uint64 // of INT 22h
		want int    // vector of the fault, or 0x22
		err  uint32
	}{
		{"user code", rigISR | selUser32<<16 | 0xee<<40, vecGP, selUser32 &^ 3},
		{"conforming code", rigISR | selGate<<16 | 0xee<<40, vecGP, selGate},
		{"level 0", rigISR + 0x220 | selCode32<<16 | 0xee<<40, 0x22, 0},
		{"level 0, 16 bits", 0xffff<<48 | rigISR + 0x220 | selCode32<<16 | 0xe6<<40, 0x22, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.virtual()
			r.RFLAGS |= flagIOPL
			r.put64(rigGDT+selGate, 0x00cf9f000000ffff)
			r.put64(rigIDT+8*0x22, tt.gate)
			r.realSegment(isa.GS, 0x1234)
			r.put(rigCode, "cd22")
			r.Step()
			require.Equal(t, isr(uint64(tt.want)), r.RIP)
			switch {
			case tt.want == vecGP:
				assert.Equal(t, tt.err, r.get32(r.R[RSP]))
			case tt.gate>>40&8 == 0:
				assert.Equal(t, uint64(rigStack-18), r.R[RSP])
				assert.Equal(t, uint16(rigCode+2), r.get16(r.R[RSP]))
				assert.Equal(t, uint16(0x1234), r.get16(rigStack-2))
			default:
				assert.Equal(t, uint64(rigStack-36), r.R[RSP])
				assert.Equal(t, uint32(0x1234), r.get32(rigStack-4))
			}
		})
	}
}
