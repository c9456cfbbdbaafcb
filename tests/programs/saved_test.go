//go:build linux && amd64

package programs

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// TestCompilingSaved saves and loads a guest at random counts while gcc compiles,
// assembles, links and runs: its hash in the end is that of one that was left alone.
func TestCompilingSaved(t *testing.T) {
	long(t)
	for _, cpus := range []int{1, 4} {
		path := saved(t, atPrompt(t, cpus))
		m, o := resumed(t, path)
		begin := m.Count()
		typed(t, m, o, "test-gcc", 20_000_000_000)
		end := m.Count()
		want, err := m.Hash()
		require.NoError(t, err)

		m, _ = loaded(t, path) // many, of which a test's clean-up would keep all
		m.Input(machine.InputConsole, []byte("test-gcc;echo DONE=$?\r"))
		at, rng := make([]uint64, 25), rand.New(rand.NewPCG(uint64(cpus), 11))
		for i := range at {
			at[i] = begin + rng.Uint64N(end-begin)
		}
		slices.Sort(at)
		for _, count := range at {
			if count > m.Count() {
				require.Equal(t, machine.Reached, m.Run(count))
			}
			path := saved(t, m)
			require.NoError(t, m.Close())
			m, _ = loaded(t, path)
			require.NoError(t, os.Remove(path)) // all of it is loaded
		}
		require.Equal(t, machine.Reached, m.Run(end))
		got, err := m.Hash()
		require.NoError(t, err)
		require.Equal(t, want, got, "%d vcpus", cpus)
		require.NoError(t, m.Close())
		t.Logf("%d vcpus: %d saves in %d M counts", cpus, len(at), (end-begin)/1_000_000)
	}
}
