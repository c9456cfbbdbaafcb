package boot

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// A guest is told once that it is another one, by the event that its drivers wait
// for, and not otherwise. (Debian's cloud kernel has no driver; one that has says
// "crng reseeded due to virtual machine fork".)
func TestDebianForked(t *testing.T) {
	for _, fork := range []bool{false, true} {
		m, a := talk(t, 1, "sleep 1; dmesg | grep -i 'machine fork'; cat /sys/bus/acpi/devices/QEMUVGID:00/hid /sys/firmware/acpi/interrupts/gpe05", "poweroff -f")
		times := `0`
		if fork {
			m.Input(machine.InputFork, []byte("entropy"))
			times = `1`
		}
		require.Equal(t, machine.Off, m.Run(8_000_000_000), "%s", tail(&a.out))
		t.Logf("%s", tail(&a.out))
		require.Regexp(t, `QEMUVGID\r\n +`+times+` .*enabled`, a.String())
	}
}
