package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// full readies the rig for 64-bit code at level 3 and starts an epoch whose pool
// of pre-images is used up by a page that nothing else writes. The page tables'
// A and D bits are set already; what comes next that writes is level 0's stack.
func (r *rig) full() (release func()) {
	r.long(3)
	r.put(rigCode-1, "50")
	r.RIP = rigCode - 1
	r.Step()
	r.R[RSP] += 8
	r.Count = 100
	for _, page := range []uint32{0xff, rigStack/4096 - 1} {
		require.True(r.t, r.m.Touch(page))
	}
	e := r.m.Epoch(1)
	require.True(r.t, r.m.Touch(0xff))
	r.begin(^uint64(0))
	return func() {
		e.Close()
		r.begin(^uint64(0))
	}
}

// A full pool of pre-images holds back deliveries without losing or repeating
// anything: the machine goes on as if the wait had not been.
func TestInterruptWaitsForPreImages(t *testing.T) {
	r := newRig(t)
	release := r.full()
	r.RFLAGS |= flagIF
	r.lapic.raise(0x40)
	before := r.Arch
	for range 3 {
		r.stalled = false
		require.False(t, r.Interrupt())
		require.True(t, r.stalled)
		require.Equal(t, before, r.Arch)
		require.Equal(t, uint64(100), r.Count)
	}
	release()
	require.Equal(t, []uint8{0x40}, r.lapic.queue, "not taken yet")
	require.True(t, r.Interrupt())
	assert.Equal(t, isr(0x40), r.RIP)
	assert.Equal(t, uint64(101), r.Count)
	assert.Empty(t, r.lapic.queue)
}

func TestFaultWaitsForPreImages(t *testing.T) {
	r := newRig(t)
	release := r.full()
	r.CR2 = 77
	before := r.Arch
	pf := Fault{Vec: vecPF, HasErr: true, Err: pfU, Addr: 0x400000}
	r.deliverFault(pf)
	require.True(t, r.stalled)
	require.Equal(t, before, r.Arch)
	release()
	r.deliverFault(pf)
	assert.Equal(t, isr(vecPF), r.RIP)
	assert.Equal(t, uint64(0x400000), r.CR2)
}

func TestTrapWaitsForPreImages(t *testing.T) {
	r := newRig(t)
	release := r.full()
	r.put(rigCode, "90 90")
	r.RFLAGS |= flagTF | flagRF
	r.Step()
	require.True(t, r.stalled)
	assert.Zero(t, r.RFLAGS&flagRF, "it had its effect")
	assert.Equal(t, uint64(rigCode+1), r.RIP, "the instruction is done")
	assert.Equal(t, uint64(101), r.Count)
	assert.Equal(t, uint64(dr6One), r.DR[6])
	require.True(t, r.Interruptible(), "the trap comes before anything else")
	release()
	require.True(t, r.Interrupt())
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(102), r.Count)
	assert.Equal(t, uint64(dr6One|dr6BS), r.DR[6])
	assert.Zero(t, r.DBPending)
}
