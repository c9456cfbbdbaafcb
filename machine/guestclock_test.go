package machine

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/firmware/tiny"
)

func newTiny(t testing.TB, clock string) *Machine {
	cfg := DefaultConfig()
	cfg.Memory, cfg.Append, cfg.Clock = 32<<20, "run=hog 1 0 seq", clock
	m, err := New(cfg, Images{Kernel: tiny.Image}, silent{})
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m
}

// A clock that catches up by any policy never goes back, shows at the end what it
// should, and does so again in a replay.
func TestCatchUp(t *testing.T) {
	const gap, ahead = 3_000_000, 20_000_000
	for policy, want := range map[ClockPolicy]devices.Nanos{ClockFreeze: 0, ClockJump: gap, ClockSlew: gap} {
		t.Run(string(policy), func(t *testing.T) {
			m, still := newTiny(t, ClockVirtual), newTiny(t, ClockVirtual)
			var log []Input
			m.SetLog(func(in Input) { log = append(log, in) })
			m.Run(1_000_003)
			at := m.Now()
			m.CatchUp(policy, gap)
			last := at
			for c := m.Count(); c < ahead; c += 997 {
				m.Run(c)
				require.GreaterOrEqual(t, m.Now(), last)
				last = m.Now()
			}
			m.Run(ahead)
			still.Run(ahead)
			assert.InDelta(t, float64(still.Now()+want), float64(m.Now()), 20, "nanoseconds")
			num, den := m.Rate()
			assert.Equal(t, []uint32{8, 1}, []uint32{num, den})

			again := newTiny(t, ClockVirtual)
			again.Replay(log)
			again.Run(ahead)
			assert.Equal(t, m.Now(), again.Now())
			assert.Equal(t, hashOf(t, m), hashOf(t, again))
		})
	}
}

// A clock that is catching up goes on doing so where its machine is restored.
func TestCatchUpTravels(t *testing.T) {
	m := newTiny(t, ClockVirtual)
	m.Run(1_000_000)
	m.CatchUp(ClockSlew, 3_000_000)
	m.Run(2_000_000)
	secs, err := m.Sections()
	require.NoError(t, err)
	n, err := FromSections(secs, silent{})
	require.NoError(t, err)
	defer n.Close()
	for p := range m.mem.Pages() {
		require.NoError(t, n.mem.Restore(p, m.mem.Bytes()[uint64(p)<<12:][:4096]))
	}
	require.NoError(t, n.Restore(secs))
	m.Run(20_000_000)
	n.Run(20_000_000)
	assert.Equal(t, hashOf(t, m), hashOf(t, n))
}

// In wall-clock time the host slews.
func TestLag(t *testing.T) {
	m := newTiny(t, ClockWall)
	before := m.Now()
	m.CatchUp(ClockSlew, 5)
	m.CatchUp(ClockSlew, -5)
	assert.Equal(t, before, m.Now())
	assert.EqualValues(t, 5, m.Lag())
	assert.Zero(t, m.Lag())
	m.CatchUp(ClockJump, 7)
	assert.Equal(t, before+7, m.Now())
}

func TestGap(t *testing.T) {
	m := newTiny(t, ClockWall)
	m.Run(1000) // 8000 ns
	secs := append(must(m.configSections()), m.clocksAt(1e15))
	m.Run(2000)
	assert.EqualValues(t, 50_000-8000, m.gap(secs, 1e15+50_000))
	assert.Zero(t, m.gap(secs, 1e15-1), "the host's clock went back")
	assert.Zero(t, m.gap(nil, 1e15), "nothing is known")
	assert.EqualValues(t, uint64(maxGap)-8000, m.gap(secs, 1<<62))
}

func hashOf(t testing.TB, m *Machine) string {
	h, err := m.Hash()
	require.NoError(t, err)
	return string(h[:])
}
