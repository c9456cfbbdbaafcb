package machine

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/firmware"
	"godwit/firmware/acpi"
)

// A machine that becomes another one draws other random numbers and shows another
// identity in memory; a replay does so too, and a machine saved before does it after.
func TestBecome(t *testing.T) {
	shown := func(m *Machine) string {
		b := make([]byte, 16)
		require.True(t, m.mem.Read(firmware.GenID, b))
		assert.Equal(t, m.genID.GUID[:], b)
		return string(b)
	}
	m, same := newTiny(t, ClockVirtual), newTiny(t, ClockVirtual)
	var log []Input
	m.SetLog(func(in Input) { log = append(log, in) })
	m.Run(1_000_000)
	assert.Equal(t, shown(same), shown(m))
	m.Input(InputFork, []byte("entropy"))
	m.Run(1_000_001)
	same.Run(1_000_001)
	assert.NotEqual(t, shown(same), shown(m))
	assert.NotEqual(t, same.st.PRNG, m.st.PRNG)
	assert.EqualValues(t, 1<<acpi.GenIDEvent, m.pm.GPESTS)

	again := newTiny(t, ClockVirtual)
	again.Replay(log)
	again.Run(1_000_001)
	assert.Equal(t, hashOf(t, m), hashOf(t, again))
	m.st.Reset = true
	m.Run(2_000_000)
	assert.NotEqual(t, shown(same), shown(m), "a reset does not make it the old one")

	// A file from before there were identities.
	secs := must(same.Sections())
	for i, s := range secs {
		if s.Instance == "vmgenid0" {
			secs = append(secs[:i], secs[i+1:]...)
			break
		}
	}
	assert.NoError(t, must(FromSections(secs, silent{})).Restore(secs))
}
