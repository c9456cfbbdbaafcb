package virtio_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/virtio"
	"godwit/devices/virtio/virtiotest"
	"godwit/internal/testkit"
)

// echo answers each request with the bytes of its own, in capitals.
type echoState struct {
	Virtio virtio.State `cbor:"1,keyasint"`
}

type echo struct {
	echoState
	virtio.Transport
	w *testkit.World
}

func (e *echo) State() any                          { return &e.echoState }
func (e *echo) Event(devices.EventID)               {}
func (e *echo) Restart()                            { e.w.Logf("restart") }
func (e *echo) ReadConfig(off uint64, _ int) uint64 { return 0x11223344 >> (8 * off) }
func (e *echo) WriteConfig(off uint64, size int, v uint64) {
	e.w.Logf("config %x %d %x", off, size, v)
}

func (e *echo) Serve(q int) {
	old := e.Used(q)
	for range e.Available(q) {
		c := e.Next(q)
		if c == nil {
			break
		}
		b := make([]byte, min(virtio.Bytes(c.Out), 1<<16))
		e.Gather(c, 0, b)
		for i := range b {
			b[i] &^= 0x20
		}
		n := e.Scatter(c, 0, b)
		e.Take(q)
		e.Done(q, c.Head, uint32(n))
	}
	e.Signal(q, old)
}

func (e *echo) MSI(addr uint64, data uint32) { e.w.Logf("msi %x %d", addr, data) }

type rig struct {
	*virtiotest.Driver
	w   *testkit.World
	bus *virtiotest.Bus
	dev *echo
}

func newRig() *rig {
	r := &rig{w: &testkit.World{}, bus: virtiotest.NewBus()}
	ram := virtiotest.NewRAM(1 << 20)
	r.dev = &echo{w: r.w}
	r.dev.Transport = virtio.New(virtio.Wiring{
		Bus: r.bus.Bus, Slot: 3, Line: r.w.Line("inta"), MSI: r.dev, Mem: ram,
		Stall:      func() { r.w.Logf("stall") },
		GuestError: func(id, what string) { r.w.Logf("%s: %s", id, what) },
	}, virtio.Spec{ID: 42, Class: 0xff0000, Features: 1 << 5, Queues: []uint16{16, 4}, ConfigSize: 4}, &r.dev.Virtio, r.dev)
	r.w.Dev = r.dev
	r.Driver = virtiotest.NewDriver(r.dev, ram)
	return r
}

const modern = virtio.FeatureVersion1

// start initializes and forgets what that called.
func (r *rig) start(t *testing.T, features uint64, msix bool) *rig {
	t.Helper()
	require.EqualValues(t, 0xf, r.Init(features, msix))
	r.w.Take()
	return r
}

// ask adds a request of segments with room for n bytes.
func (r *rig) ask(q int, text string, n int) (head uint16, room virtio.Segment) {
	room = r.Room(n)
	return r.Add(q, []virtio.Segment{r.Buffer([]byte(text))}, []virtio.Segment{room}), room
}

func TestRequests(t *testing.T) {
	for _, features := range []uint64{modern, modern | virtio.FeatureEventIdx, modern | virtio.FeatureIndirect | virtio.FeatureEventIdx} {
		r := newRig().start(t, features, true)
		for i := range 40 { // around the rings and their indexes' end of 16 entries
			head, room := r.ask(0, fmt.Sprintf("hello %02d", i), 20)
			r.Kick(0)
			assert.Equal(t, []virtiotest.Used{{Head: head, Len: 8}}, r.Take(0))
			assert.Equal(t, fmt.Sprintf("HELLO\x00%c%c", '0'&^0x20+byte(i/10), '0'&^0x20+byte(i%10)), string(r.Bytes(room)[:8]))
			if features&virtio.FeatureEventIdx != 0 {
				binary.LittleEndian.PutUint16(r.Avail(0)[4+2*16:], uint16(i)+1) // used_event
				assert.EqualValues(t, i+1, binary.LittleEndian.Uint16(r.UsedRing(0)[4+8*16:]), "avail_event")
			}
			assert.Equal(t, []string{"msi fee00000 1"}, r.w.Take())
		}
	}
}

func TestScatteredAndIndirect(t *testing.T) {
	r := newRig().start(t, modern|virtio.FeatureIndirect, false)
	out := []virtio.Segment{r.Buffer([]byte("ab")), r.Buffer(nil), r.Buffer([]byte("cde"))}
	in := []virtio.Segment{r.Room(1), r.Room(0), r.Room(2), r.Room(9)}
	r.Add(0, out, in)
	r.Kick(0)
	assert.EqualValues(t, 5, r.Take(0)[0].Len)
	assert.Equal(t, "ABCDE", string(r.Bytes(in[0]))+string(r.Bytes(in[2]))+string(r.Bytes(in[3])[:2]))

	table := r.Alloc(3 * 16)
	room := r.Room(4)
	r.Desc(table, 0, r.Buffer([]byte("xy")), virtiotest.Next, 2)
	r.Desc(table, 2, room, virtiotest.Write, 0)
	first := r.Buffer([]byte("w"))
	r.Desc(virtiotest.Table(0), 7, first, virtiotest.Next, 3)
	r.Desc(virtiotest.Table(0), 3, virtio.Segment{Addr: table, Len: 48}, virtiotest.Indirect, 0)
	r.Offer(0, 7)
	r.Kick(0)
	assert.Equal(t, []virtiotest.Used{{Head: 7, Len: 3}}, r.Take(0))
	assert.Equal(t, "WXY\x00", string(r.Bytes(room)))
}

func TestInterrupts(t *testing.T) {
	kick := func(r *rig) { r.ask(1, "a", 1); r.ask(1, "b", 1); r.Kick(1) }
	t.Run("one message for a batch", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		kick(r)
		assert.Equal(t, []string{"msi fee00000 2"}, r.w.Take())
	})
	t.Run("pin", func(t *testing.T) {
		r := newRig().start(t, modern, false)
		kick(r)
		assert.True(t, r.w.Level("inta"))
		assert.EqualValues(t, 0x18, r.Window("cfg").Read(6, 2), "status shows the pin")
		assert.EqualValues(t, 1, r.Window("isr").Read(0, 1))
		assert.EqualValues(t, 0, r.Window("isr").Read(0, 1))
		assert.False(t, r.w.Level("inta"))
		assert.EqualValues(t, 0x10, r.Window("cfg").Read(6, 2))
	})
	t.Run("pin disabled", func(t *testing.T) {
		r := newRig().start(t, modern, false)
		r.Window("cfg").Write(4, 2, 0x406)
		kick(r)
		assert.False(t, r.w.Level("inta"))
		assert.EqualValues(t, 0x18, r.Window("cfg").Read(6, 2), "the status bit does not mind")
		r.Window("cfg").Write(4, 2, 0x6)
		assert.True(t, r.w.Level("inta"))
	})
	t.Run("not wanted", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		r.Avail(1)[0] = 1
		kick(r)
		assert.Empty(t, r.w.Take())
	})
	t.Run("wanted for a later entry", func(t *testing.T) {
		r := newRig().start(t, modern|virtio.FeatureEventIdx, true)
		event := r.Avail(1)[4+2*4:]
		binary.LittleEndian.PutUint16(event, 2)
		kick(r)
		assert.Empty(t, r.w.Take())
		kick(r)
		assert.Equal(t, []string{"msi fee00000 2"}, r.w.Take())
	})
	t.Run("masked vector", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		r.Window("msix").Write(2*16+12, 4, 1)
		kick(r)
		assert.Empty(t, r.w.Take())
		assert.EqualValues(t, 4, r.Window("msix").Read(0x800, 4), "pending")
		r.Window("msix").Write(2*16+12, 4, 0)
		assert.Equal(t, []string{"msi fee00000 2"}, r.w.Take())
		assert.EqualValues(t, 0, r.Window("msix").Read(0x800, 8))
	})
	t.Run("of a mode that wakes", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		assert.False(t, r.dev.Wakes())
		r.Window("msix").Write(2*16+8, 4, 4<<8)
		assert.True(t, r.dev.Wakes())
		r.Window("msix").Write(2*16+12, 4, 1)
		assert.False(t, r.dev.Wakes(), "the vector is masked")
		r.Window("msix").Write(2*16+12, 4, 0)
		r.Window("cfg").Write(0x9a, 2, 0xc000)
		assert.False(t, r.dev.Wakes(), "the function is masked")
	})
	t.Run("masked function", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		r.Window("cfg").Write(0x9a, 2, 0xc000)
		kick(r)
		assert.Empty(t, r.w.Take())
		r.Window("cfg").Write(0x9a, 2, 0x8000)
		assert.Equal(t, []string{"msi fee00000 2"}, r.w.Take())
	})
	t.Run("no vector", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		c := r.Window("common")
		c.Write(0x16, 2, 1)
		c.Write(0x1a, 2, 7)
		assert.EqualValues(t, 0xffff, c.Read(0x1a, 2), "a vector that does not exist is none")
		kick(r)
		assert.Empty(t, r.w.Take())
	})
	t.Run("configuration", func(t *testing.T) {
		r := newRig().start(t, modern, true)
		r.dev.Changed()
		assert.Equal(t, []string{"msi fee00000 0"}, r.w.Take())
		assert.EqualValues(t, 1, r.Window("common").Read(0x15, 1), "generation")
		r = newRig().start(t, modern, false)
		r.dev.Changed()
		assert.EqualValues(t, 2, r.Window("isr").Read(0, 1))
	})
}

func TestNegotiation(t *testing.T) {
	for _, tt := range []struct {
		name     string
		features uint64
		want     uint8
	}{
		{"modern", modern, 0xf},
		{"device's own", modern | 1<<5, 0xf},
		{"legacy", 0, 0x7},
		{"not offered", modern | 1<<6, 0x7},
	} {
		r := newRig()
		assert.Equal(t, tt.want, r.Init(tt.features, false), tt.name)
		r.w.Take()
		r.ask(0, "x", 1)
		r.Kick(0)
		assert.Equal(t, tt.want == 0xf, len(r.Take(0)) == 1, tt.name)
	}
	r := newRig().start(t, modern, false)
	c := r.Window("common")
	c.Write(0x08, 4, 0)
	c.Write(0x0c, 4, 1<<5)
	assert.EqualValues(t, 0, c.Read(0x0c, 4), "accepted features do not change")
	c.Write(0, 4, 1)
	assert.EqualValues(t, 1, c.Read(4, 4), "VERSION_1 is bit 32")
	c.Write(0, 4, 2)
	assert.EqualValues(t, 0, c.Read(4, 4))
	r.w.Take()
	c.Write(0x14, 1, 0)
	assert.Equal(t, []string{"restart"}, r.w.Take())
	assert.EqualValues(t, 0, c.Read(0x1c, 2), "queues are off")
	assert.EqualValues(t, 0, c.Read(0x14, 1))
}

func TestQueueRegisters(t *testing.T) {
	r := newRig()
	c := r.Window("common")
	assert.EqualValues(t, 2, c.Read(0x12, 2))
	for _, tt := range []struct{ queue, size, write, want uint64 }{
		{0, 16, 8, 8}, {0, 16, 32, 16}, {0, 16, 0, 16}, {0, 16, 6, 16}, {1, 4, 1, 1}, {2, 0, 4, 0}, {0xffff, 0, 4, 0},
	} {
		c.Write(0x14, 1, 0)
		c.Write(0x16, 2, tt.queue)
		assert.Equal(t, tt.size, c.Read(0x18, 2), "queue %d", tt.queue)
		c.Write(0x18, 2, tt.write)
		assert.Equal(t, tt.want, c.Read(0x18, 2), "queue %d, write %d", tt.queue, tt.write)
	}
	c.Write(0x16, 2, 1)
	c.Write(0x20, 8, 0x123456789a)
	assert.EqualValues(t, 0x123456789a, c.Read(0x20, 8))
	assert.EqualValues(t, 0x5678, c.Read(0x21, 2), "parts can be read")
	c.Write(0x1c, 2, 1)
	c.Write(0x20, 4, 0)
	assert.EqualValues(t, 0x123456789a, c.Read(0x20, 8), "an enabled queue stays in place")
	assert.EqualValues(t, 1, c.Read(0x1e, 2), "notification register")
}

func TestPCIConfigAccess(t *testing.T) {
	r := newRig()
	cfg := r.Window("cfg")
	at := func(off, n uint64) { cfg.Write(0x8c, 4, off); cfg.Write(0x90, 4, n) }
	at(0x2000, 4)
	assert.EqualValues(t, 0x11223344, cfg.Read(0x94, 4))
	at(0x2002, 2)
	assert.EqualValues(t, 0x1122, cfg.Read(0x94, 4))
	at(0x14, 1)
	cfg.Write(0x94, 4, 0xffffff01)
	assert.EqualValues(t, 1, cfg.Read(0x94, 1))
	at(0x2000, 2)
	cfg.Write(0x94, 4, 0xffff1234)
	assert.Equal(t, []string{"config 0 2 1234"}, r.w.Take())
	for _, bad := range [][2]uint64{{0x2000, 3}, {0x2000, 0}, {0x2001, 2}, {0x4000, 4}, {0xfffffffc, 4}, {0x2000, 8}} {
		at(bad[0], bad[1])
		assert.EqualValues(t, 0, cfg.Read(0x94, 4), "%x", bad)
		cfg.Write(0x94, 4, 5)
		assert.NotContains(t, r.w.Take(), "config 0 4 5")
	}
}

// TestCapabilities follows the list as a driver does.
func TestCapabilities(t *testing.T) {
	cfg := newRig().Window("cfg")
	assert.EqualValues(t, 0x106a1af4, cfg.Read(0, 4))
	assert.EqualValues(t, 1, cfg.Read(8, 1), "revision")
	var found []string
	for at := cfg.Read(0x34, 1); at != 0; at = cfg.Read(at+1, 1) {
		require.Less(t, len(found), 10)
		if id := cfg.Read(at, 1); id != 9 {
			found = append(found, fmt.Sprintf("id %x", id))
			continue
		}
		found = append(found, fmt.Sprintf("%d:%x+%x", cfg.Read(at+3, 1), cfg.Read(at+8, 4), cfg.Read(at+12, 4)))
	}
	assert.Equal(t, []string{"1:0+38", "2:3000+8", "3:1000+1", "4:2000+4", "5:0+0", "id 11"}, found)
}

func TestBadDriver(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *rig)
		want string
	}{
		{"too many chains", func(r *rig) { r.Avail(0)[2] = 17 }, "more chains available than the queue holds"},
		{"head", func(r *rig) { r.Offer(0, 16) }, "head beyond the descriptor table"},
		{"next", func(r *rig) { r.Desc(virtiotest.Table(0), 0, r.Room(1), virtiotest.Next, 16); r.Offer(0, 0) }, "descriptor beyond its table"},
		{"loop", func(r *rig) { r.Desc(virtiotest.Table(0), 5, r.Room(1), virtiotest.Next, 5); r.Offer(0, 5) }, "chain longer than its table: a loop"},
		{"order", func(r *rig) {
			r.Desc(virtiotest.Table(0), 0, r.Room(1), virtiotest.Next|virtiotest.Write, 1)
			r.Desc(virtiotest.Table(0), 1, r.Room(1), 0, 0)
			r.Offer(0, 0)
		}, "buffer to read after one to write"},
		{"bytes", func(r *rig) { r.Add(0, nil, []virtio.Segment{{Addr: 0, Len: 0xffffffff}}) }, "chain of too many bytes"},
		{"empty table", func(r *rig) { r.indirect(0, 0) }, "indirect table of a bad size"},
		{"odd table", func(r *rig) { r.indirect(24, 0) }, "indirect table of a bad size"},
		{"huge table", func(r *rig) { r.indirect(16*1025, 0) }, "indirect table of a bad size"},
		{"table and next", func(r *rig) { r.indirect(16, virtiotest.Next) }, "indirect descriptor with a next one"},
		{"table in a table", func(r *rig) {
			r.Desc(r.indirect(16, 0), 0, virtio.Segment{Addr: 0, Len: 16}, virtiotest.Indirect, 0)
		}, "indirect descriptor in an indirect table"},
		{"loop in a table", func(r *rig) {
			r.Desc(r.indirect(32, 0), 0, virtio.Segment{Addr: 0, Len: 1}, virtiotest.Next, 0)
		}, "chain longer than its table: a loop"},
		{
			"no memory", func(r *rig) {
				r.indirect(16, 0)
				r.Desc(virtiotest.Table(0), 0, virtio.Segment{Addr: 1 << 60, Len: 16}, virtiotest.Indirect, 0)
			},
			"indirect descriptor in an indirect table",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig().start(t, modern|virtio.FeatureIndirect, true)
			tt.do(r)
			r.Kick(0)
			assert.Equal(t, []string{"pci.0/3.0: " + tt.want, "msi fee00000 0"}, r.w.Take())
			assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1), "needs a reset")
			assert.Empty(t, r.Take(0))
			r.Window("common").Write(0x14, 1, 0xf)
			assert.EqualValues(t, 0x4f, r.Window("common").Read(0x14, 1), "and nothing less")
			r.Kick(1)
			assert.Empty(t, r.w.Take())
			for i := range r.RAM.B[:virtiotest.QueueBase*3] {
				r.RAM.B[i] = 0
			}
			r.start(t, modern, true)
			_, room := r.ask(0, "abc", 3)
			r.Kick(0)
			assert.Equal(t, "ABC", string(r.Bytes(room)), "works again")
		})
	}
}

// indirect offers a table of n bytes.
func (r *rig) indirect(n uint32, flags uint16) uint64 {
	at := r.Alloc(int(n) + 16)
	r.Desc(virtiotest.Table(0), 0, virtio.Segment{Addr: at, Len: n}, virtiotest.Indirect|flags, 0)
	r.Offer(0, 0)
	return at
}

func TestLesserMistakes(t *testing.T) {
	r := newRig().start(t, modern, true)
	r.Window("notify").Write(8, 2, 0)
	r.Window("common").Write(0x14, 4, 0)
	r.Window("common").Write(0x14, 1, 0xe)
	assert.Equal(t, []string{
		"pci.0/3.0: no such queue notified",
		"pci.0/3.0: bad write to the common configuration",
		"pci.0/3.0: device status bits cleared",
	}, r.w.Take())
	r.ask(0, "x", 1)
	r.Kick(0)
	assert.Len(t, r.Take(0), 1, "the device runs on")
}

func TestQueuesWaitForMastership(t *testing.T) {
	r := newRig().start(t, modern, true)
	r.Window("cfg").Write(4, 2, 2)
	r.ask(0, "x", 1)
	r.Kick(0)
	assert.Empty(t, r.Take(0))
	r.Window("cfg").Write(4, 2, 6)
	assert.Len(t, r.Take(0), 1)
	assert.Equal(t, []string{"msi fee00000 1"}, r.w.Take())
}

// TestStall finds, with every amount of room for old pages, either all of a
// request done or nothing of it, and the same in the end.
func TestStall(t *testing.T) {
	run := func(room int) (*rig, int) {
		r := newRig().start(t, modern|virtio.FeatureEventIdx, true)
		r.next4K()
		text := make([]byte, 9000)
		for i := range text {
			text[i] = 'a'
		}
		_, answer := r.ask(0, string(text), len(text))
		r.RAM.Epoch()
		r.RAM.Full, r.RAM.Room = true, room
		r.Kick(0)
		stalls := 0
		for ; len(r.w.Log) > 0 && r.w.Log[len(r.w.Log)-1] == "stall"; stalls++ {
			assert.Empty(t, r.Take(0))
			assert.NotContains(t, string(r.Bytes(answer)), "A")
			r.w.Take()
			r.RAM.Room++
			r.dev.Retry()
		}
		assert.Len(t, r.Take(0), 1)
		return r, stalls
	}
	all, stalls := run(100)
	require.Zero(t, stalls)
	for room := range 4 { // three pages of answer, one of ring
		r, stalls := run(room)
		assert.Positive(t, stalls)
		assert.Equal(t, all.RAM.B, r.RAM.B)
		assert.Equal(t, all.dev.echoState, r.dev.echoState)
	}
}

// TestAbsent takes each page away in turn: a request that needs it waits, has no
// effect before, and afterwards that of a request that did not wait.
func TestAbsent(t *testing.T) {
	run := func(away uint64) (r *rig, waited bool) {
		r = newRig().start(t, modern|virtio.FeatureEventIdx, true)
		r.next4K()
		text := bytes.Repeat([]byte{'a'}, 9000)
		_, answer := r.ask(0, string(text), len(text))
		r.RAM.Away = away
		r.Kick(0)
		waited = len(r.w.Log) > 0 && r.w.Log[len(r.w.Log)-1] == "stall"
		r.RAM.Away = 0
		if waited {
			assert.Empty(t, r.Take(0))
			assert.NotContains(t, string(r.Bytes(answer)), "A")
			r.w.Take()
			r.dev.Retry()
		}
		assert.Len(t, r.Take(0), 1)
		return r, waited
	}
	all, waited := run(0)
	require.False(t, waited)
	waits := 0
	for page := uint64(1); page < uint64(len(all.RAM.B))>>12; page++ {
		r, waited := run(page)
		if waited {
			waits++
		}
		require.Equal(t, all.RAM.B, r.RAM.B, "page %d", page)
		require.Equal(t, all.dev.echoState, r.dev.echoState, "page %d", page)
	}
	assert.GreaterOrEqual(t, waits, 3+3+2, "question, answer, rings")
}

// next4K aligns the driver's memory.
func (r *rig) next4K() { r.Alloc(4096 - int(r.Alloc(0)%4096)) }
