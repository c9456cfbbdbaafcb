package blk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/virtio"
	"godwit/devices/virtio/blk"
	"godwit/devices/virtio/virtiotest"
	"godwit/internal/testkit"
)

// Features and types, as drivers know them.
const (
	flush       = 1 << 9
	tIn         = 0
	tOut        = 1
	tFlush      = 4
	tGetID      = 8
	tLifetime   = 10
	tDiscard    = 11
	tWriteZeros = 13
)

type rig struct {
	*virtiotest.Driver
	dev  *blk.Device
	disk *virtiotest.Disk
	w    *testkit.World
}

// newRig makes a disk of 1 MiB whose bytes tell their sector, with two queues.
func newRig(t testing.TB, change func(*blk.Wiring, *virtiotest.Disk)) *rig {
	r := &rig{w: &testkit.World{}, disk: &virtiotest.Disk{B: make([]byte, 1<<20)}}
	for i := range r.disk.B {
		r.disk.B[i] = byte(i >> 9)
	}
	w := blk.Wiring{Disk: r.disk, Clock: r.w, Serial: "disk0", Queues: 2, Late: func() { r.w.Logf("late") }}
	if change != nil {
		change(&w, r.disk)
	}
	ram := virtiotest.NewRAM(1 << 20)
	r.dev = blk.New(virtio.Wiring{
		Bus: virtiotest.NewBus().Bus, Slot: 7, Line: r.w.Line("inta"), Mem: ram,
		Stall: func() { r.w.Logf("stall") }, GuestError: func(_, what string) { r.w.Logf("%s", what) },
	}, w)
	r.w.Dev = r.dev
	r.Driver = virtiotest.NewDriver(r.dev, ram)
	r.init(t, flush)
	return r
}

func (r *rig) init(t testing.TB, features uint64) {
	require.EqualValues(t, 0xf, r.Init(virtio.FeatureVersion1|features, false))
	r.w.Take()
}

func head(typ uint32, sector uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, typ)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, sector)
}

// ask adds a request; the answer is n bytes and the status.
func (r *rig) ask(q int, typ uint32, sector uint64, data []byte, n int) (in virtio.Segment) {
	in = r.Room(n + 1)
	r.Bytes(in)[n] = 0xee
	out := []virtio.Segment{r.Buffer(head(typ, sector))}
	if len(data) > 0 {
		out = append(out, r.Buffer(data))
	}
	r.Add(q, out, []virtio.Segment{in})
	return in
}

func (r *rig) status(in virtio.Segment) byte { return r.Bytes(in)[in.Len-1] }

func filled(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func TestReadAndWrite(t *testing.T) {
	r := newRig(t, nil)
	w := r.ask(0, tOut, 3, filled(1024, 0xaa), 0)
	rd := r.ask(0, tIn, 2, nil, 2048)
	r.Kick(0)
	assert.Empty(t, r.Take(0), "it takes its time")
	assert.Equal(t, byte(0xee), r.status(w))
	assert.Equal(t, filled(1024, 0xaa), r.disk.B[3*512:5*512], "but the effect is at once")
	r.w.Advance(51_024)
	assert.Len(t, r.Take(0), 1, "50 us and 1 ns a byte")
	r.w.Advance(2047)
	assert.Empty(t, r.Take(0))
	r.w.Advance(1)
	assert.Equal(t, []virtiotest.Used{{Head: 3, Len: 2049}}, r.Take(0))
	assert.Equal(t, append(append(filled(512, 2), filled(1024, 0xaa)...), append(filled(512, 5), 0)...), r.Bytes(rd))
	assert.Equal(t, byte(0), r.status(w))
	assert.True(t, r.w.Level("inta"))
	assert.EqualValues(t, 0x10421af4, r.Window("cfg").Read(0, 4))
}

// TestDataIsTakenAtSubmission: what the driver does to its buffers afterwards
// changes nothing, and a read shows what was on the disk at its turn.
func TestDataIsTakenAtSubmission(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true })
	data := r.Buffer(filled(512, 1))
	st := r.Room(1)
	r.Add(0, []virtio.Segment{r.Buffer(head(tOut, 0)), data}, []virtio.Segment{st})
	rd := r.ask(1, tIn, 0, nil, 512)
	r.ask(0, tOut, 0, filled(512, 3), 0)
	r.Kick(0) // both writes, then the read
	r.Kick(1)
	copy(r.Bytes(data), filled(512, 9))
	r.w.Advance(49_000)
	r.disk.Work(1)
	assert.Equal(t, filled(512, 1), r.disk.B[:512])
	r.disk.Work(2)
	r.w.Advance(100_000)
	assert.Equal(t, filled(512, 3), r.Bytes(rd)[:512])
	assert.Len(t, r.Take(0), 2)
	assert.Len(t, r.Take(1), 1)
}

func TestLateHostStallsTheGuest(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true })
	in := r.ask(0, tIn, 1, nil, 512)
	r.Kick(0)
	r.w.Advance(1_000_000)
	assert.Equal(t, []string{"at 0 50512", "late"}, r.w.Take())
	r.dev.Retry()
	assert.Equal(t, []string{"late"}, r.w.Take(), "still")
	r.disk.Work(1)
	r.dev.Retry()
	assert.Equal(t, []string{"inta=true"}, r.w.Take())
	assert.Equal(t, byte(0), r.status(in))
	r.dev.Retry()
	assert.Empty(t, r.w.Take())
}

// TestRetryIsNoEvent: called where nothing waited, as after a restore, it does not
// complete what becomes due only now.
func TestRetryIsNoEvent(t *testing.T) {
	r := newRig(t, nil)
	r.ask(0, tFlush, 0, nil, 0)
	r.Kick(0)
	due, ok := r.w.Due(0)
	require.True(t, ok)
	r.w.Never(0)
	r.w.Skip(due)
	r.dev.Retry()
	assert.Empty(t, r.Take(0))
	r.dev.Event(0)
	assert.Len(t, r.Take(0), 1)
}

func TestNoRoomForPreImages(t *testing.T) {
	r := newRig(t, nil)
	in := r.ask(0, tIn, 1, nil, 8192)
	r.ask(1, tFlush, 0, nil, 0) // not notified
	r.Kick(0)
	r.RAM.Full, r.RAM.Room = true, 1
	r.w.Advance(1_000_000)
	assert.Equal(t, []string{"at 0 58192", "stall"}, r.w.Take())
	assert.Equal(t, byte(0xee), r.status(in))
	r.RAM.Room = 10
	r.dev.Retry()
	assert.Equal(t, []string{"inta=true"}, r.w.Take())
	assert.Equal(t, filled(512, 1), r.Bytes(in)[:512])
	r.w.Advance(1_000_000)
	assert.Empty(t, r.Take(1), "nobody asked for that one")
}

func TestFlushIsSlowerAndKeepsOrder(t *testing.T) {
	r := newRig(t, nil)
	r.ask(0, tFlush, 0, nil, 0)
	r.ask(0, tIn, 0, nil, 512)
	r.Kick(0)
	r.w.Advance(199_999)
	assert.Empty(t, r.Take(0))
	r.w.Advance(1)
	assert.Len(t, r.Take(0), 2)
}

func TestWriteThrough(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features uint64
		choice   int
		want     string
	}{
		{"with flush", flush, -1, "write 512 at 0 false"},
		{"without flush", 0, -1, "write 512 at 0 true"},
		{"chosen", flush | 1<<11, 0, "write 512 at 0 true"},
		{"chosen back", flush | 1<<11, 1, "write 512 at 0 false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.init(t, tt.features)
			if tt.choice >= 0 {
				r.Window("device").Write(32, 1, uint64(tt.choice))
			}
			r.disk.Log = r.w.Logf
			r.ask(0, tOut, 0, make([]byte, 512), 0)
			r.w.Take()
			r.Kick(0)
			assert.Equal(t, tt.want, r.w.Take()[1])
		})
	}
}

func TestSmallRequests(t *testing.T) {
	zone := func(sector uint64, n, flags uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, sector)
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), flags)
	}
	for _, tt := range []struct {
		name   string
		typ    uint32
		sector uint64
		data   []byte
		room   int
		status byte
		log    string
	}{
		{"flush", tFlush, 0, nil, 0, 0, "flush"},
		{"discard", tDiscard, 0, zone(8, 16, 0), 0, 0, "discard 8192 at 4096"},
		{"zero", tWriteZeros, 0, zone(8, 16, 0), 0, 0, "zero 8192 at 4096 false"},
		{"zero and unmap", tWriteZeros, 0, zone(2047, 1, 1), 0, 0, "zero 512 at 1048064 true"},
		{"discard with unmap", tDiscard, 0, zone(8, 16, 1), 0, 2, ""},
		{"zero with unknown flag", tWriteZeros, 0, zone(8, 16, 2), 0, 2, ""},
		{"discard beyond", tDiscard, 0, zone(2047, 2, 0), 0, 1, ""},
		{"discard nothing", tDiscard, 0, zone(0, 0, 0), 0, 1, ""},
		{"discard too much", tDiscard, 0, zone(0, 1<<22+1, 0), 0, 1, ""},
		{"two ranges", tDiscard, 0, append(zone(0, 1, 0), zone(1, 1, 0)...), 0, 1, ""},
		{"short range", tDiscard, 0, zone(0, 1, 0)[:15], 0, 1, ""},
		{"unknown", tLifetime, 0, nil, 100, 2, ""},
		{"read beyond", tIn, 2047, nil, 1024, 1, ""},
		{"read far beyond", tIn, 1 << 55, nil, 512, 1, ""},
		{"read half a sector", tIn, 0, nil, 256, 1, ""},
		{"write beyond", tOut, 2048, make([]byte, 512), 0, 1, ""},
		{"read nothing", tIn, 2048, nil, 0, 0, "read 0 at 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.disk.Log = func(f string, a ...any) { assert.Equal(t, tt.log, fmt.Sprintf(f, a...)) }
			in := r.ask(0, tt.typ, tt.sector, tt.data, tt.room)
			r.Kick(0)
			r.w.Advance(1_000_000)
			require.Len(t, r.Take(0), 1)
			assert.Equal(t, tt.status, r.status(in))
		})
	}
}

func TestGetID(t *testing.T) {
	for n, want := range map[int]string{20: "disk0" + string(make([]byte, 15)), 3: "dis", 30: "disk0" + string(make([]byte, 25))} {
		r := newRig(t, nil)
		in := r.ask(0, tGetID, 0, nil, n)
		r.Kick(0)
		r.w.Advance(1_000_000)
		assert.Equal(t, want+"\x00", string(r.Bytes(in)))
	}
}

func TestReadOnly(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.RO = true })
	common := r.Window("common")
	common.Write(0, 4, 0)
	assert.EqualValues(t, 1<<5, common.Read(4, 4)&(1<<5|1<<13|1<<14), "no discard and no zeroes")
	ins := []virtio.Segment{r.ask(0, tOut, 0, make([]byte, 512), 0), r.ask(0, tFlush, 0, nil, 0), r.ask(0, tIn, 1, nil, 512), r.ask(0, tDiscard, 0, make([]byte, 16), 0)}
	r.Kick(0)
	r.w.Advance(1_000_000)
	assert.Len(t, r.Take(0), 4)
	for i, want := range []byte{1, 0, 0, 2} {
		assert.Equal(t, want, r.status(ins[i]), i)
	}
}

func TestBrokenRequests(t *testing.T) {
	for name, chain := range map[string]func(r *rig) (out, in []virtio.Segment){
		"no status": func(r *rig) (out, in []virtio.Segment) { return []virtio.Segment{r.Buffer(head(0, 0))}, nil },
		"no header": func(r *rig) (out, in []virtio.Segment) {
			return []virtio.Segment{r.Buffer(make([]byte, 15))}, []virtio.Segment{r.Room(1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			out, in := chain(r)
			r.Add(0, out, in)
			r.Kick(0)
			assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1), "needs reset")
			r.w.Advance(1_000_000)
			assert.Empty(t, r.Take(0))
		})
	}
}

// TestResetForgets: results of requests from before a reset go nowhere, and do not
// count as those of later ones.
func TestResetForgets(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true })
	old := r.ask(0, tIn, 1, nil, 512)
	r.ask(0, tOut, 7, filled(512, 0x77), 0)
	r.Kick(0)
	r.init(t, flush)
	r.w.Advance(1_000_000)
	assert.Empty(t, r.w.Take())
	again := r.ask(0, tIn, 7, nil, 512)
	r.Kick(0)
	r.disk.Work(2)
	r.w.Advance(1_000_000)
	assert.Contains(t, r.w.Take(), "late")
	r.disk.Work(1)
	r.dev.Retry()
	assert.Equal(t, filled(512, 0x77), r.Bytes(again)[:512])
	assert.Equal(t, byte(0xee), r.status(old))
}

// TestDriverThatReusesDescriptors may not have any number of requests in flight.
func TestDriverThatReusesDescriptors(t *testing.T) {
	r := newRig(t, nil)
	h := r.Add(0, []virtio.Segment{r.Buffer(head(tFlush, 0))}, []virtio.Segment{r.Room(1)})
	for range 1223 {
		r.Offer(0, h)
		r.Kick(0)
	}
	r.w.Advance(200_000)
	assert.Len(t, r.Take(0), 1024)
	r.w.Advance(200_000)
	assert.Len(t, r.Take(0), 200)
}

// TestArrivals: without a clock, requests complete when the machine lets their
// results in.
func TestArrivals(t *testing.T) {
	r := newRig(t, func(w *blk.Wiring, d *virtiotest.Disk) { w.Clock, d.Hold = nil, true })
	r.ask(0, tFlush, 0, nil, 0)
	r.ask(0, tFlush, 0, nil, 0)
	r.Kick(0)
	assert.Zero(t, r.dev.Ready())
	r.disk.Work(2)
	assert.EqualValues(t, 2, r.dev.Ready())
	assert.Empty(t, r.Take(0))
	r.dev.Arrive(1)
	assert.Len(t, r.Take(0), 1)
	assert.EqualValues(t, 1, r.dev.Ready())
	r.ask(0, tFlush, 0, nil, 0)
	r.Kick(0)
	r.w.Take()
	r.dev.Arrive(100) // a log says so; the host is late
	assert.Len(t, r.Take(0), 1)
	assert.Equal(t, []string{"late"}, r.w.Take())
	r.disk.Work(1)
	r.dev.Retry()
	assert.Len(t, r.Take(0), 1)
}

func encode(t testing.TB, d *blk.Device) []byte {
	return testkit.Encode(t, d)
}

// TestInFlightIsState saves a device with requests in flight, one of which the host
// has not finished, and lets a new one go on.
func TestInFlightIsState(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true })
	in := r.ask(0, tIn, 1, nil, 512)
	wr := r.ask(0, tOut, 2, filled(512, 0x22), 0)
	r.Kick(0)
	r.disk.Work(1)
	r.dev.Ready()
	saved := encode(t, r.dev)

	n := newRig(t, nil)
	require.NoError(t, cbor.Unmarshal(saved, n.dev.State()))
	require.NoError(t, n.dev.Restored())
	assert.Equal(t, saved, encode(t, n.dev))
	copy(n.RAM.B, r.RAM.B)
	n.dev.Resume()
	assert.Equal(t, filled(512, 0x22), n.disk.B[1024:1536])
	n.w.Skip(60_000)
	n.dev.Event(0)
	assert.Equal(t, filled(512, 1), n.Bytes(in)[:512])
	assert.Equal(t, byte(0), n.status(wr))
	assert.Len(t, n.Take(0), 2)
}

func TestQuiesceTakesResults(t *testing.T) {
	a, b := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true }), newRig(t, nil)
	for _, r := range []*rig{a, b} {
		r.ask(0, tIn, 1, nil, 512)
		r.ask(1, tOut, 1, make([]byte, 512), 0)
		r.Kick(0)
		r.Kick(1)
		require.NoError(t, r.dev.Quiesce(context.Background()))
	}
	assert.Equal(t, encode(t, b.dev), encode(t, a.dev), "a slow host leaves no trace")
	assert.Empty(t, a.Take(0), "nothing is delivered early")
}

// TestGoldenInFlight keeps the encoding of requests in flight, which the suite's
// golden file of an idle device does not show.
func TestGoldenInFlight(t *testing.T) {
	r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold = true })
	r.ask(1, tIn, 1, nil, 512)
	r.ask(0, tOut, 2, filled(512, 0x22), 0)
	r.Kick(1)
	r.Kick(0)
	var s struct {
		Requests cbor.RawMessage `cbor:"3,keyasint"`
	}
	require.NoError(t, cbor.Unmarshal(encode(t, r.dev), &s))
	want := "82" +
		"ab010102000381a2011a0008000002190201040005f4061902000719020008f60919c5500af40b00" +
		"ab010002000381a2011a000802200201040105f40619040007190200" + "08590200" + hex.EncodeToString(filled(512, 0x22)) + "0919c7500af40b00"
	assert.Equal(t, want, hex.EncodeToString(s.Requests))
}

func TestRestoredRefuses(t *testing.T) {
	r := newRig(t, nil)
	r.ask(0, tOut, 0, make([]byte, 512), 0)
	r.Kick(0)
	type req struct {
		Queue    uint16           `cbor:"1,keyasint"`
		Head     uint16           `cbor:"2,keyasint"`
		In       []virtio.Segment `cbor:"3,keyasint"`
		Type     uint32           `cbor:"4,keyasint"`
		Off      int64            `cbor:"6,keyasint"`
		Len      int64            `cbor:"7,keyasint"`
		Data     []byte           `cbor:"8,keyasint"`
		Due      int64            `cbor:"9,keyasint"`
		Finished bool             `cbor:"10,keyasint"`
	}
	room := []virtio.Segment{{Addr: 0, Len: 513}}
	for name, q := range map[string]req{
		"queue":       {Queue: 2, In: room, Due: 1, Finished: true},
		"offset":      {In: room, Off: 1 << 20, Len: 512, Due: 1},
		"negative":    {In: room, Off: -512, Len: 512, Due: 1},
		"type":        {In: room, Type: tGetID, Due: 1},
		"no data":     {In: room, Type: tOut, Len: 512, Due: 1},
		"no room":     {Type: tFlush, Due: 1},
		"due":         {In: room, Type: tFlush},
		"other room":  {In: room, Type: tIn, Len: 1024, Due: 1},
		"endless":     {In: []virtio.Segment{{Len: 1 << 31}, {Len: 1 << 31}}, Type: tFlush, Due: 1},
		"no such len": {In: room, Type: tIn, Len: -1, Due: 1},
	} {
		b := encode(t, r.dev)
		var m map[int]cbor.RawMessage
		require.NoError(t, cbor.Unmarshal(b, &m))
		list, err := cbor.Marshal([]req{q})
		require.NoError(t, err)
		m[3] = list
		b, err = cbor.Marshal(m)
		require.NoError(t, err)
		n := newRig(t, nil)
		require.NoError(t, cbor.Unmarshal(b, n.dev.State()))
		assert.Error(t, n.dev.Restored(), name)
	}
}

func TestConfiguration(t *testing.T) {
	r := newRig(t, nil)
	dev := r.Window("device")
	assert.EqualValues(t, 2048, dev.Read(0, 8))
	assert.EqualValues(t, 254, dev.Read(12, 4))
	assert.EqualValues(t, 512, dev.Read(20, 4))
	assert.EqualValues(t, 2, dev.Read(34, 2))
	assert.EqualValues(t, 1<<22, dev.Read(36, 4))
	dev.Write(32, 1, 0)
	assert.EqualValues(t, 0, dev.Read(32, 1))
	r.dev.Reset(devices.PowerOn)
	assert.EqualValues(t, 1, dev.Read(32, 1))
}

// TestIndirectAndEventIndex uses what Linux does: an indirect table per request,
// and interrupts only where asked for.
func TestIndirectAndEventIndex(t *testing.T) {
	r := newRig(t, nil)
	require.EqualValues(t, 0xf, r.Init(virtio.FeatureVersion1|virtio.FeatureIndirect|virtio.FeatureEventIdx|flush, false))
	in := r.Room(513)
	table := r.Alloc(32)
	r.Desc(table, 0, r.Buffer(head(tIn, 9)), virtiotest.Next, 1)
	r.Desc(table, 1, in, virtiotest.Write, 0)
	r.Desc(virtiotest.Table(0), 0, virtio.Segment{Addr: table, Len: 32}, virtiotest.Indirect, 0)
	binary.LittleEndian.PutUint16(r.Avail(0)[4+2*256:], 1) // after the second
	r.Offer(0, 0)
	r.Offer(0, 0)
	r.Kick(0)
	r.w.Advance(50_512)
	assert.Len(t, r.Take(0), 1)
	assert.False(t, r.w.Level("inta"))
	r.w.Advance(50_512)
	assert.Len(t, r.Take(0), 1)
	assert.True(t, r.w.Level("inta"))
	assert.Equal(t, filled(512, 9), r.Bytes(in)[:512])
}

// FuzzRequests gives a driver's whole memory to the fuzzer (see
// devices/virtio FuzzChains): descriptors at 0, the available ring at 1000h, the
// used ring at 2000h. Whatever it says, the device works again after a reset.
func FuzzRequests(f *testing.F) {
	seed := make([]byte, 0x1100)
	desc := func(i int, addr uint64, n uint32, flags, next uint16) {
		b := seed[16*i:]
		binary.LittleEndian.PutUint64(b, addr)
		binary.LittleEndian.PutUint32(b[8:], n)
		binary.LittleEndian.PutUint16(b[12:], flags)
		binary.LittleEndian.PutUint16(b[14:], next)
	}
	for i, typ := range []uint32{tIn, tOut, tDiscard, tWriteZeros} {
		desc(3*i, 0x800+32*uint64(i), 16, 1, uint16(3*i+1))
		desc(3*i+1, 0x800+32*uint64(i)+16, 16+496*uint32(1-i/2), 1+2*uint16(min(1, max(0, 1-i))), uint16(3*i+2))
		desc(3*i+2, 0x900, 1, 2, 0)
		copy(seed[0x800+32*i:], head(typ, 1))
		binary.LittleEndian.PutUint32(seed[0x818+32*i:], 8)
		binary.LittleEndian.PutUint16(seed[0x1004+2*i:], uint16(3*i))
	}
	binary.LittleEndian.PutUint16(seed[0x1002:], 4)
	f.Add(seed, uint8(1), true, false)
	f.Add(seed, uint8(7), false, true)
	f.Fuzz(func(t *testing.T, memory []byte, kicks uint8, hold, ro bool) {
		r := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.Hold, d.RO = hold, ro })
		r.init(t, virtio.FeatureIndirect|virtio.FeatureEventIdx|flush)
		q := &r.dev.Virtio.Queues[0]
		q.Desc, q.Driver, q.Device = 0, 0x1000, 0x2000
		copy(r.RAM.B[:0x3000], memory)
		for range kicks % 8 {
			r.Kick(0)
			r.w.Advance(devices.Nanos(kicks) * 1000)
			r.disk.Work(int(kicks) / 8)
			r.dev.Retry()
		}
		n := newRig(t, func(_ *blk.Wiring, d *virtiotest.Disk) { d.RO = ro })
		saved := encode(t, r.dev)
		require.NoError(t, cbor.Unmarshal(saved, n.dev.State()))
		require.NoError(t, n.dev.Restored())
		require.Equal(t, saved, encode(t, n.dev))
		clear(r.RAM.B)
		r.disk.Hold = false
		r.init(t, flush)
		require.NoError(t, r.dev.Quiesce(context.Background()))
		r.ask(0, tFlush, 0, nil, 0)
		r.Kick(0)
		r.w.Advance(1_000_000)
		require.Len(t, r.Take(0), 1)
	})
}
