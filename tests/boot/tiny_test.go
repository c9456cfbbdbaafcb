package boot

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/machine"
)

// out collects what the guest prints.
type out struct{ bytes.Buffer }

func (o *out) Poll() bool              { return false }
func (o *out) Idle(devices.Nanos) bool { return true }
func (o *out) Output(b byte)           { o.WriteByte(b) }

func newTiny(t testing.TB, mib uint64, cmd string) (*machine.Machine, *out) {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = mib<<20, cmd
	o := &out{}
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m, o
}

func hash(t testing.TB, m *machine.Machine) [32]byte {
	h, err := m.Hash()
	require.NoError(t, err)
	return h
}

const tinyWork = "run=selftest; hog 4 0 seq 2; hog 4 0 rand 2; sleep 30; check; poweroff"

func TestTinyPowersOff(t *testing.T) {
	m, o := newTiny(t, 64, tinyWork)
	s := m.Run(2_000_000_000)
	t.Logf("%s #%d\n%s", s, m.Count(), o.String())
	require.Equal(t, machine.Off, s)
}

// TestEnginesAgree runs the reference beside the block engine and compares at
// many counts.
func TestEnginesAgree(t *testing.T) {
	a, _ := newTiny(t, 64, tinyWork)
	b, _ := newTiny(t, 64, tinyWork)
	b.SetEngine(machine.EngineReference)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := uint64(0); ; {
		n += rng.Uint64N(400_000)
		sa, sb := a.Run(n), b.Run(n)
		require.Equal(t, sb, sa)
		if !bytes.Equal([]byte(dump(t, a)), []byte(dump(t, b))) || hash(t, a) != hash(t, b) {
			require.Equal(t, dump(t, b), dump(t, a), "at #%d", n)
			require.Equal(t, hash(t, b), hash(t, a), "memory at #%d", n)
		}
		if sa != machine.Reached {
			return
		}
	}
}

func dump(t testing.TB, m *machine.Machine) string {
	secs, err := m.Sections()
	require.NoError(t, err)
	var b bytes.Buffer
	for _, s := range secs {
		if s.State {
			b.WriteString(s.ID())
			b.Write(s.Data)
		}
	}
	return b.String()
}
