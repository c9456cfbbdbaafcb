// Package snap tests snapshots of real machines.
package snap

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

var ctx = context.Background()

// writer is tiny keeping a hash chain over memory that it writes in random order.
func writer(t testing.TB, cpus int) *machine.Machine {
	t.Helper()
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Append = 16<<20, cpus, "run=hog 4 0 rand"
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	t.Cleanup(func() { m.Close() })
	return m
}

func hashOf(t testing.TB, m *machine.Machine) string {
	t.Helper()
	h, err := m.Hash()
	require.NoError(t, err)
	return hex.EncodeToString(h[:])
}

// runTo runs a machine, waiting where memory refuses.
func runTo(t testing.TB, m *machine.Machine, count uint64) (stalls int) {
	t.Helper()
	for {
		switch s := m.Run(count); s {
		case machine.Reached:
			return stalls
		case machine.Stalled:
			stalls++
			<-m.Memory().Room()
		default:
			t.Fatalf("stopped at #%d: %s", m.Count(), s)
		}
	}
}

// TestLive takes snapshots behind a guest that runs on and writes. Each is the
// machine at its pause, to the bit, though the pool for what the guest writes
// meanwhile is far too small; and the guest notices nothing.
func TestLive(t *testing.T) {
	for _, pool := range []int{4, 100, 1 << 20} {
		t.Run(fmt.Sprint(pool), func(t *testing.T) {
			dir := t.TempDir()
			tr, err := tree.Open(tree.Host{}, dir)
			require.NoError(t, err)
			m, calm := writer(t, 1), writer(t, 1)
			changes := m.Changes()
			var base *snapshot.File
			stalls := 0
			for i := range 4 {
				at := uint64(3_000_000 * (i + 1))
				runTo(t, m, at)
				want := hashOf(t, m)
				changed := changes.Since()
				if base == nil {
					changed = nil
				}
				shot, err := m.Shoot(changed, pool)
				require.NoError(t, err)
				done := make(chan error, 1)
				go func() {
					secs, err := shot.Sections()
					if err != nil {
						done <- err
						return
					}
					mo := tree.Moment{
						Meta: snapshot.Meta{Count: shot.Count, Created: int64(i)}, GuestNS: int64(shot.Time),
						Sections: secs, Pages: shot, Base: base, Changed: shot.Changed,
					}
					n, err := tr.Take(ctx, fmt.Sprint("s", i), "", mo, snapshot.Options{Codec: snapshot.S2})
					if err == nil && n.Root != want {
						err = fmt.Errorf("snapshot %d holds %s, the machine was %s", i, n.Root, want)
					}
					done <- err
				}()
				stalls += runTo(t, m, at+1_000_000)
				require.NoError(t, <-done)
				shot.Close()
				changes.Settled()
				n, err := tr.Find(fmt.Sprint("s", i))
				require.NoError(t, err)
				require.Equal(t, i > 0, n.Kept > 0)
				base, err = tr.Machine(n)
				require.NoError(t, err)
				t.Cleanup(func() { base.Close() })
			}
			require.Equal(t, pool == 4, stalls > 0, "stalls: %d", stalls)
			runTo(t, calm, m.Count())
			require.Equal(t, hashOf(t, calm), hashOf(t, m), "the guest noticed")
			for i := range 4 {
				n, err := tr.Find(fmt.Sprint("s", i))
				require.NoError(t, err)
				goesOn(t, tr, n, m.Count(), hashOf(t, calm))
			}
		})
	}
}

// goesOn restores a snapshot and runs it to where another machine was.
func goesOn(t *testing.T, tr *tree.Tree, n tree.Node, count uint64, want string) {
	t.Helper()
	f, err := tr.Machine(n)
	require.NoError(t, err)
	defer f.Close()
	m, err := machine.Load(ctx, f, nil)
	require.NoError(t, err)
	defer m.Close()
	require.Equal(t, n.Count, m.Count())
	runTo(t, m, count)
	require.Equal(t, want, hashOf(t, m))
}

// TestFailedShot: what a snapshot that failed would have held, the next one holds.
func TestFailedShot(t *testing.T) {
	dir := t.TempDir()
	tr, err := tree.Open(tree.Host{}, dir)
	require.NoError(t, err)
	m := writer(t, 1)
	changes := m.Changes()
	take := func(tag string, base *snapshot.File, changed []uint64, c context.Context) (tree.Node, error) {
		shot, err := m.Shoot(changed, 1<<20)
		require.NoError(t, err)
		defer shot.Close()
		secs, err := shot.Sections()
		require.NoError(t, err)
		return tr.Take(c, tag, "", tree.Moment{Sections: secs, Pages: shot, Base: base, Changed: shot.Changed}, snapshot.Options{})
	}
	runTo(t, m, 3_000_000)
	changes.Since()
	n, err := take("a", nil, nil, ctx)
	require.NoError(t, err)
	changes.Settled()
	base, err := tr.Machine(n)
	require.NoError(t, err)
	defer base.Close()
	runTo(t, m, 5_000_000)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = take("b", base, changes.Since(), cancelled)
	require.ErrorIs(t, err, context.Canceled)
	runTo(t, m, 5_100_000)
	n, err = take("b", base, changes.Since(), ctx)
	require.NoError(t, err)
	require.Equal(t, hashOf(t, m), n.Root)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 5, "two nodes, two machines, a head")
	require.FileExists(t, filepath.Join(dir, n.ID.FileName()))
}
