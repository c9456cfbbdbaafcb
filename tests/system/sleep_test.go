package system

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

const (
	facs    = 0x9f000
	resumed = 0x9000 // where a guest goes on
	pm1     = 0x604  // PM1a_CNT
)

// sleeps has a guest write code to where it goes on, and SLP_TYP and SLP_EN.
func sleeps(typ uint32, vector, x uint64, code string) func(p *prog) {
	return func(p *prog) {
		var c prog
		c.x(code)
		for i, b := range c.b {
			p.rbx(resumed + uint64(i)).x("c603").b8(b) // mov byte [rbx], b
		}
		p.write(facs+12, uint32(vector)).put(facs+24, x)
		p.x("66ba0406 66b8").b8(0).b8(uint8(typ<<2 | 0x20)).x("66ef") // out pm1, typ << 10 | SLP_EN
		p.x("f4 ebfd")
	}
}

// A guest that sleeps executes nothing until it is woken, and goes on where the FACS
// says: in real mode, in flat protected mode, or, where it says nothing, from its
// beginning.
func TestSleep(t *testing.T) {
	const real, flat = "8cc8 c1e808 2c02 e6f4", "b009 e6f4" // out 0xf4: CS >> 8, less 2; 9
	for _, c := range []struct {
		name      string
		vector, x uint64
		code      string
		stop      machine.Stop
		exit      uint32
	}{
		{"real mode", resumed, 0, real, machine.Exited, 7},
		{"flat", 1, resumed, flat, machine.Exited, 9},
		{"nowhere", 0, 0, flat, machine.Rebooted, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, cpus := range []int{1, 2} {
				g := guest{cpus: cpus, main: sleeps(1, c.vector, c.x, c.code), noReboot: true}
				for _, e := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
					m := g.boot(t, g.kernel(), e)
					require.Equal(t, machine.Paused, m.Run(limit), "nothing would ever wake it")
					require.True(t, m.Asleep())
					require.True(t, m.Waits())
					at := m.Count()
					require.Equal(t, machine.Paused, m.Run(limit))
					require.Equal(t, at, m.Count())
					m.Input(machine.InputWake, nil)
					require.False(t, m.Asleep())
					require.Equal(t, c.stop, m.Run(limit))
					_, exit := m.End()
					require.Equal(t, c.exit, exit)
					require.NoError(t, m.Close())
				}
			}
		})
	}
}

// S4 is off, S5 as well; other types are nothing.
func TestHibernates(t *testing.T) {
	for typ, want := range map[uint32]machine.Stop{0: machine.Off, 2: machine.Hibernated, 5: machine.Paused} {
		g := guest{main: sleeps(typ, 0, 0, "90")}
		m := g.boot(t, g.kernel(), machine.EngineFast)
		require.Equal(t, want, m.Run(limit), "type %d", typ)
		require.False(t, m.Asleep())
		require.NoError(t, m.Close())
	}
}
