package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices/vmclock"
	"godwit/firmware"
	"godwit/firmware/acpi"
	"godwit/snapshot"
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
	assert.EqualValues(t, 1<<acpi.GenIDEvent|1<<acpi.VMClockEvent, m.pm.GPESTS)

	again := newTiny(t, ClockVirtual)
	again.Replay(log)
	again.Run(1_000_001)
	assert.Equal(t, hashOf(t, m), hashOf(t, again))
	m.st.Reset = true
	m.Run(2_000_000)
	assert.NotEqual(t, shown(same), shown(m), "a reset does not make it the old one")

	// Files from before there were identities, and from before there was this clock.
	for _, gone := range []string{"vmclock0", "vmgenid0"} {
		secs := slices.DeleteFunc(must(same.Sections()), func(s snapshot.Section) bool {
			return s.Instance == "vmclock0" || s.Instance == gone
		})
		old := must(FromSections(secs, silent{}))
		for p := range same.mem.Pages() {
			require.NoError(t, old.mem.Restore(p, same.mem.Bytes()[uint64(p)<<12:][:4096]))
		}
		require.NoError(t, old.Restore(secs))
		leaves := same.mem.Leaves()
		root := must(snapshot.Root(same.mem.Pages(), func(p uint32) [16]byte { return leaves[p] }, secs))
		assert.Equal(t, string(root[:]), hashOf(t, old), "it is the machine that was saved")
		old.Input(InputFork, []byte("entropy"))
		old.Input(InputDisrupt, nil)
		old.st.Reset = true
		old.Run(2_000_000)
		assert.Len(t, must(old.Sections()), len(secs), "and stays one without")
		assert.NoError(t, old.Close())
	}
}

// What VMClock shows in memory: seq_count, disruptions and generation.
func clockShown(t *testing.T, m *Machine) [3]uint64 {
	b := make([]byte, vmclock.Size)
	require.True(t, m.mem.Read(firmware.VMClock, b))
	assert.Equal(t, m.vmclock.Page(), b)
	le := binary.LittleEndian
	return [3]uint64{uint64(le.Uint32(b[12:])), le.Uint64(b[16:]), le.Uint64(b[104:])}
}

// The guest is told that its counter was disrupted where its clock catches up or, by
// the wall clock, stood still; in virtual time it stands still without a trace.
func TestDisrupted(t *testing.T) {
	for _, c := range []struct {
		clock  string
		policy ClockPolicy
		gap    int64
		times  uint64
	}{
		{ClockVirtual, ClockFreeze, 5, 0},
		{ClockVirtual, ClockJump, 0, 0},
		{ClockVirtual, ClockJump, 5, 1},
		{ClockVirtual, ClockSlew, 5, 1},
		{ClockWall, ClockFreeze, 5, 1},
		{ClockWall, ClockJump, 5, 1},
		{ClockWall, ClockSlew, -5, 1},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			m, still := newTiny(t, c.clock), newTiny(t, c.clock)
			var log []Input
			m.SetLog(func(in Input) { log = append(log, in) })
			m.Run(1_000_000)
			m.CatchUp(c.policy, c.gap)
			assert.Equal(t, [3]uint64{2 * c.times, c.times, 0}, clockShown(t, m))
			assert.Equal(t, uint16(c.times)<<acpi.VMClockEvent, m.pm.GPESTS)
			still.Run(1_000_000)
			if c.times == 0 {
				assert.Equal(t, hashOf(t, still), hashOf(t, m))
				return
			}
			m.Input(InputFork, []byte("entropy"))
			assert.Equal(t, [3]uint64{4, 2, 1}, clockShown(t, m))
			m.Run(1_000_100) // the clock has caught up
			still.Replay(log)
			still.Run(1_000_100)
			assert.Equal(t, hashOf(t, still), hashOf(t, m))
			m.st.Reset = true
			m.Run(2_000_000)
			assert.Equal(t, [3]uint64{4, 2, 1}, clockShown(t, m), "a reset forgets nothing")
		})
	}
}
