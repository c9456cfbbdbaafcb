package boot

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// TestDebianVirtio has the guest load the virtio drivers, read entropy and write
// to the virtio console, and compares an undisturbed run with one that is saved
// and loaded again and again meanwhile.
func TestDebianVirtio(t *testing.T) {
	images := guest(t)
	const cmd = `godwit.run="dd if=/dev/hwrng bs=64 count=200 2>/dev/null | wc -c; echo hello-hvc > /dev/hvc0; cat /sys/class/misc/hw_random/rng_current"`
	o := &out{}
	a := newDebian(t, images, cmd, o)
	require.Equal(t, machine.Off, a.Run(5_000_000_000), "%s", tail(o))
	for _, s := range []string{"12800", "hello-hvc", "virtio_rng"} {
		require.Contains(t, o.String(), s)
	}
	want, end := hexHash(t, a), a.Count()
	require.NoError(t, a.Close())

	b := newDebian(t, images, cmd, &out{})
	for i := range uint64(10) {
		require.Equal(t, machine.Reached, b.Run(end-160_000_000+i*15_400_000+i*i*977))
		b = suspended(t, context.Background(), b)
	}
	require.Equal(t, machine.Off, b.Run(5_000_000_000))
	require.Equal(t, want, hexHash(t, b))
	require.NoError(t, b.Close())
}
