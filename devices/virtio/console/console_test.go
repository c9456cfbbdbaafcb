package console_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/virtio"
	"godwit/devices/virtio/console"
	"godwit/devices/virtio/virtiotest"
	"godwit/internal/testkit"
)

type sink struct{ got []byte }

func (s *sink) Send(b byte) { s.got = append(s.got, b) }

type rig struct {
	*virtiotest.Driver
	*console.Device
	out   sink
	w     *testkit.World
	ready int
}

func newRig(t *testing.T) *rig {
	r := &rig{w: &testkit.World{}}
	ram := virtiotest.NewRAM(1 << 20)
	r.Device = console.New(virtio.Wiring{
		Bus: virtiotest.NewBus().Bus, Slot: 5, Line: r.w.Line("inta"), Mem: ram,
		Stall: func() { r.w.Logf("stall") },
	}, &r.out, func() { r.ready++ })
	r.Driver = virtiotest.NewDriver(r.Device, ram)
	require.EqualValues(t, 0xf, r.Init(virtio.FeatureVersion1|1, false))
	return r
}

func TestTransmit(t *testing.T) {
	r := newRig(t)
	long := make([]byte, 700)
	for i := range long {
		long[i] = byte(i)
	}
	r.Add(1, []virtio.Segment{r.Buffer([]byte("hel")), r.Buffer([]byte("lo"))}, nil)
	r.Add(1, []virtio.Segment{r.Buffer(long)}, nil)
	r.Kick(1)
	assert.Equal(t, "hello"+string(long), string(r.out.got))
	assert.Equal(t, []virtiotest.Used{{Head: 0}, {Head: 2}}, r.Driver.Take(1))
	assert.True(t, r.w.Level("inta"))
	r.Add(1, []virtio.Segment{{Addr: 0, Len: 64<<10 + 1}}, nil)
	r.Kick(1)
	assert.Len(t, r.out.got, 705, "a request without end")
	assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1))
}

func TestReceive(t *testing.T) {
	r := newRig(t)
	assert.EqualValues(t, 0, r.Device.Room())
	assert.Zero(t, r.Receive([]byte("lost?")))
	a, b, c := r.Driver.Room(4), r.Driver.Room(2), r.Driver.Room(8)
	r.Add(0, nil, []virtio.Segment{a, b})
	r.Add(0, nil, []virtio.Segment{c})
	r.Kick(0)
	assert.Equal(t, 1, r.ready)
	assert.EqualValues(t, 14, r.Device.Room())
	assert.Equal(t, 5, r.Receive([]byte("12345")))
	assert.Equal(t, "12345\x00", string(r.Bytes(a))+string(r.Bytes(b)))
	assert.True(t, r.w.Level("inta"))
	assert.EqualValues(t, 8, r.Device.Room(), "a buffer is used once")
	assert.Equal(t, 8, r.Receive([]byte("abcdefghij")))
	assert.Equal(t, []virtiotest.Used{{Head: 0, Len: 5}, {Head: 2, Len: 8}}, r.Driver.Take(0))
	assert.EqualValues(t, 0, r.Device.Room())
}

func TestReceiveStalls(t *testing.T) {
	r := newRig(t)
	r.Add(0, nil, []virtio.Segment{r.Driver.Room(4)})
	r.Kick(0)
	r.RAM.Full = true
	assert.Zero(t, r.Receive([]byte("abc")))
	assert.Equal(t, []string{"stall"}, r.w.Take())
	r.RAM.Full = false
	r.Retry()
	assert.Equal(t, 2, r.ready, "asks for it again")
	assert.Equal(t, 3, r.Receive([]byte("abc")))
}

func TestRoomForgivesBadRings(t *testing.T) {
	r := newRig(t)
	r.Offer(0, 99)
	assert.EqualValues(t, 0, r.Device.Room())
	assert.EqualValues(t, 0xf, r.Window("common").Read(0x14, 1), "asking has no effects")
	assert.Zero(t, r.Receive([]byte("abc")))
	assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1))
}

func TestConfiguration(t *testing.T) {
	r := newRig(t)
	dev := r.Window("device")
	assert.EqualValues(t, 25<<16|80, dev.Read(0, 4))
	r.Resize(132, 43)
	assert.EqualValues(t, 43<<16|132, dev.Read(0, 4))
	assert.EqualValues(t, 2, r.Window("isr").Read(0, 1))
	r.Reset(devices.Warm)
	assert.EqualValues(t, 132, dev.Read(0, 2))
	assert.EqualValues(t, 1, dev.Read(4, 8))
	dev.Write(8, 4, 'X')
	assert.Equal(t, "X", string(r.out.got), "in an emergency nothing has to be set up")
	r.Reset(devices.PowerOn)
	assert.EqualValues(t, 80, dev.Read(0, 2))
}
