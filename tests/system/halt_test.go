package system

import (
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

// halting boots a multiboot kernel, under which a timer ticks.
func halting(t *testing.T, code string, cpus int, clock string) *machine.Machine {
	b, at := multiboot(0x20)
	at(0x20, code)
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Clock = 16<<20, cpus, clock
	m, err := machine.New(cfg, machine.Images{Kernel: b}, nil)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	return m
}

// A kernel that halts with interrupts off is done, though a timer ticks, unless what
// ticks may wake it. There is no interrupt table: what wakes it is a triple fault, or
// an INIT that has it run what there is at the reset vector.
func TestHaltForGood(t *testing.T) {
	const (
		nmi, init = "00040000", "00050000" // delivery modes
		masked    = "00040100"
		lint0     = "c70550 03e0fe " // movl to LVT LINT0
		lint1     = "c70560 03e0fe "
		pin2      = "c70500 00c0fe 14000000 c70510 00c0fe " // movl to the low half of the timer's entry
	)
	for _, c := range []struct {
		name, code string
		cpus       int
		clock      string
		want       machine.Stop
	}{
		{"interrupts off", "fa f4", 1, machine.ClockVirtual, machine.Idle},
		{"off, again and again", "fa f4 ebfc", 1, machine.ClockVirtual, machine.Idle},
		{"beside one that never began", "fa f4", 2, machine.ClockVirtual, machine.Idle},
		{"by the wall clock", "fa f4", 1, machine.ClockWall, machine.Reached},
		{"on", "fb f4", 1, machine.ClockVirtual, machine.Tripled},
		{"LINT0 is NMI", lint0 + nmi + "fa f4", 1, machine.ClockVirtual, machine.Tripled},
		{"LINT0 is NMI, masked", lint0 + masked + "fa f4", 1, machine.ClockVirtual, machine.Idle},
		{"LINT1 is NMI, which nobody drives", lint1 + nmi + "fa f4", 1, machine.ClockVirtual, machine.Idle},
		{"a pin of the I/O APIC is NMI", pin2 + nmi + "fa f4", 1, machine.ClockVirtual, machine.Tripled},
		{"a masked pin", pin2 + masked + "fa f4", 1, machine.ClockVirtual, machine.Idle},
		{"a pin is INIT", pin2 + init + "fa f4", 1, machine.ClockVirtual, machine.Reached},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
				m := halting(t, c.code, c.cpus, c.clock)
				m.SetEngine(e)
				var got machine.Stop
				if c.clock == machine.ClockWall {
					got = m.RunTime(3600e9)
					assert.GreaterOrEqual(t, m.Now(), devices.Nanos(3599e9), "time goes on")
				} else {
					got = m.Run(100_000)
				}
				assert.Equal(t, c.want, got)
				assert.Equal(t, c.want == machine.Idle, m.Deaf())
				require.NoError(t, m.Close())
			}
		})
	}
}

// Where a guest has halted for good it has one state, whether it was saved and loaded
// or sent on the way or there, in what steps it was run, and at whatever time.
func TestHaltedForGoodIsAState(t *testing.T) {
	const code = "b9 00300000 e2fe fa f4 ebfc" // mov ecx, 3000h; loop; cli; hlt
	const end = 0x3000 + 3
	hash := func(m *machine.Machine) string {
		h, err := m.Hash()
		require.NoError(t, err)
		return hex.EncodeToString(h[:])
	}
	m := halting(t, code, 2, machine.ClockVirtual)
	require.Equal(t, machine.Idle, m.Run(1<<40))
	require.EqualValues(t, end, m.Count())
	want, now := hash(m), m.Now()
	require.Equal(t, machine.Idle, m.Run(1<<40))
	require.Equal(t, machine.Reached, m.Run(end))
	require.Equal(t, machine.Reached, m.RunTime(3600e9), "nothing happens before then")
	require.Equal(t, want, hash(m))
	require.Equal(t, now, m.Now())
	require.NoError(t, m.Close())

	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 24 {
		at := rng.Uint64N(end + end/2)
		m := halting(t, code, 2, machine.ClockVirtual)
		for m.Count() < min(at, end) {
			m.RunTime(m.Now() + devices.Nanos(rng.Uint64N(20_000)))
			m.Run(min(at, end, m.Count()+rng.Uint64N(2000)))
		}
		if at > end {
			m.Run(at)
			m.RunTime(m.Now() + 1e9)
		}
		next := testkit.Move(t, m, nil, migrate.ModeStop)
		if i%2 == 0 {
			path := filepath.Join(t.TempDir(), "vm")
			_, err := next.Save(t.Context(), snapshot.Disk{}, path, 0, snapshot.Options{})
			require.NoError(t, err)
			require.NoError(t, next.Close())
			f, err := snapshot.Open(snapshot.Disk{}, path)
			require.NoError(t, err)
			next, err = machine.Load(t.Context(), f, nil)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		require.Equal(t, machine.Idle, next.Run(1<<40))
		require.Equal(t, want, hash(next), "moved at #%d", at)
		require.NoError(t, m.Close())
		require.NoError(t, next.Close())
	}
}

// An input reaches a guest that has halted for good: the reset button has it begin anew.
func TestResetAfterHalt(t *testing.T) {
	m := halting(t, "fa f4", 1, machine.ClockVirtual)
	require.Equal(t, machine.Idle, m.Run(1<<40))
	count := m.Count()
	for _, k := range []machine.InputKind{machine.InputPower, machine.InputFork, machine.InputDisrupt} {
		m.Input(k, nil)
		require.Equal(t, machine.Idle, m.Run(1<<40), "it does not take these")
		require.Equal(t, count, m.Count())
	}
	m.Input(machine.InputReset, nil)
	require.Equal(t, machine.Idle, m.Run(1<<40))
	require.Equal(t, 2*count, m.Count())
	require.NoError(t, m.Close())
}
