package machine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices/pvpanic"
	"godwit/firmware/tiny"
)

// listener is a host that keeps notes.
type listener struct {
	silent
	lines []string
}

func (l *listener) Note(line string, _ bool) { l.lines = append(l.lines, line) }

// TestNotes has a guest meet an instruction that is not implemented: it gets #UD,
// and the host a line with bytes and address, not one for each time.
func TestNotes(t *testing.T) {
	l := &listener{}
	cfg := DefaultConfig()
	cfg.Memory = 16 << 20
	m, err := New(cfg, Images{Kernel: tiny.Image}, l)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Boot())
	c := m.cpus[0]
	at := c.RIP
	require.NoError(t, m.mem.Load(at, []byte{0xc5, 0xf5, 0xfe, 0xc2})) // vpaddd ymm0, ymm1, ymm2
	for range 3 {
		c.RIP = at
		m.Run(m.Count() + 1)
		m.st.End, c.Activity = 0, 0 // there is no IDT yet: the #UD ends in a triple fault
		require.NoError(t, c.Restored())
	}
	require.Len(t, l.lines, 1)
	require.Contains(t, l.lines[0], "c5 f5 fe c2")
	require.Contains(t, l.lines[0], "no such instruction")
	require.Equal(t, uint64(3), c.Stats().Undefined)
}

// TestPanicNote has a guest write to the panic port again and again: the host is
// told once.
func TestPanicNote(t *testing.T) {
	l := &listener{}
	cfg := DefaultConfig()
	cfg.Memory = 16 << 20
	m, err := New(cfg, Images{Kernel: tiny.Image}, l)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Boot())
	for range 3 {
		m.ports.Write(pvpanic.Port, 1, pvpanic.Panicked)
	}
	require.Equal(t, []string{"the guest's kernel says at #0 that it has panicked"}, l.lines)
	m.ports.Write(pvpanic.Port, 1, 0x80)
	require.Len(t, l.lines, 1, "an unknown event")
}
