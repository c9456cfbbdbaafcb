package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// TestSteer: plain pre-copy of a guest that it never catches, and somebody asks, at
// every message of it, for a budget or for post-copy.
func TestSteer(t *testing.T) {
	t.Parallel()
	sc := Scenario{
		Program: Program{Pages: 100, Filled: 90, Area: 60, Rate: 1e6, Pattern: "seq", Content: "random", State: 500},
		Link:    Link{Bandwidth: 1e6, RTT: 2 * time.Millisecond}, Costs: costs, After: 10 * time.Millisecond,
	}
	for _, mode := range modes {
		for _, what := range []What{Throttle, PostCopy} {
			ends := map[string]int{}
			for at := 1; ; at += 3 {
				sc.Faults = []Fault{{At: at, What: what}}
				sc.Options = migrate.Options{Mode: mode, OnStall: migrate.StallCancel, MaxDowntime: 50 * time.Millisecond, Observe: 50 * time.Millisecond, Codec: "none"}
				told := false
				sc.Events = func(side string, e migrate.Event) {
					told = told || side == "source" && (e.What == migrate.EventWarning || e.What == migrate.EventSwitch && e.Reason[:9] == "asked for")
				}
				res, err := Run(sc)
				require.NoError(t, err, "%s, %s at %d", mode, what, at)
				if !told { // it was over, or had already given up
					break
				}
				var asked *migrate.Error
				r := &res.Source
				switch {
				case mode != migrate.ModeAuto && mode != migrate.ModePre:
					require.NoError(t, res.SourceErr, "%s: what is asked for changes nothing", mode)
					require.Equal(t, mode, r.Chosen)
					ends["as before"]++
				case res.SourceErr != nil:
					require.ErrorAs(t, res.SourceErr, &asked)
					t.Fatalf("%s, %s at %d: %v", mode, what, at, res.SourceErr)
				case what == PostCopy:
					require.Equal(t, migrate.ModeHybrid, r.Chosen)
					require.Less(t, res.Downtime, 100*time.Millisecond)
					ends["post-copy"]++
				default:
					require.Equal(t, migrate.ModePre, r.Chosen)
					require.Positive(t, r.Slowdown)
					require.LessOrEqual(t, res.Downtime, 50*time.Millisecond)
					ends["budget"]++
				}
			}
			t.Logf("%s, %s: %v", mode, what, ends)
			assert.Len(t, ends, 1, "%s, %s", mode, what)
		}
	}
}

// TestBudgetIsHeldAtOnce: a budget that is asked for in the midst of a round holds the
// guest in that round.
func TestBudgetIsHeldAtOnce(t *testing.T) {
	t.Parallel()
	var budgets []migrate.Event
	var passes []migrate.PassStats
	res, err := Run(Scenario{
		Program: Program{Pages: 100, Filled: 90, Area: 60, Rate: 1e6, Pattern: "seq", Content: "random", State: 500},
		Link:    Link{Bandwidth: 1e6, RTT: 2 * time.Millisecond}, Costs: costs, After: 10 * time.Millisecond,
		Options: migrate.Options{Mode: migrate.ModePre, MaxDowntime: 50 * time.Millisecond, Codec: "none", Observe: -1},
		Faults:  []Fault{{At: 21, What: Throttle}},
		Events: func(side string, e migrate.Event) {
			switch {
			case side != "source":
			case e.What == migrate.EventBudget:
				budgets = append(budgets, e)
			case e.What == migrate.EventPass:
				passes = append(passes, *e.Pass)
			}
		},
	})
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	require.NotEmpty(t, budgets)
	require.EqualValues(t, 1, budgets[0].Round)
	require.EqualValues(t, 45, budgets[0].Budget, "half of the 90 pages of the first round")
	require.EqualValues(t, 45, passes[0].Budget)
	require.EqualValues(t, 45, passes[0].Dirtied)
	require.Positive(t, passes[0].Stalled)
}
