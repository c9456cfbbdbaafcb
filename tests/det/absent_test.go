package det

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/mem"
	"godwit/snapshot"
)

// fork is a copy of m without memory: every page that was ever written is
// promised, none is here.
func fork(t testing.TB, m *machine.Machine) *machine.Machine {
	secs, err := m.Sections()
	require.NoError(t, err)
	n, err := machine.FromSections(secs, &quiet{})
	require.NoError(t, err)
	leaves := m.Memory().Leaves()
	require.NoError(t, n.Memory().Absent(m.Memory().Written(nil), func(p uint32) [16]byte { return leaves[p] }))
	require.NoError(t, n.Restore(secs))
	require.Equal(t, hash(t, m), hash(t, n), "promised memory has its hash")
	return n
}

// puller brings a fork its pages: the wanted one, and others at random.
type puller struct {
	t        *testing.T
	from     *machine.Machine // stands still
	to       *machine.Machine
	rng      *rand.Rand
	prefetch int // pages brought unasked, at most
	stalls   int
	stalled  func() // called at each stall; may be nil
}

func (p *puller) fill(page uint32) {
	b := p.from.Memory().Bytes()
	require.NoError(p.t, p.to.Memory().Fill(page, b[uint64(page)<<12:uint64(page+1)<<12]))
}

// run is Run on the fork, pages coming as they are wanted.
func (p *puller) run(until uint64) machine.Stop {
	for {
		s := p.to.Run(until)
		if s != machine.Stalled {
			return s
		}
		p.stalls++
		why := p.to.Stall()
		require.Equal(p.t, mem.PageAbsent, why.Why)
		require.False(p.t, p.to.Memory().Here(why.Page))
		if p.stalled != nil {
			p.stalled()
		}
		for n := p.rng.IntN(p.prefetch + 1); n > 0; n-- {
			p.fill(p.rng.Uint32N(p.to.Memory().Pages()))
		}
		p.fill(why.Page)
		<-p.to.Memory().Room()
	}
}

// TestAbsent runs forks whose pages all come on demand, and random others
// unasked: at every stall they are in the state of an undisturbed machine at that
// count, and so they end.
func TestAbsent(t *testing.T) {
	for _, engine := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		for _, cpus := range []int{1, 4} {
			for _, prefetch := range []int{0, 9} {
				t.Run(fmt.Sprintf("engine %d, %d vCPUs, prefetch %d", engine, cpus, prefetch), func(t *testing.T) {
					t.Parallel()
					absent(t, engine, cpus, prefetch)
				})
			}
		}
	}
}

// sameAtStall compares a machine that stands before an access that was refused
// with its undisturbed twin at that count. What was due at the count has been
// delivered to the devices of the one, and not of the other.
func sameAtStall(t *testing.T, twin, n *machine.Machine) {
	require.Equal(t, twin.Memory().Leaves(), n.Memory().Leaves(), "memory at #%d", n.Count())
	want, err := twin.Sections()
	require.NoError(t, err)
	got, err := n.Sections()
	require.NoError(t, err)
	due := string(snapshot.Find(want, "machine", "").Data) != string(snapshot.Find(got, "machine", "").Data)
	for i := range want {
		if !due || want[i].Name == "cpu" {
			require.Equal(t, want[i].Data, got[i].Data, "%s/%s at #%d", want[i].Name, want[i].Instance, n.Count())
		}
	}
}

// TestRefusals runs guests under epochs with small pools and dirty budgets down to
// none: they stall again and again, at every stall in the state of an undisturbed
// machine, and end as that.
func TestRefusals(t *testing.T) {
	for _, engine := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		for _, cpus := range []int{1, 4} {
			t.Run(fmt.Sprintf("engine %d, %d vCPUs", engine, cpus), func(t *testing.T) {
				t.Parallel()
				refusals(t, engine, cpus)
			})
		}
	}
}

func refusals(t *testing.T, engine machine.Engine, cpus int) {
	m, twin := bootCPUs(t, cpus), bootCPUs(t, cpus)
	m.SetEngine(engine)
	m.Memory().SetParanoid(engine == machine.EngineFast && cpus == 1)
	rng := rand.New(rand.NewPCG(21, uint64(cpus)))
	c := m.Memory().Consumer("budget")
	c.SetBudget(1)
	e := m.Memory().Epoch(0)
	stalls := map[mem.Why]int{}
	for m.Count() < 6_000_000 {
		until := m.Count() + rng.Uint64N(200_000)
		for m.Run(until) == machine.Stalled {
			why := m.Stall().Why
			stalls[why]++
			if rng.IntN(16) == 0 {
				twin.Run(m.Count())
				sameAtStall(t, twin, m)
			}
			if why == mem.PoolFull || rng.IntN(2) == 0 {
				e.Close()
				e = m.Memory().Epoch([]int{0, 0, 1, 2, 5}[rng.IntN(5)])
			}
			if why == mem.PoolFull && rng.IntN(2) == 0 {
				e.Done(m.Stall().Page)
			}
			if why == mem.BudgetSpent {
				c.Harvest(nil)
				c.SetBudget([]int{0, 0, 1, 2, 5}[rng.IntN(5)])
			}
		}
		if rng.IntN(4) == 0 {
			c.Harvest(nil)
			c.SetBudget(rng.IntN(6))
		}
	}
	require.NoError(t, m.Memory().Check())
	twin.Run(m.Count())
	require.Equal(t, hash(t, twin), hash(t, m))
	require.Greater(t, stalls[mem.PoolFull], 10)
	require.Greater(t, stalls[mem.BudgetSpent], 50)
	e.Close()
	require.NoError(t, m.Close())
	require.NoError(t, twin.Close())
}

func bootCPUs(t *testing.T, cpus int) *machine.Machine {
	cfg := config()
	cfg.CPUs = cpus
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, &quiet{})
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	return m
}

func absent(t *testing.T, engine machine.Engine, cpus, prefetch int) {
	rng := rand.New(rand.NewPCG(uint64(cpus), uint64(prefetch)))
	source, twin := bootCPUs(t, cpus), bootCPUs(t, cpus)
	for range 2 {
		at := source.Count() + rng.Uint64N(3_000_000)
		source.Run(at)
		n := fork(t, source)
		n.SetEngine(engine)
		p := &puller{t: t, from: source, to: n, rng: rng, prefetch: prefetch}
		p.stalled = func() {
			if rng.IntN(8) == 0 {
				twin.Run(n.Count())
				sameAtStall(t, twin, n)
			}
		}
		for _, until := range []uint64{at + rng.Uint64N(100_000), at + 3_000_000} {
			p.run(until)
			twin.Run(until)
			require.Equal(t, hash(t, twin), hash(t, n), "at #%d", n.Count())
		}
		require.Positive(t, p.stalls)
		if rng.IntN(2) == 0 {
			for i, w := range n.Memory().Gone(nil) {
				for ; w != 0; w &= w - 1 {
					p.fill(uint32(i*64 + bits.TrailingZeros64(w)))
				}
			}
			require.Zero(t, n.Memory().Missing())
			require.Equal(t, hash(t, twin), hash(t, n))
		}
		source.Run(n.Count())
		require.NoError(t, n.Close())
	}
	require.NoError(t, source.Close())
	require.NoError(t, twin.Close())
}
