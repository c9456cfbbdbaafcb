package rehearse

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
	"godwit/migrate/lab"
	"godwit/migrate/sim"
	"godwit/snapshot"
)

// fork runs a guest up to a guest time and saves it there.
func fork(t *testing.T, clock, work string, cpus int, at time.Duration) *Fork {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Clock, cfg.Append = 32<<20, cpus, clock, work
	h := &outside{}
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, h)
	require.NoError(t, err)
	h.m = m
	defer m.Close()
	require.NoError(t, m.Boot())
	require.Equal(t, machine.Reached, m.RunTime(devices.Nanos(at)))
	path := filepath.Join(t.TempDir(), "m")
	_, err = m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
	require.NoError(t, err)
	f, err := Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func setup(f *Fork, bandwidth float64) lab.Setup {
	return lab.Setup{
		Memory: f.Memory(), Bodies: f.Bodies, Bandwidth: bandwidth, RTTNS: int64(time.Millisecond), MaxDowntimeNS: int64(300 * time.Millisecond),
		Modes: []string{"stop", "pre", "post", "hybrid", "auto"},
	}
}

// TestHopelessGuest: a real guest that writes faster than the link carries. Every run
// ends with the state of a guest that never moved: Compare fails otherwise.
func TestHopelessGuest(t *testing.T) {
	f := fork(t, machine.ClockWall, "run=hog 1 0 rand", 1, 100*time.Millisecond)
	a, err := lab.Compare(setup(f, 2e6))
	require.NoError(t, err)
	rows := map[migrate.Mode]lab.Row{}
	for _, r := range a.Rows {
		rows[r.Mode] = r
		require.Equal(t, r.Mode != migrate.ModePre, r.Done, "%+v", r)
	}
	require.Equal(t, migrate.Hopeless, rows[migrate.ModePre].Verdict)
	require.Equal(t, "stalled", rows[migrate.ModePre].Error)
	require.Greater(t, rows[migrate.ModeStop].DowntimeNS, int64(500*time.Millisecond), "all of it over 2 MB/s")
	require.Less(t, rows[migrate.ModePost].DowntimeNS, int64(100*time.Millisecond))
	require.Positive(t, rows[migrate.ModePost].WaitedNS)
	require.Positive(t, rows[migrate.ModePost].Faults)
	require.LessOrEqual(t, rows[migrate.ModeAuto].DowntimeNS, int64(300*time.Millisecond))
	require.Positive(t, rows[migrate.ModeAuto].Slowdown)
	again := setup(f, 2e6)
	again.Modes = []string{"auto"}
	b, err := lab.Compare(again)
	require.NoError(t, err)
	require.Equal(t, a.Rows[4:], b.Rows, "virtual time: the same again")
}

// TestGuestThatWaits: guests that mostly, or for ever, have nothing to do.
func TestGuestThatWaits(t *testing.T) {
	for _, g := range []struct {
		work string
		cpus int
	}{{"run=sleep 1000000", 1}, {"", 2}} {
		a, err := lab.Compare(setup(fork(t, machine.ClockVirtual, g.work, g.cpus, 100*time.Millisecond), 20e6))
		require.NoError(t, err)
		for _, r := range a.Rows {
			require.True(t, r.Done, "%q: %+v", g.work, r)
		}
	}
}

// TestGuestThatEnds: the guest powers off in the midst of it.
func TestGuestThatEnds(t *testing.T) {
	f := fork(t, machine.ClockVirtual, "run=hog 1 0 rand 2; sleep 1200; poweroff", 1, 50*time.Millisecond)
	m, _, err := f.load()
	require.NoError(t, err)
	defer m.Close()
	require.Equal(t, machine.Reached, m.RunTime(m.Now()+1e9), "not while it is watched")
	require.Equal(t, machine.Off, m.RunTime(m.Now()+2e9))
	s := setup(f, 1e6)
	s.Modes = []string{"pre", "hybrid"}
	a, err := lab.Compare(s)
	require.NoError(t, err)
	for _, r := range a.Rows {
		require.True(t, r.Done, "%+v", r)
		require.Greater(t, r.TotalNS, int64(2e9), "the guest was off by then")
	}
}

// TestDifferenceIsFound: a guest to which something happened is not the same.
func TestDifferenceIsFound(t *testing.T) {
	f := fork(t, machine.ClockVirtual, "run=hog 1 0 rand", 1, 50*time.Millisecond)
	s := setup(f, 1e6)
	s.Modes = []string{"stop"}
	s.Bodies = func(src, dst sim.Clock) (*sim.Bodies, error) {
		b, err := f.Bodies(src, dst)
		if err == nil {
			f.last.src.m.Input(machine.InputConsole, []byte("x"))
		}
		return b, err
	}
	_, err := lab.Compare(s)
	require.ErrorContains(t, err, "of a guest that never moved")
}
