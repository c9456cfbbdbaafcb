package boot

import (
	"bytes"
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

func TestTinyPowersOff(t *testing.T) {
	m, o := newTiny(t, 64, "run=mem; selftest; check; poweroff")
	m.SetEngine(machine.EngineReference)
	s := m.Run(200_000_000)
	t.Logf("%s #%d\n%s", s, m.Count(), o.String())
	require.Equal(t, machine.Off, s)
}
