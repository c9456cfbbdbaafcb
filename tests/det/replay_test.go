package det

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/machine"
)

// typist is a host that types a session, a few bytes whenever the guest idles or
// a poll comes round.
type typist struct {
	quiet
	m     *machine.Machine
	rng   *rand.Rand
	lines []byte
}

func (p *typist) Poll() bool { p.typeSome(); return false }

func (p *typist) Idle(devices.Nanos) bool {
	if len(p.lines) == 0 {
		return true
	}
	p.typeSome()
	return false
}

func (p *typist) typeSome() {
	n := min(p.rng.IntN(4), len(p.lines))
	if n > 0 {
		p.m.Input(machine.InputConsole, p.lines[:n])
		p.lines = p.lines[n:]
	}
}

const session = "help\rmem\rspin 1\rcount 10\rselfx\x7ftest\rsleep 20\rcheck\rpoweroff\r"

func console(t *testing.T, h machine.Host) *machine.Machine {
	cfg := config()
	cfg.Append = ""
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, h)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	t.Cleanup(func() { m.Close() })
	return m
}

// TestLogReplays records what a typist does and replays it from the log file,
// on the other engine, to the same hashes and the same output.
func TestLogReplays(t *testing.T) {
	h := &typist{rng: rand.New(rand.NewPCG(5, 6)), lines: []byte(session)}
	m := console(t, h)
	h.m = m
	var log bytes.Buffer
	w, err := machine.NewLogWriter(&log)
	require.NoError(t, err)
	m.SetLog(func(in machine.Input) { require.NoError(t, w.Add(in)) })
	var hashes []string
	for _, n := range []uint64{2_000_000, 10_000_000, 1 << 40} {
		m.Run(n)
		hashes = append(hashes, hash(t, m))
	}
	require.Empty(t, h.lines, "the guest powered off before it read everything")
	inputs, err := machine.ReadLog(bytes.NewReader(log.Bytes()))
	require.NoError(t, err)
	require.Greater(t, len(inputs), 10)

	for _, e := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		q := &quiet{}
		r := console(t, q)
		r.SetEngine(e)
		r.Replay(inputs)
		for i, n := range []uint64{2_000_000, 10_000_000, 1 << 40} {
			r.Run(n)
			require.Equal(t, hashes[i], hash(t, r), "state at #%d", r.Count())
		}
		require.Equal(t, h.String(), q.String())
	}
}
