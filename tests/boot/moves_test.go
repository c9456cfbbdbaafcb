package boot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/tests/testkit"
)

// disturb is what may happen to a running machine without a trace.
type disturb func(t *testing.T, m *machine.Machine) *machine.Machine

func bySuspend(t *testing.T, m *machine.Machine) *machine.Machine {
	return suspended(t, context.Background(), m)
}

func bySend(t *testing.T, m *machine.Machine) *machine.Machine {
	return sent(t, m)
}

// byReference runs a stretch on the reference engine.
func byReference(t *testing.T, m *machine.Machine) *machine.Machine {
	m.SetEngine(machine.EngineReference)
	m.Run(m.Count() + 3_000_000)
	m.SetEngine(machine.EngineFast)
	return m
}

// TestDebianHash compares the state in the middle of booting: the same a second
// time, and after suspends and sends at random counts. GODWIT_FULL makes it
// twenty of each, from the first instruction to power-off.
func TestDebianHash(t *testing.T) {
	images := testkit.Debian(t)
	for _, cpus := range []int{1, 4} {
		t.Run(fmt.Sprintf("%dcpu", cpus), func(t *testing.T) {
			end, each, within := uint64(mark), 3, uint64(mark)
			stop, cmd := machine.Reached, ""
			if os.Getenv("GODWIT_FULL") != "" {
				end, each, within = 20_000_000_000, 20, 1_400_000_000
				stop, cmd = machine.Off, `godwit.run="ls -l /bin | sha256sum"`
			}
			start := func() *machine.Machine {
				m, _ := shape{mib: 512, cpus: cpus}.boot(t, images, cmd)
				return m
			}
			finish := func(m *machine.Machine) string {
				require.Equal(t, stop, m.Run(end))
				defer m.Close()
				return fmt.Sprintf("#%d %s", m.Count(), hexHash(t, m))
			}
			want := finish(start())
			require.Equal(t, want, finish(start()), "a second time")

			var kinds []disturb
			for range each {
				kinds = append(kinds, bySuspend, bySend)
			}
			kinds = append(kinds, byReference, byReference)
			rng := rand.New(rand.NewPCG(7, uint64(cpus)))
			rng.Shuffle(len(kinds), func(i, k int) { kinds[i], kinds[k] = kinds[k], kinds[i] })
			at := make([]uint64, len(kinds))
			for i := range at {
				at[i] = rng.Uint64N(within)
			}
			slices.Sort(at)
			m := start()
			for i, count := range at {
				if m.Count() < count {
					require.Equal(t, machine.Reached, m.Run(count))
				}
				m = kinds[i](t, m)
			}
			require.Equal(t, want, finish(m), "after suspends and sends at %v", at)
		})
	}
}
