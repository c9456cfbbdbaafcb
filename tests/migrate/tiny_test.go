package migrate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
)

// onward is for how many counts a guest that arrived is compared with one that
// never moved.
func onward() uint64 {
	if full {
		return 1_000_000_000
	}
	return 10_000_000
}

func newTiny(t testing.TB, mib int, cmd string, warm uint64) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = uint64(mib)<<20, "run="+cmd
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	require.Equal(t, machine.Reached, m.Run(warm))
	return m
}

func TestTiny(t *testing.T) {
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto} {
		for _, pattern := range []string{"seq", "rand", "page", "alt"} {
			t.Run(fmt.Sprintf("%s/%s", mode, pattern), func(t *testing.T) {
				m := newTiny(t, 64, "hog 24 0 "+pattern, 60_000_000)
				j := newJourney(t, m, migrate.Options{Mode: mode, Observe: 100 * time.Millisecond})
				sent, got, err := j.travel()
				require.NoError(t, err)
				require.Equal(t, sent.Root, got.Root)
				j.same(sent)
			})
		}
	}
}

// same checks that the guest goes on at its destination as it would have at home.
func (j *journey) same(r migrate.Report) {
	t := j.t
	end := r.Count + onward()
	j.to.runTo(t, end)
	require.NoError(t, j.from.do(func() error {
		require.Equal(t, r.Count, j.from.m.Count(), "it has not run since")
		require.Equal(t, r.Root, hash(t, j.from.m))
		return nil
	}))
	j.dep.Resume()
	j.from.runTo(t, end)
	require.Equal(t, j.from.hash(t), j.to.hash(t))
	j.from.stop()
	j.to.stop()
	require.NoError(t, j.from.m.Close())
	require.NoError(t, j.to.m.Close())
}
