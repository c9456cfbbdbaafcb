package boot

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// TestDebianVirtio has the guest read entropy and write to the virtio console,
// and compares an undisturbed run with one that is saved and loaded again and
// again meanwhile.
func TestDebianVirtio(t *testing.T) {
	const cmd = "dd if=/dev/hwrng bs=64 count=200 2>/dev/null | wc -c; echo hello-hvc > /dev/hvc0; cat /sys/class/misc/hw_random/rng_current; poweroff -f"
	m, a := talk(t, 1, cmd)
	start := m.Count()
	require.Equal(t, machine.Off, m.Run(start+2_000_000_000), "%s", tail(&a.out))
	for _, s := range []string{"12800", "\nhello-hvc", "virtio_rng"} {
		require.Contains(t, a.String(), s)
	}
	want, end := hexHash(t, m), m.Count()

	m, _ = talk(t, 1, cmd)
	for i := range uint64(10) {
		require.Equal(t, machine.Reached, m.Run(start+(end-start)*i/10+i*i*977))
		m = suspended(t, context.Background(), m)
	}
	require.Equal(t, machine.Off, m.Run(end+2_000_000_000))
	require.Equal(t, want, hexHash(t, m))
	require.NoError(t, m.Close())
}
