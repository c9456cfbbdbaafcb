package virtio_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices/virtio"
	"godwit/devices/virtio/virtiotest"
)

// FuzzChains gives a driver's whole memory to the fuzzer: descriptors at 0, the
// available ring at 200h, the used ring at 300h, buffers anywhere. Whatever it
// says, a kick ends, and the device works again after a reset.
func FuzzChains(f *testing.F) {
	seed := make([]byte, 0x400)
	copy(seed, []byte{0, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 1, 0, 0, 5, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0})
	copy(seed[0x200:], []byte{0, 0, 1, 0, 0, 0})
	f.Add(seed, uint8(1), true)
	loop := append([]byte{}, seed...)
	loop[14] = 0
	f.Add(loop, uint8(3), false)
	table := append([]byte{}, seed...)
	copy(table[8:], []byte{32, 0, 0, 0, 4, 0, 0, 0})
	f.Add(table, uint8(2), true)
	f.Fuzz(func(t *testing.T, memory []byte, kicks uint8, events bool) {
		features := uint64(modern | virtio.FeatureIndirect)
		if events {
			features |= virtio.FeatureEventIdx
		}
		r := newRig()
		r.Init(features, true)
		q := &r.dev.Virtio.Queues[0]
		q.Desc, q.Driver, q.Device = 0, 0x200, 0x300
		copy(r.RAM.B[:0x1000], memory)
		for range kicks % 8 {
			r.Kick(0)
			require.Less(t, len(r.w.Take()), 10)
		}
		require.NoError(t, r.dev.Restored())
		clear(r.RAM.B)
		r.start(t, modern, true)
		_, room := r.ask(0, "abc", 3)
		r.Kick(0)
		require.Equal(t, "ABC", string(r.Bytes(room)))
		require.Equal(t, []virtiotest.Used{{Head: 0, Len: 3}}, r.Take(0))
	})
}
