package balloon_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/virtio"
	"godwit/devices/virtio/balloon"
	"godwit/devices/virtio/virtiotest"
	"godwit/internal/testkit"
)

type rig struct {
	*virtiotest.Driver
	*balloon.Device
	w *testkit.World
}

func (r *rig) Discard(pa uint64) { r.w.Logf("discard %x", pa) }

func newRig(t *testing.T, features uint64) *rig {
	r := &rig{w: &testkit.World{}}
	r.begin(t, features, r)
	return r
}

func (r *rig) begin(t *testing.T, features uint64, host balloon.Discarder) {
	ram := virtiotest.NewRAM(1 << 20)
	r.Device = balloon.New(virtio.Wiring{
		Bus: virtiotest.NewBus().Bus, Slot: 6, Line: r.w.Line("inta"), Mem: ram,
		Stall: func() { r.w.Logf("stall") },
	}, host)
	r.Driver = virtiotest.NewDriver(r.Device, ram)
	require.EqualValues(t, 0xf, r.Init(virtio.FeatureVersion1|features, false))
}

func (r *rig) numbers(pfns ...uint32) virtio.Segment {
	var b []byte
	for _, n := range pfns {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return r.Buffer(b)
}

func TestInflateAndDeflate(t *testing.T) {
	r := newRig(t, 0)
	dev := r.Window("device")
	r.Resize(3)
	assert.True(t, r.w.Level("inta"))
	assert.EqualValues(t, 3, dev.Read(0, 4))
	r.Add(0, []virtio.Segment{r.numbers(5, 1<<20), r.numbers(0xffffffff)}, nil)
	r.w.Take()
	r.Kick(0)
	assert.Equal(t, []string{"discard 5000", "discard 100000000", "discard ffffffff000"}, r.w.Take())
	assert.Len(t, r.Driver.Take(0), 1)
	dev.Write(4, 4, 3)
	assert.EqualValues(t, 3, r.Pages())
	r.Add(1, []virtio.Segment{r.numbers(5)}, nil)
	r.Kick(1)
	assert.Empty(t, r.w.Take())
	assert.Len(t, r.Driver.Take(1), 1)
	r.Reset(devices.Warm)
	assert.EqualValues(t, 3, dev.Read(0, 8), "the wish stays, the pages do not")
	r.Reset(devices.PowerOn)
	assert.EqualValues(t, 0, dev.Read(0, 8))
}

func TestInflateWaitsForRoom(t *testing.T) {
	r := newRig(t, 0)
	r.Add(0, []virtio.Segment{r.numbers(5, 6)}, nil)
	r.RAM.Full, r.RAM.Room = true, 2 // the ring's page and one more
	r.Kick(0)
	assert.Equal(t, []string{"stall"}, r.w.Take(), "nothing was discarded")
	r.RAM.Room = 1
	r.Retry()
	assert.Equal(t, []string{"discard 5000", "discard 6000", "inta=true"}, r.w.Take())
}

func TestTooManyPages(t *testing.T) {
	r := newRig(t, 0)
	r.Add(0, []virtio.Segment{{Addr: 0, Len: 4<<16 + 4}}, nil)
	r.Kick(0)
	assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1))
	assert.Empty(t, r.Driver.Take(0))
}

func TestReporting(t *testing.T) {
	const reporting = 1 << 5
	for features, q := range map[uint64]int{reporting: 2, reporting | 2: 3} {
		r := newRig(t, features)
		r.Add(q, nil, []virtio.Segment{{Addr: 0x80000, Len: 0x2000}, {Addr: 0x90800, Len: 0x2000}, {Addr: 0xa0800, Len: 0x1000}})
		r.Kick(q)
		assert.Equal(t, []string{"discard 80000", "discard 81000", "discard 91000", "inta=true"}, r.w.Take(), "whole pages only")
	}
}

// TestReportingLeavesPages: pages that are reported free and stay as they are are not
// written to, which would make them memory that the guest has used; they may be absent.
// Pages to be discarded are all had at hand first.
func TestReportingLeavesPages(t *testing.T) {
	const reporting, q = 1 << 5, 2
	free := []virtio.Segment{{Addr: 0x80000, Len: 0x2000}}
	r := &rig{w: &testkit.World{}}
	r.begin(t, reporting, nil)
	r.Add(q, nil, free)
	r.RAM.Full, r.RAM.Room, r.RAM.Away = true, 1, 0x81 // the ring's page
	r.Kick(q)
	assert.Equal(t, []string{"inta=true"}, r.w.Take())
	assert.Len(t, r.Driver.Take(q), 1)

	r = newRig(t, reporting)
	r.Add(q, nil, free)
	r.RAM.Full, r.RAM.Room = true, 2
	r.Kick(q)
	assert.Equal(t, []string{"stall"}, r.w.Take(), "nothing was discarded")
	r.RAM.Room = 1
	r.Retry()
	assert.Equal(t, []string{"discard 80000", "discard 81000", "inta=true"}, r.w.Take())
}

func stats(vs ...uint64) []byte {
	var b []byte
	for tag, v := range vs {
		b = binary.LittleEndian.AppendUint16(b, uint16(tag))
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func TestStats(t *testing.T) {
	r := newRig(t, 2)
	r.AskStats()
	_, known := r.Stat(1)
	assert.False(t, known)
	buf := r.Buffer(append(stats(10, 11, 12), 99, 0, 1, 1, 1, 1, 1, 1, 1, 1, 7)) // an unknown tag, a piece
	head := r.Add(2, []virtio.Segment{buf}, nil)
	r.Kick(2)
	assert.Empty(t, r.Driver.Take(2), "the buffer is kept")
	v, known := r.Stat(1)
	assert.True(t, known)
	assert.EqualValues(t, 11, v)
	r.RAM.Full = true
	r.AskStats()
	assert.Equal(t, []string{"stall"}, r.w.Take())
	assert.Empty(t, r.Driver.Take(2))
	r.RAM.Full = false
	r.Retry()
	assert.Equal(t, []virtiotest.Used{{Head: head}}, r.Driver.Take(2))
	assert.True(t, r.w.Level("inta"))
	r.Offer(2, head)
	copy(r.Bytes(buf), stats(20, 21))
	r.Kick(2)
	v, _ = r.Stat(0)
	assert.EqualValues(t, 20, v)
	r.Offer(2, head)
	r.Kick(2)
	assert.Empty(t, r.Driver.Take(2), "a second buffer has no meaning")
}
