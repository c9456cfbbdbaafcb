package sim

import (
	"time"

	"godwit/migrate"
)

// FromSeed makes a small scenario with faults: a guest of some 200 KiB on a link
// of some MB/s, every strategy, and hosts and connections that die anywhere.
func FromSeed(seed uint64) Scenario {
	x := mix(seed ^ 0x60d817)
	pick := func(n uint64) uint64 {
		x = mix(x)
		return x % n
	}
	between := func(a, b uint64) uint64 { return a + pick(b-a) }
	p := Program{
		Pages: uint32(between(16, 80)), Seed: seed, State: int(pick(6000)),
		Rate:    float64(between(0, 80_000)),
		Pattern: Patterns[pick(4)], Content: Contents[pick(3)],
	}
	p.Filled = uint32(between(1, uint64(p.Pages)))
	p.Area = uint32(between(1, uint64(p.Pages)))
	if p.Pattern == "byte" {
		p.Rate /= 64
	}
	sc := Scenario{
		Program: p, Seed: seed, Horizon: 20 * time.Minute, After: 50 * time.Millisecond, Again: pick(4) == 0,
		Link: Link{
			Bandwidth: float64(between(100_000, 4_000_000)),
			RTT:       time.Duration(pick(40_000)) * time.Microsecond,
			Loss:      float64(pick(3)) / 100,
		},
		Costs: Costs{
			Harvest: time.Duration(pick(500)) * time.Microsecond, Stop: time.Duration(pick(2000)) * time.Microsecond,
			Load: time.Duration(pick(3000)) * time.Microsecond, Journal: time.Duration(pick(5000)) * time.Microsecond,
			Activate: time.Duration(pick(1000)) * time.Microsecond,
		},
		Options: migrate.Options{
			Mode:        []migrate.Mode{migrate.ModeAuto, migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid}[pick(5)],
			OnStall:     []migrate.Stall{migrate.StallBudget, migrate.StallPost, migrate.StallStop, migrate.StallCancel}[pick(4)],
			MaxDowntime: time.Duration(between(10, 200)) * time.Millisecond,
			Observe:     time.Duration(between(1, 300)) * time.Millisecond,
			Recover:     time.Duration(between(1, 20)) * time.Second,
			Codec:       []string{"none", "none", "none", "none", "none", "none", "none", ""}[pick(8)],
		},
	}
	if pick(4) == 0 {
		sc.Options.Bandwidth = float64(between(100_000, 2_000_000))
	}
	for range pick(4) {
		sc.Faults = append(sc.Faults, Fault{
			At:   int(pick(90)),
			What: []What{Cut, Cut, Cut, CrashSource, CrashDest, Blackout, CancelSource, CancelSource, CancelDest, Throttle, PostCopy}[pick(11)],
			For:  time.Duration(pick(uint64([]time.Duration{time.Millisecond, time.Second, 70 * time.Second}[pick(3)]))),
		})
	}
	if pick(3) == 0 {
		blocks := int(between(1, 7))
		sc.Disks = DiskProgram{Disks: int(between(1, 3)), Blocks: blocks, Filled: int(pick(uint64(blocks + 1))), Rate: float64(pick(30))}
		sc.Link.Bandwidth += 1e6
	}
	if pick(3) == 0 {
		sc.Image = ImageProgram{Pieces: int(between(1, uint64(p.Filled)+1)), Rate: float64(pick(3) * pick(200)), Stale: pick(4) == 0}
		sc.Image.Flip = int(pick(2) * between(imageHead, uint64(imageHead+sc.Image.Pieces*pageSize)))
	}
	sc.Options.CheckOnly = pick(16) == 0
	return sc
}
