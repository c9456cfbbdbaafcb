package sim

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// workloads are guests from idle to those that no link keeps up with.
func workloads() (all []Program) {
	for _, pattern := range Patterns {
		for _, rate := range []float64{0.05e6, 0.5e6, 1.5e6, 5e6} {
			p := Program{Pages: 800, Filled: 600, Area: 250, Rate: rate, Pattern: pattern, Content: "random", State: 4000, Seed: uint64(rate)}
			if pattern == "byte" {
				p.Rate /= 200
			}
			all = append(all, p)
		}
	}
	for _, content := range []string{"zero", "text"} {
		for _, rate := range []float64{0.5e6, 5e6} {
			all = append(all, Program{Pages: 800, Filled: 600, Area: 200, Rate: rate, Pattern: "seq", Content: content, State: 4000})
		}
	}
	return all
}

func links() []Link {
	return []Link{
		{Bandwidth: 0.8e6, RTT: 2 * time.Millisecond},
		{Bandwidth: 2.5e6, RTT: 20 * time.Millisecond},
		{Bandwidth: 2.5e6, RTT: time.Millisecond},
		{Bandwidth: 10e6, RTT: time.Millisecond},
		{Bandwidth: 2.5e6, RTT: 5 * time.Millisecond, Loss: 0.002},
	}
}

var costs = Costs{Harvest: 200 * time.Microsecond, Stop: time.Millisecond, Load: 2 * time.Millisecond, Journal: time.Millisecond}

// TestPredictions: over 20 guests and 5 links the downtime predicted at the stop
// is what it becomes, what was asked for is kept, and "hopeless" is never said of
// a guest that pre-copy alone would have moved.
func TestPredictions(t *testing.T) {
	t.Parallel()
	var errs []float64
	asked, late, hopeless := 0, 0, 0
	for i, p := range workloads() {
		for j, l := range links() {
			name := fmt.Sprintf("guest %d (%s %s %.2f MB/s) on link %d", i, p.Pattern, p.Content, p.Rate/1e6, j)
			o := migrate.Options{MaxDowntime: 150 * time.Millisecond, Observe: 500 * time.Millisecond, Codec: "none"}
			res, err := Run(Scenario{Program: p, Link: l, Costs: costs, Options: o, Seed: uint64(i*10 + j)})
			require.NoError(t, err, name)
			require.NoError(t, res.SourceErr, name)
			e := math.Abs(res.Source.Predicted.Seconds()-res.Downtime.Seconds()) / res.Downtime.Seconds()
			errs = append(errs, e)
			if asked++; res.Downtime > o.MaxDowntime {
				late++
			}
			v := res.Verdicts[0]
			t.Logf("%-48s %-9s at first %8v, at the stop %8v, was %8v (%3.0f %%) passes %2d budget %4d slow %3.0f %% total %v %s", name, v.Answer, v.Downtime.Round(time.Millisecond),
				res.Source.Predicted.Round(100*time.Microsecond), res.Downtime.Round(100*time.Microsecond), 100*e, len(res.Source.Passes), res.Source.Budget, 100*res.Source.Slowdown, res.Source.Total.Round(time.Millisecond), res.Source.Chosen)
			if slices.ContainsFunc(res.Verdicts, func(v migrate.Verdict) bool { return v.Answer == migrate.Hopeless }) {
				hopeless++
				o.Mode, o.OnStall, o.Timeout = migrate.ModePre, migrate.StallCancel, 10*time.Second
				alone, err := Run(Scenario{Program: p, Link: l, Costs: costs, Options: o, Seed: uint64(i*10 + j)})
				require.NoError(t, err, name)
				assert.Error(t, alone.SourceErr, "%s was called hopeless", name)
			}
		}
	}
	slices.Sort(errs)
	median, within := errs[len(errs)/2], 0
	for _, e := range errs {
		if e <= 0.20 {
			within++
		}
	}
	t.Logf("%d runs: error of the prediction: median %.1f %%, %d within 20 %%; %d over the downtime asked for; %d called hopeless",
		asked, 100*median, within, late, hopeless)
	assert.Less(t, median, 0.10)
	assert.Equal(t, asked, within)
	assert.LessOrEqual(t, late*100, asked)
	assert.NotZero(t, hopeless)
}
