package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/machine"
)

// TestDebianHibernates: Debian writes itself to a swap disk, the machine goes off by
// S4, and another one with that disk is booted and goes on where it was.
func TestDebianHibernates(t *testing.T) {
	if os.Getenv("GODWIT_FULL") == "" {
		t.Skip("takes a minute: GODWIT_FULL=1; a short form is tests/system TestHibernates")
	}
	for _, cpus := range []int{1, 4} {
		t.Run(fmt.Sprint(cpus, " vcpus"), func(t *testing.T) {
			swap := filepath.Join(t.TempDir(), "swap.qcow2")
			require.NoError(t, disk.Create(swap, disk.CreateOptions{Format: disk.Qcow2, Size: 256 << 20}))
			m, o := diskDebian(t, cpus, "mkswap /dev/vda; swapon /dev/vda; echo kept > /tmp/k; echo platform > /sys/power/disk;"+
				" echo disk > /sys/power/state; cat /tmp/k; grep -c processor /proc/cpuinfo; swapoff /dev/vda; echo awake=$?", swap)
			require.Equal(t, machine.Hibernated, m.Run(12_000_000_000), "%s", tail(&o.out))
			require.NotContains(t, tail(&o.out), "awake=0")
			t.Logf("asleep at #%d", m.Count())
			require.NoError(t, m.CloseDisks())

			m, o = diskDebian(t, cpus, "cat /sys/class/block/vda/dev > /sys/power/resume; echo here=$?", swap)
			require.Equal(t, machine.Off, m.Run(12_000_000_000), "%s", tail(&o.out))
			require.NotContains(t, tail(&o.out), "here=")
			require.Contains(t, tail(&o.out), fmt.Sprintf("kept\r\n%d\r\nawake=0", cpus))
			t.Logf("off at #%d", m.Count())
			require.NoError(t, m.CloseDisks())
		})
	}
}
