package migrate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
	"godwit/tests/testkit"
)

// TestMoments moves a guest before its first instruction, early in its boot, with a
// reset due, with typed bytes that its serial port has no room for, and when it is off.
func TestMoments(t *testing.T) {
	run := func(n uint64, want machine.Stop) func(*testing.T, *machine.Machine) {
		return func(t *testing.T, m *machine.Machine) { require.Equal(t, want, m.Run(n)) }
	}
	for _, at := range []struct {
		name string
		do   func(t *testing.T, m *machine.Machine)
	}{
		{"before the first instruction", run(0, machine.Reached)},
		{"after one", run(1, machine.Reached)},
		{"while it boots", run(20_000, machine.Reached)},
		{"at a reset", func(t *testing.T, m *machine.Machine) {
			require.Equal(t, machine.Reached, m.Run(2_000_000))
			m.Input(machine.InputReset, nil)
		}},
		{"with a backlog", func(t *testing.T, m *machine.Machine) {
			require.Equal(t, machine.Reached, m.Run(50_000))
			m.Input(machine.InputConsole, make([]byte, 500))
			require.Positive(t, m.Backlog())
		}},
		{"off", run(forever, machine.Off)},
	} {
		for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre} {
			t.Run(fmt.Sprintf("%s/%s", at.name, mode), func(t *testing.T) {
				cfg := machine.DefaultConfig()
				cfg.Memory, cfg.Append = 16<<20, "run=hog 1 0 rand 3; poweroff"
				ready := func() *machine.Machine {
					m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, newVM())
					require.NoError(t, err)
					require.NoError(t, m.Boot())
					at.do(t, m)
					return m
				}
				m, twin := ready(), ready()
				n := testkit.Move(t, m, newVM(), mode)
				require.Equal(t, hash(t, twin), hash(t, n))
				require.Equal(t, machine.Off, twin.Run(forever))
				require.Equal(t, machine.Off, n.Run(forever))
				require.Equal(t, twin.Count(), n.Count())
				require.Equal(t, hash(t, twin), hash(t, n))
				for _, x := range []*machine.Machine{m, twin, n} {
					require.NoError(t, x.Close())
				}
			})
		}
	}
}
