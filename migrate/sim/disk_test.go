package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// TestDisksTravel: what was there and what is written meanwhile arrives, zeros without
// their bytes; a guest that writes faster than the link is slowed down, or the attempt
// given up where that was not allowed.
func TestDisksTravel(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		sc := small()
		sc.Options.Mode = mode
		sc.Disks = DiskProgram{Disks: 2, Blocks: 30, Filled: 4, Rate: 5}
		res, err := Run(sc)
		require.NoError(t, err)
		require.NoError(t, res.SourceErr)
		for _, d := range []migrate.DiskStats{res.Source.Disks, res.Dest.Disks} {
			require.GreaterOrEqual(t, d.Blocks, uint64(60), mode)
			require.GreaterOrEqual(t, d.Zero, uint64(20), mode)
			require.Less(t, d.Wire, d.Raw-d.Zero*migrate.BlockSize+64*d.Blocks+4096, "%s: zeros have no bytes", mode)
		}
		if mode != migrate.ModePost {
			require.GreaterOrEqual(t, res.Source.Kinds[migrate.DiskRef].Pages, uint64(2), "%s: a page that is on a disk", mode)
			require.Equal(t, res.Source.Kinds[migrate.DiskRef].Pages, res.Dest.Kinds[migrate.DiskRef].Pages, mode)
		}
	}
	for stall, fails := range map[migrate.Stall]bool{migrate.StallBudget: false, migrate.StallCancel: true, migrate.StallStop: false, migrate.StallPost: false} {
		sc := small()
		sc.Options.Mode, sc.Options.OnStall, sc.Options.MaxDowntime = migrate.ModePre, stall, 400*time.Millisecond
		sc.Disks = DiskProgram{Disks: 2, Blocks: 30, Filled: 4, Rate: 1000} // 64 MB/s where the link has 2
		budget := 0
		sc.Events = func(_ string, e migrate.Event) {
			if e.What == migrate.EventBudget && e.Unit == "blocks" {
				budget++
			}
		}
		res, err := Run(sc)
		require.NoError(t, err, stall)
		if fails {
			require.Equal(t, migrate.Stalled, migrate.CodeOf(res.SourceErr), "%v", res.SourceErr)
			continue
		}
		require.NoError(t, res.SourceErr, stall)
		if stall == migrate.StallBudget {
			require.Positive(t, budget)
			require.LessOrEqual(t, res.Downtime, 500*time.Millisecond)
		}
		t.Logf("%s: %d budgets, %d passes, downtime %v", stall, budget, len(res.Source.Passes), res.Downtime)
	}
}
