//go:build unix

package control

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
)

// used is the CPU time of this process.
func used(t *testing.T) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// By the wall clock, an idle guest waits as long as it says, to the host's clock,
// and lets the host do something else meanwhile.
func TestWallClock(t *testing.T) {
	const nap = 1500 * time.Millisecond
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Clock, cfg.Append = 16<<20, machine.ClockWall, "run=sleep 1500; poweroff"
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Boot())
	r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
	start, before := time.Now(), used(t)
	r.Start(m, false)
	<-r.done
	took, busy := time.Since(start), used(t)-before
	st := r.Status()
	require.Equal(t, "powered off", st.End.Reason)
	t.Logf("%v of host time, %v of it busy; %v of guest time, %d counts", took, busy, time.Duration(st.GuestNS), st.Count)
	assert.Greater(t, took, nap-250*time.Millisecond, "as near as its clock is to the host's, see below")
	assert.Less(t, busy, nap/3, "an idle guest must not keep the host busy")
	assert.InDelta(t, took.Seconds(), float64(st.GuestNS)/1e9, 0.25, "guest time is the host's")
}

// A busy guest's clock keeps up with the host's too: its rate follows what a
// count takes.
func TestWallClockBusy(t *testing.T) {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Clock, cfg.Append = 16<<20, machine.ClockWall, "run=spin 5; poweroff"
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Boot())
	r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
	start := time.Now()
	r.Start(m, false)
	<-r.done
	took, st := time.Since(start), r.Status()
	require.Equal(t, "powered off", st.End.Reason)
	num, den := m.Rate()
	t.Logf("%v of host time, %v of guest time, %d counts, %d/%d ns each at the end", took, time.Duration(st.GuestNS), st.Count, num, den)
	assert.InDelta(t, took.Seconds(), float64(st.GuestNS)/1e9, 0.25)
	assert.Less(t, float64(num)/float64(den), 1000.0)
}
