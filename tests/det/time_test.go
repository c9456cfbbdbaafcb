package det

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
)

// TestTimes runs the guest up to guest times, which may lie where it waits.
func TestTimes(t *testing.T) {
	const step, perCount = 500_000, 8 // ns
	m, want := boot(t), expected(t)
	rng := rand.New(rand.NewPCG(17, 1))
	until, waits := devices.Nanos(0), 0
	for i, mark := range marks {
		for s := machine.Reached; s == machine.Reached && m.Count()+2*step/perCount < mark; {
			until += devices.Nanos(1 + rng.Int64N(step))
			switch s = m.RunTime(until); {
			case s != machine.Reached:
			case m.Now() < until:
				require.True(t, m.Waits(), "only a guest that waits is early")
				waits++
			default:
				require.Less(t, m.Now(), until+perCount)
			}
		}
		m.Run(mark)
		until = max(until, m.Now())
		require.Equal(t, want[i], hash(t, m), "state at #%d", m.Count())
	}
	require.Greater(t, waits, 10)
	require.NoError(t, m.Close())
}
