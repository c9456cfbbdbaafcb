package boot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// A guest is told once that it is another one, by the events that its drivers wait
// for, and not otherwise; VMClock's page says so too. (Debian's cloud kernel has
// neither driver; one that has them says "crng reseeded due to virtual machine fork".)
func TestDebianForked(t *testing.T) {
	const look = "sleep 1; cat /sys/bus/acpi/devices/QEMUVGID:00/hid /sys/bus/acpi/devices/AMZNC10C:00/hid" +
		" /sys/firmware/acpi/interrupts/gpe05 /sys/firmware/acpi/interrupts/gpe06; for a in 00 0c 10 68; do devmem 0xfe0$a; done"
	for _, fork := range []bool{false, true} {
		m, a := talk(t, 1, look, "poweroff -f")
		times, page := `0`, `0x4B4C4356 0x00000000 0x00000000 0x00000000`
		if fork {
			m.Input(machine.InputFork, []byte("entropy"))
			times, page = `1`, `0x4B4C4356 0x00000002 0x00000001 0x00000001`
		}
		require.Equal(t, machine.Off, m.Run(8_000_000_000), "%s", tail(&a.out))
		t.Logf("%s", tail(&a.out))
		out := strings.Join(strings.Fields(a.String()), " ")
		require.Regexp(t, `QEMUVGID AMZNC10C `+times+` \S+ enabled.* `+times+` \S+ enabled.* `+page, out)
	}
}
