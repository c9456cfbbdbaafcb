package boot

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
	"godwit/snapshot"
)

// toSleep has a guest sleep in S3, with an alarm of the clock in so many seconds, or
// without one.
func toSleep(alarm int) []string {
	lines := []string{"grep . /sys/power/state /sys/power/mem_sleep"}
	if alarm > 0 {
		lines = append(lines, fmt.Sprintf("echo +%d > /sys/class/rtc/rtc0/wakealarm", alarm))
	}
	return append(lines, "echo mem > /sys/power/state",
		"echo rc=$? $(cat /sys/power/suspend_stats/success) times, $(nproc) vcpus; ls -l /sys/class/net | tail -n 1", "poweroff -f")
}

// doze pauses a guest as soon as it sleeps: in virtual time it does not sleep long.
type doze struct {
	*asker
	near bool
}

func (d *doze) Poll() bool {
	if !d.near && bytes.Contains(d.Bytes(), []byte("Suspending console")) {
		d.near = true
		d.m.SetPoll(1)
	}
	return d.m.Asleep() || d.asker.Poll()
}

// sleepUntil runs a guest until it sleeps.
func sleepUntil(t *testing.T, m *machine.Machine, a *asker) {
	m.SetHost(&doze{asker: a})
	require.Equal(t, machine.Paused, m.Run(m.Count()+4_000_000_000), "%s", tail(&a.out))
	require.True(t, m.Asleep(), "%s", tail(&a.out))
	m.SetHost(a)
	m.SetPoll(1 << 18)
}

// Debian sleeps in S3 and goes on where it was, woken by its clock, a key, the power
// button or the host; so does one that was saved and loaded while it slept, with the
// hash of one that was not.
func TestDebianSleeps(t *testing.T) {
	for _, c := range []struct {
		name  string
		cpus  int
		alarm int
		wake  func(m *machine.Machine)
	}{
		{"alarm", 1, 300, nil},
		{"alarm, 4 vcpus", 4, 300, nil},
		{"host", 1, 0, func(m *machine.Machine) { m.Input(machine.InputWake, nil) }},
		{"key", 1, 0, func(m *machine.Machine) { m.Input(machine.InputConsole, []byte("\r")) }},
		{"button", 1, 0, func(m *machine.Machine) { m.Input(machine.InputPower, nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, a := talk(t, c.cpus, toSleep(c.alarm)...)
			sleepUntil(t, m, a)
			fell, at := m.Now(), m.Count()
			path := filepath.Join(t.TempDir(), "asleep")
			_, err := m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
			require.NoError(t, err)
			hash := end(t, m, a, c.wake)
			if c.alarm > 0 {
				require.Greater(t, m.Now()-fell, devices.Nanos(c.alarm-5)*1e9, "it slept")
			}
			require.Regexp(t, `rc=0 1 times, `+fmt.Sprint(c.cpus)+` vcpus`, a.String())
			t.Logf("slept from #%d, %.3f s to #%d, %.3f s", at, float64(fell)/1e9, m.Count(), float64(m.Now())/1e9)

			b := &asker{lines: a.rest}
			b.m = load(t, path, b)
			defer b.m.Close()
			require.True(t, b.m.Asleep())
			require.Equal(t, hash, end(t, b.m, b, c.wake), "saved and loaded while it slept")
		})
	}
}

// end wakes a guest, has it run to its end, and gives its state.
func end(t *testing.T, m *machine.Machine, a *asker, wake func(m *machine.Machine)) string {
	if a.rest = append([]string(nil), a.lines...); wake != nil {
		wake(m)
	}
	require.Equal(t, machine.Off, m.Run(m.Count()+4_000_000_000), "%s", tail(&a.out))
	h, err := m.Hash()
	require.NoError(t, err)
	return fmt.Sprint(m.Count(), " ", hex.EncodeToString(h[:]))
}
