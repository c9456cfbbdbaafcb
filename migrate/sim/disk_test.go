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

// TestDiskSlowdown: a budget of blocks holds up what the guest writes to its disks for no
// more than the share that was allowed; where no such budget does, it is given up in words.
func TestDiskSlowdown(t *testing.T) {
	t.Parallel()
	arrived := 0
	for _, c := range []struct{ rate, slowdown float64 }{{1000, 0.3}, {60, 0.5}, {40, 0.6}, {60, 0.7}, {200, 0.9}} {
		sc := small()
		sc.Options.Mode, sc.Options.MaxDowntime, sc.Options.MaxSlowdown = migrate.ModePre, 400*time.Millisecond, c.slowdown
		sc.Program.Rate, sc.Again = 0, false // a second attempt is held to nothing
		sc.Disks = DiskProgram{Disks: 2, Blocks: 300, Filled: 4, Rate: c.rate}
		var g *Guest
		sc.Prepare = func(x *Guest, _ *Builder) { g = x }
		began, ended := time.Duration(-1), time.Duration(0)
		sc.Events = func(side string, e migrate.Event) {
			if side == "source" && e.What == migrate.EventBudget && began < 0 {
				began = e.T
			}
			if side == "source" && e.Stage == migrate.StageStop && ended == 0 {
				ended = e.T
			}
		}
		res, err := Run(sc)
		require.NoError(t, err)
		require.GreaterOrEqual(t, began, time.Duration(0), "%+v: it takes a budget", c)
		if ended == 0 {
			ended = res.Source.Total
		}
		share := float64(g.disks.held) / float64(ended-began)
		t.Logf("%+v: held up for %v of %v, %.2f; %d rounds, downtime %v, %v", c, g.disks.held, ended-began, share, len(res.Source.Passes), res.Downtime, res.SourceErr)
		require.LessOrEqual(t, share, 1.1*c.slowdown, "%+v", c)
		if res.SourceErr != nil {
			require.Equal(t, migrate.Stalled, migrate.CodeOf(res.SourceErr))
			require.ErrorContains(t, res.SourceErr, "slows what the guest writes to its disks by at most")
			continue
		}
		require.LessOrEqual(t, res.Downtime, 500*time.Millisecond, "%+v", c)
		arrived++
	}
	require.Contains(t, []int{1, 2, 3, 4}, arrived, "some arrive, some cannot")
}
