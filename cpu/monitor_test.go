package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// monitorRig runs up to an MWAIT for the line of 8040, with ECX as given.
func monitorRig(t *testing.T, ecx uint64) *rig {
	r := newRig(t)
	r.long(0)
	r.CPU.model = r.model.With("monitor")
	r.put(rigCode, "0f01c8 89d9 0f01c9 90 90") // MONITOR; MOV ECX, EBX; MWAIT
	r.R[RAX], r.R[RBX], r.R[RCX], r.R[RDX] = 0x8040+9, ecx, 0, 0
	r.RFLAGS |= flagIF
	return r
}

// TestMwait: what ends an MWAIT, in either engine.
func TestMwait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ecx   uint64
		event func(r *rig)
		rip   uint64 // afterwards; 0: still waiting
	}{
		{"nothing", 0, func(*rig) {}, 0},
		{"store", 0, func(r *rig) { r.ram[0x807f]++ }, rigCode + 9},
		{"store beside", 0, func(r *rig) { r.ram[0x8080]++; r.ram[0x803f]++ }, 0},
		{"dma", 0, func(r *rig) { r.m.Write(0x8040, []byte{1}) }, rigCode + 9},
		{"interrupt", 0, func(r *rig) { r.lapic.raise(0x40) }, isr(0x40)},
		{"masked interrupt", 0, func(r *rig) { r.RFLAGS &^= flagIF; r.lapic.raise(0x40) }, 0},
		{"masked interrupt that counts", 1, func(r *rig) { r.RFLAGS &^= flagIF; r.lapic.raise(0x40) }, rigCode + 9},
		{"nmi", 0, func(r *rig) { r.NMIPending = true }, isr(vecNMI)},
	} {
		for _, run := range []func(*rig, uint64){(*rig).blocks, (*rig).reference} {
			t.Run(tt.name, func(t *testing.T) {
				r := monitorRig(t, tt.ecx)
				run(r, 3)
				require.Equal(t, Halted, r.Activity)
				require.True(t, r.Idle())
				run(r, 1)
				require.EqualValues(t, 3, r.Count, "nothing runs")
				tt.event(r)
				require.Equal(t, tt.rip == 0, r.Idle())
				run(r, 1)
				if tt.rip == 0 {
					assert.Equal(t, Halted, r.Activity)
					return
				}
				assert.Equal(t, Running, r.Activity)
				assert.Equal(t, tt.rip, r.RIP)
				assert.False(t, r.MonArmed)
			})
		}
	}
}

func (r *rig) blocks(n uint64)    { r.CPU.Run(r.Count + n) }
func (r *rig) reference(n uint64) { r.CPU.RunReference(r.Count + n) }

// TestMwaitNotArmed: a store between MONITOR and MWAIT, or a line that is no
// memory, lets MWAIT fall through; HLT does not look at the line.
func TestMwaitNotArmed(t *testing.T) {
	r := monitorRig(t, 0)
	r.steps(2)
	r.ram[0x8040]++
	r.blocks(1)
	assert.False(t, r.Idle(), "awake at once")

	r = monitorRig(t, 0)
	r.put(rigCode+5, "f4")
	r.steps(2)
	r.blocks(1)
	r.ram[0x8040]++
	assert.True(t, r.Idle(), "HLT waits for interrupts")

	r = monitorRig(t, 2)
	r.steps(3)
	assert.Equal(t, isr(vecGP), r.RIP, "an unknown extension")

	r = monitorRig(t, 0)
	r.MonArmed, r.MonAddr = true, 1<<39
	assert.Error(t, r.Restored())
}
