package sim

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

var modes = []migrate.Mode{migrate.ModeAuto, migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid}

func small() Scenario {
	return Scenario{
		Program: Program{Pages: 40, Filled: 30, Area: 12, Rate: 20_000, Pattern: "seq", Content: "random", State: 500, Seed: 7},
		Link:    Link{Bandwidth: 2e6, RTT: 4 * time.Millisecond},
		Costs:   Costs{Harvest: 100 * time.Microsecond, Stop: time.Millisecond, Load: time.Millisecond, Journal: time.Millisecond},
		Options: migrate.Options{Observe: 20 * time.Millisecond, MaxDowntime: 50 * time.Millisecond, Codec: "none", Recover: 5 * time.Second},
		Horizon: 10 * time.Minute, After: 20 * time.Millisecond, Again: true,
	}
}

// TestEveryBoundary cuts, kills and cancels at every message of every strategy,
// and cancels twice.
func TestEveryBoundary(t *testing.T) {
	t.Parallel()
	boundaries(t, modes, small())
}

// TestEveryBoundaryWithDisks is the same with disks that travel along.
func TestEveryBoundaryWithDisks(t *testing.T) {
	t.Parallel()
	sc := small()
	sc.Disks = DiskProgram{Disks: 1, Blocks: 3, Filled: 2, Rate: 60}
	boundaries(t, []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost}, sc)
}

func boundaries(t *testing.T, modes []migrate.Mode, sc Scenario) {
	runs, ends := 0, map[string]int{}
	for _, mode := range modes {
		sc.Options.Mode, sc.Faults = mode, nil
		whole, err := Run(sc)
		require.NoError(t, err)
		require.NoError(t, whole.SourceErr)
		for at := range whole.Messages {
			for _, what := range []What{Cut, CrashSource, CrashDest, Blackout, CancelSource, CancelDest} {
				sc.Faults = []Fault{{At: at, What: what, For: 300 * time.Millisecond}}
				if what == CancelSource {
					sc.Faults = append(sc.Faults, Fault{At: at, What: what}, Fault{At: at + 1, What: what})
				}
				res, err := Run(sc)
				require.NoError(t, err, "%s, %s at message %d", mode, what, at)
				if (what == Cut || what == Blackout) && res.Source.Peer != "" && res.SourceErr != nil { // else nobody had answered yet
					assert.ErrorContains(t, res.SourceErr, "before it took over", "%s, %s at message %d: COMMIT was lost", mode, what, at)
				}
				runs++
				ends[string(what)+": "+end(res)]++
			}
		}
	}
	t.Logf("%d runs: %v", runs, ends)
}

// TestDamage flips bits, cuts frames short, repeats and exchanges them, a thousand
// times without TLS: all is noticed, and nobody is harmed.
func TestDamage(t *testing.T) {
	t.Parallel()
	counted := map[migrate.Mode]map[bool]int{}
	for _, mode := range modes {
		n := map[bool]int{}
		sc := small()
		sc.Options.Mode, counted[mode] = mode, n
		sc.Corrupt = func(fromSource bool, b []byte) []byte {
			n[fromSource]++
			return b
		}
		_, err := Run(sc)
		require.NoError(t, err)
	}
	for seed := range uint64(1000) {
		x := mix(seed)
		side := x%8 != 0
		// The last pieces of a side may go unread: it is all over then.
		mode := modes[x>>50%5]
		target, kind, n := int(x>>8%uint64(counted[mode][side]-2)), x>>40%4, 0
		var kept []byte
		hit := false
		sc := small()
		sc.Again = seed%10 == 0
		sc.Seed, sc.Options.Mode = seed, mode
		sc.Corrupt = func(fromSource bool, b []byte) []byte {
			if fromSource != side || hit && kept == nil {
				return b
			}
			n++
			switch {
			case kept != nil:
				b, kept = append(bytes.Clone(b), kept...), nil
			case n-1 != target:
			case kind == 0:
				hit = true
				b[x>>20%uint64(len(b))] ^= 1 << (x % 8)
			case kind == 1:
				hit = true
				b = b[:x>>20%uint64(len(b))]
				if len(b) == 0 {
					hit = false // nothing at all: the next piece shows it
				}
			case kind == 2:
				hit = true
				b = append(b, b...)
			default:
				hit, kept = true, bytes.Clone(b)
				b = nil
			}
			return b
		}
		res, err := Run(sc)
		name := fmt.Sprintf("seed %d: kind %d of piece %d, from source %v, %s", seed, kind, target, side, sc.Options.Mode)
		require.NoError(t, err, name)
		// A loss of whole frames shows when they are missed; pieces of two
		// connections may be exchanged when both are no longer needed.
		if hit && kept == nil && (kind < 3 || mode != migrate.ModePost && mode != migrate.ModeHybrid) {
			assert.NotZero(t, res.Damaged+res.Source.Cuts+res.Dest.Cuts, name)
		}
	}
}

// TestAdversaries: whatever the guest writes, plain pre-copy is called hopeless
// within three passes and says what would help; every other way finishes.
func TestAdversaries(t *testing.T) {
	t.Parallel()
	for _, p := range []Program{
		{Pattern: "seq", Content: "random"}, {Pattern: "seq", Content: "text"}, {Pattern: "random", Content: "random"},
	} {
		p.Pages, p.Filled, p.Area, p.Rate, p.State = 320, 280, 200, 2e6, 1000
		for _, o := range []migrate.Options{
			{},
			{OnStall: migrate.StallPost},
			{OnStall: migrate.StallStop},
			{Mode: migrate.ModePost},
			{Mode: migrate.ModeHybrid},
			{MaxSlowdown: 0.1},
			{Mode: migrate.ModePre},
			{Mode: migrate.ModePre, OnStall: migrate.StallCancel},
		} {
			o.Observe, o.Codec, o.MaxDowntime = 200*time.Millisecond, "none", 100*time.Millisecond
			name := fmt.Sprintf("%+v %s stall %s slowdown %v", p, o.Mode, o.OnStall, o.MaxSlowdown)
			res, err := Run(Scenario{Program: p, Link: Link{Bandwidth: 1e6, RTT: 2 * time.Millisecond}, Costs: costs, Options: o, After: 10 * time.Millisecond})
			require.NoError(t, err, name)
			if o.OnStall == migrate.StallCancel {
				var e *migrate.Error
				require.ErrorAs(t, res.SourceErr, &e, name)
				assert.Equal(t, migrate.Stalled, e.Code)
				assert.Greater(t, e.Verdict.NeedBPS, 1e6)
				assert.Less(t, e.Verdict.NeedRate, 1.0)
				assert.NotEmpty(t, e.Verdict.Writers)
				assert.LessOrEqual(t, len(res.Source.Passes), 3)
				continue
			}
			require.NoError(t, res.SourceErr, name)
			assert.Equal(t, migrate.Hopeless, res.Verdicts[0].Answer, name)
			switch {
			case o.OnStall == "" && o.Mode != migrate.ModePost && o.Mode != migrate.ModeHybrid && o.MaxSlowdown == 0:
				assert.NotZero(t, res.Source.Budget, name)
				assert.NotZero(t, res.Source.Slowdown, name)
				assert.LessOrEqual(t, res.Downtime, o.MaxDowntime, name)
				assert.LessOrEqual(t, len(res.Source.Passes), 10, name)
			case o.MaxSlowdown > 0:
				assert.LessOrEqual(t, res.Source.Slowdown, 1.3*o.MaxSlowdown, name)
				assert.Equal(t, migrate.ModeHybrid, res.Source.Chosen, name)
			}
		}
	}
}

// TestBadLinks: slow and far, lossy, ten times slower at half, and dead for 30 s.
func TestBadLinks(t *testing.T) {
	t.Parallel()
	p := Program{Pages: 200, Filled: 150, Area: 40, Rate: 2000, Pattern: "seq", Content: "text", State: 2000}
	slow := Link{Bandwidth: 125_000, RTT: 200 * time.Millisecond, Loss: 0.01}
	drop, dead := slow, slow
	drop.DropAt, drop.DropTo = 4*time.Second, 12_500
	dead.Outages = []Outage{{3 * time.Second, 30 * time.Second}}
	for i, l := range []Link{slow, drop, dead} {
		for _, mode := range modes {
			res, err := Run(Scenario{Program: p, Link: l, Options: migrate.Options{Mode: mode, Codec: "none", MaxDowntime: time.Second}, Seed: uint64(i)})
			require.NoError(t, err, "%d %s", i, mode)
			require.NoError(t, res.SourceErr, "%d %s", i, mode)
			t.Logf("link %d %-6s total %v downtime %v predicted %v cuts %d", i, mode, res.Source.Total.Round(time.Millisecond), res.Downtime.Round(time.Millisecond), res.Source.Predicted.Round(time.Millisecond), res.Source.Cuts)
		}
	}
}

// TestCutsResume: pages that have arrived do not travel twice.
func TestCutsResume(t *testing.T) {
	t.Parallel()
	sc := small()
	sc.Program.Pages, sc.Program.Filled, sc.Program.Rate = 2000, 2000, 0
	sc.Options.Mode = migrate.ModePre
	whole, err := Run(sc)
	require.NoError(t, err)
	sc.Faults = []Fault{{At: whole.Messages / 2, What: Cut}}
	res, err := Run(sc)
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	assert.Equal(t, 1, res.Source.Cuts)
	assert.Greater(t, res.Source.Kinds[migrate.Keep].Pages, uint64(500))
	assert.Less(t, res.Source.Sent, whole.Source.Sent*11/10)
}

// TestPostCopyLoses names exactly what is lost when the source dies, and the guest
// does not run on what is not there.
func TestPostCopyLoses(t *testing.T) {
	t.Parallel()
	sc := small()
	sc.Program.Pages, sc.Program.Filled = 400, 400
	sc.Options.Mode = migrate.ModePost
	active := 0
	whole, err := Run(sc)
	require.NoError(t, err)
	for at := whole.Messages - 20; at < whole.Messages; at++ {
		sc.Faults = []Fault{{At: at, What: CrashSource}}
		res, err := Run(sc)
		require.NoError(t, err)
		var lost *migrate.Lost
		if errors.As(res.DestErr, &lost) {
			active++
			n := 0
			for p := range uint32(400) {
				if lost.Pages[p>>6]>>(p&63)&1 != 0 {
					n++
				}
			}
			assert.Equal(t, n, lost.Count)
			assert.True(t, res.RunsAtDest)
		}
	}
	assert.NotZero(t, active)
	// Cut, and cut again while recovering: nothing is lost.
	sc.Faults = []Fault{{At: whole.Messages - 15, What: Cut, For: time.Second}, {At: whole.Messages - 12, What: Cut, For: time.Second}, {At: whole.Messages - 10, What: Cut}}
	res, err := Run(sc)
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	assert.GreaterOrEqual(t, res.Source.Cuts, 2)
}

// TestDamagedMemory: a page that does not arrive as it was is named, sent again,
// and only then the guest is handed over; if that does not help it stays.
func TestDamagedMemory(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		for _, times := range []int{1, 1000} {
			sc := small()
			sc.Options.Mode = mode
			var repaired []uint64
			sc.Events = func(side string, e migrate.Event) {
				if side == "source" && e.What == migrate.EventRepair {
					repaired = append(repaired, e.Total)
				}
			}
			left := times
			sc.Again = false
			sc.Prepare = func(_ *Guest, b *Builder) {
				b.Spoil = func(p uint32, page []byte) {
					if p == 20 && left > 0 {
						left--
						page[99] ^= 4
					}
				}
			}
			res, err := Run(sc)
			name := fmt.Sprintf("%s, %d times", mode, times)
			require.NoError(t, err, name)
			post := mode == migrate.ModePost
			switch {
			case times == 1:
				require.NoError(t, res.SourceErr, name)
				assert.Equal(t, !post, len(repaired) == 1 && repaired[0] == 1, name)
			case post:
				var lost *migrate.Lost
				require.ErrorAs(t, res.DestErr, &lost, name)
				assert.NotZero(t, lost.Pages[0]>>20&1)
			default:
				var m *migrate.RootMismatch
				require.ErrorAs(t, res.SourceErr, &m, name)
				assert.Equal(t, []uint32{20}, m.Pages, name)
				assert.True(t, res.RunsAtSource, name)
			}
		}
	}
}

// TestRefusals reach both sides, and the guest stays.
func TestRefusals(t *testing.T) {
	t.Parallel()
	differ := migrate.Mismatch{Field: "cpu.features", Have: "sse4.2", Want: "avx2"}
	for name, prepare := range map[string]func(b *Builder){
		"check":    func(b *Builder) { b.Refuse = []migrate.Mismatch{differ} },
		"reserve":  func(b *Builder) { b.Fail = map[string]error{"reserve": errors.New("no memory left")} },
		"finish":   func(b *Builder) { b.Fail = map[string]error{"finish": errors.New("uart0: fifo holds 99")} },
		"journal":  func(b *Builder) { b.Fail = map[string]error{"journal": errors.New("disk full")} },
		"activate": func(b *Builder) { b.Fail = map[string]error{"activate": errors.New("no door")} },
		"write":    func(b *Builder) { b.Fail = map[string]error{"write": errors.New("no space left on device")} },
		"flush":    func(b *Builder) { b.Fail = map[string]error{"flush": errors.New("input/output error")} },
	} {
		for _, mode := range modes {
			sc := small()
			sc.Options.Mode, sc.Again = mode, true
			sc.Disks = DiskProgram{Disks: 1, Blocks: 3, Filled: 2, Rate: 20}
			sc.Prepare = func(_ *Guest, b *Builder) { prepare(b) }
			res, err := Run(sc)
			require.NoError(t, err, name)
			require.Error(t, res.SourceErr, name)
			require.Error(t, res.DestErr, name)
			assert.Equal(t, migrate.CodeOf(res.DestErr), migrate.CodeOf(res.SourceErr), name)
			assert.True(t, res.RunsAtSource, name)
			var e *migrate.Error
			if require.ErrorAs(t, res.SourceErr, &e); name == "check" {
				assert.Equal(t, []migrate.Mismatch{differ}, e.Mismatches)
			}
		}
	}
}

// TestCheckOnly gives a verdict and leaves both sides as they were.
func TestCheckOnly(t *testing.T) {
	t.Parallel()
	sc := small()
	sc.Options.CheckOnly, sc.Again = true, false
	sc.Horizon = 10 * time.Second
	res, err := Run(sc)
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	assert.True(t, res.RunsAtSource)
	assert.Len(t, res.Verdicts, 1)
	assert.Equal(t, migrate.Cancelled, migrate.CodeOf(res.DestErr), "it waits for the next")
}

// TestCheckIsNoMore: a check moves nothing, whatever becomes of its connections, and
// whoever lost one still gets a verdict.
func TestCheckIsNoMore(t *testing.T) {
	t.Parallel()
	sc := small()
	sc.Options.CheckOnly, sc.Again = true, false
	sc.Horizon = time.Minute
	whole, err := Run(sc)
	require.NoError(t, err)
	for at := range whole.Messages {
		sc.Faults = []Fault{{At: at, What: Cut, For: 10 * time.Millisecond}}
		res, err := Run(sc)
		require.NoError(t, err, "at message %d", at)
		require.True(t, res.RunsAtSource, "at message %d", at)
		if res.SourceErr == nil {
			require.NotEmpty(t, res.Verdicts, "at message %d", at)
		}
	}
}

// TestChoiceAfterCut: what is chosen before the first page is, also where the
// connection was lost before.
func TestChoiceAfterCut(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		sc := small()
		sc.Options.Mode = mode
		for at := range 12 {
			sc.Faults = []Fault{{At: at, What: Cut, For: 10 * time.Millisecond}}
			res, err := Run(sc)
			require.NoError(t, err, "%s, at message %d", mode, at)
			if res.SourceErr == nil {
				require.NotContains(t, []migrate.Mode{"", migrate.ModeAuto}, res.Source.Chosen, "%s, at message %d", mode, at)
			}
		}
	}
}

// TestCancelledDestAnswers: a destination that is cancelled while its last word is
// lost still tells the source, whichever of the two has the guest.
func TestCancelledDestAnswers(t *testing.T) {
	t.Parallel()
	ends := map[string]int{}
	for _, mode := range modes {
		sc := small()
		sc.Options.Mode = mode
		whole, err := Run(sc)
		require.NoError(t, err)
		for at := range whole.Messages {
			for _, notice := range []time.Duration{300 * time.Millisecond, 70 * time.Second} {
				sc.Faults = []Fault{{At: at, What: CancelDest}, {At: at, What: Cut, For: notice}}
				res, err := Run(sc)
				require.NoError(t, err, "%s at message %d", mode, at)
				ends[end(res)]++
			}
		}
	}
	assert.NotZero(t, ends["moved"])
	assert.NotZero(t, ends["runs here"])
	assert.Zero(t, ends["runs there, the source does not know"])
	t.Logf("%v", ends)
}

// TestFence: the owner is recorded before COMMIT and again when the guest comes
// back; a record that fails leaves the guest.
func TestFence(t *testing.T) {
	t.Parallel()
	for at := range 40 {
		var owners []string
		sc := small()
		sc.Options.Mode, sc.Again = migrate.ModeStop, false
		sc.Options.Fence = func(epoch uint64, away bool) error {
			owners = append(owners, fmt.Sprint(epoch, away))
			return nil
		}
		sc.Faults = []Fault{{At: at, What: Cut, For: time.Second}}
		res, err := Run(sc)
		require.NoError(t, err)
		switch {
		case res.RunsAtDest:
			assert.Equal(t, "1 true", owners[len(owners)-1])
		case len(owners) > 0:
			assert.Equal(t, "2 false", owners[len(owners)-1], "at message %d", at)
		}
	}
	sc := small()
	sc.Options.Fence = func(uint64, bool) error { return errors.New("disk full") }
	sc.Again = false
	res, err := Run(sc)
	require.NoError(t, err)
	require.ErrorContains(t, res.SourceErr, "disk full")
	assert.True(t, res.RunsAtSource)
}
