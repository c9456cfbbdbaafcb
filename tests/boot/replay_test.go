package boot

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
)

// typist types a few bytes at a time, whenever the guest idles or a poll comes
// round: also in the middle of what the guest does and prints.
type typist struct {
	out
	m     *machine.Machine
	rng   *rand.Rand
	text  []byte
	calls int
}

func (p *typist) Idle(devices.Nanos) bool { return p.Poll() }

func (p *typist) Poll() bool {
	p.calls++
	if n := min(p.rng.IntN(5), len(p.text)); n > 0 && p.calls%8 == 0 {
		p.m.Input(machine.InputConsole, p.text[:n])
		p.text = p.text[n:]
	}
	return p.m.Now() > patience
}

// TestDebianReplay records a session at a shell's prompt, the clock let in by
// jumps now and then, and replays its log to the same hashes and output.
// GODWIT_FULL replays on the reference engine too.
func TestDebianReplay(t *testing.T) {
	for _, cpus := range []int{1, 4} {
		t.Run(fmt.Sprintf("%dcpu", cpus), func(t *testing.T) {
			p := &typist{rng: rand.New(rand.NewPCG(3, uint64(cpus)))}
			p.text = []byte("echo $((6*7))\rls /dev | wc -l\rfor i in 1 2 3; do echo x$i & done; waitt\x7f; date +%Y\rcat /proc/uptime\rpoweroff -f\r")
			p.m = booted(t, cpus, p)
			p.m.SetPoll(1 << 16)
			var log bytes.Buffer
			w, err := machine.NewLogWriter(&log)
			require.NoError(t, err)
			p.m.SetLog(func(in machine.Input) { require.NoError(t, w.Add(in)) })
			start := p.m.Count()
			var marks []uint64
			var want []string
			for s := machine.Reached; s == machine.Reached; {
				require.Less(t, p.m.Count(), start+4_000_000_000, "%s", tail(&p.out))
				s = p.m.Run(p.m.Count() + 40_000_000)
				marks, want = append(marks, p.m.Count()), append(want, hexHash(t, p.m))
				if s == machine.Reached {
					p.m.Wall(p.m.Now() + 1_000_000)
				}
			}
			stop, _ := p.m.End()
			require.Equal(t, machine.Off, stop)
			require.Contains(t, p.String(), "\r\n42\r\n")
			require.Empty(t, p.text, "it powered off before it read everything")
			t.Logf("%d counts, %d hashes", p.m.Count()-start, len(want))

			inputs, err := machine.ReadLog(bytes.NewReader(log.Bytes()))
			require.NoError(t, err)
			require.Greater(t, len(inputs), 20)
			engines := []machine.Engine{machine.EngineFast}
			if os.Getenv("GODWIT_FULL") != "" {
				engines = append(engines, machine.EngineReference)
			}
			for _, e := range engines {
				o := &out{}
				m := booted(t, cpus, o)
				m.SetEngine(e)
				m.Replay(inputs)
				for i, n := range marks {
					m.Run(n)
					require.Equal(t, want[i], hexHash(t, m), "state at #%d", m.Count())
				}
				require.Equal(t, p.String(), o.String())
			}
		})
	}
}
