package control

import (
	"context"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/snapshot"
)

// TestGarbageWaitsForTheGuest: garbage is not collected between the opening of a file and
// the guest's first instruction, and is after that.
func TestGarbageWaitsForTheGuest(t *testing.T) {
	old := debug.SetGCPercent(77)
	defer debug.SetGCPercent(old)
	path := filepath.Join(t.TempDir(), "vm.gwsnap")
	m, err := machine.New(machine.DefaultConfig(), machine.Images{}, nil)
	require.NoError(t, err)
	_, err = m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	defer f.Close()
	r := newRunner(&Spec{Name: "x", Resume: path}, nil, t.TempDir())
	m, err = r.load(f, LoadNone)
	require.NoError(t, err)
	defer m.Close()
	require.Equal(t, -1, debug.SetGCPercent(-1))
	r.fill()
	require.Equal(t, 77, debug.SetGCPercent(77))
	r.fill()
	require.Equal(t, 77, debug.SetGCPercent(77))
}

// TestGoesOnWhereItWaits: a resumed guest that waits has gone on as soon as it waits
// again, though it executes nothing before it is woken.
func TestGoesOnWhereItWaits(t *testing.T) {
	for executed := range uint64(2) {
		r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
		r.m = newTiny(t, "")
		r.opened, r.from = time.Now(), 0
		require.Equal(t, machine.Reached, r.m.Run(executed))
		r.began()
		require.Equal(t, executed != 0, r.Status().FirstNS != 0)
		r.paused = true // so that Idle returns
		require.True(t, r.Idle(machine.Forever))
		require.NotZero(t, r.Status().FirstNS)
	}
}
