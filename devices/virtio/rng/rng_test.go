package rng_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices/virtio"
	"godwit/devices/virtio/rng"
	"godwit/devices/virtio/virtiotest"
	"godwit/internal/testkit"
)

func TestRequests(t *testing.T) {
	w, ram, n := &testkit.World{}, virtiotest.NewRAM(1<<20), uint64(0)
	d := rng.New(virtio.Wiring{Bus: virtiotest.NewBus().Bus, Slot: 4, Line: w.Line("inta"), Mem: ram},
		func() uint64 { n++; return 0x1111111111111111 * n })
	drv := virtiotest.NewDriver(d, ram)
	require.EqualValues(t, 0xf, drv.Init(virtio.FeatureVersion1, false))
	odd, rest, big := drv.Room(3), drv.Room(10), drv.Room(5000)
	drv.Add(0, nil, []virtio.Segment{odd, rest})
	drv.Add(0, nil, []virtio.Segment{big})
	drv.Add(0, []virtio.Segment{drv.Buffer([]byte("no room"))}, nil)
	drv.Kick(0)
	assert.Equal(t, []virtiotest.Used{{Head: 0, Len: 13}, {Head: 2, Len: 4096}, {Head: 3, Len: 0}}, drv.Take(0))
	assert.Equal(t, []byte{0x11, 0x11, 0x11}, drv.Bytes(odd))
	assert.Equal(t, []byte{0x11, 0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22, 0x22}, drv.Bytes(rest))
	assert.EqualValues(t, 0, drv.Bytes(big)[4096], "no more than asked and promised")
	assert.EqualValues(t, 2+512, n, "numbers drawn")
	assert.True(t, w.Level("inta"))
	assert.EqualValues(t, 0x10441af4, drv.Window("cfg").Read(0, 4))
}

// TestDeviceConfiguration: a structure that a capability shows must not be empty,
// even where there is nothing to configure.
func TestDeviceConfiguration(t *testing.T) {
	d := rng.New(virtio.Wiring{Bus: virtiotest.NewBus().Bus, Slot: 4, Line: (&testkit.World{}).Line("inta")}, nil)
	drv := virtiotest.NewDriver(d, nil)
	cfg := drv.Window("cfg")
	assert.EqualValues(t, 4, cfg.Read(0x77, 1), "type")
	assert.EqualValues(t, 4, cfg.Read(0x80, 4), "length")
	drv.Window("device").Write(0, 4, 1)
	assert.EqualValues(t, 0, drv.Window("device").Read(0, 4))
}
