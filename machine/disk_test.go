package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/cpu"
	"godwit/devices"
	"godwit/devices/virtio"
	"godwit/devices/virtio/virtiotest"
)

// memDisk is a disk in memory.
type memDisk struct {
	virtiotest.Disk
	err    error
	closed int
	synced int
}

func (d *memDisk) Notify(func()) {}
func (d *memDisk) Err() error    { return d.err }
func (d *memDisk) Retry()        { d.err = nil }
func (d *memDisk) Close() error  { d.closed++; return nil }

func (d *memDisk) Drain(ctx context.Context) error {
	if d.err != nil {
		return nil
	}
	return d.Disk.Drain(ctx)
}

func (d *memDisk) Sync(ctx context.Context) error {
	d.synced++
	return errors.Join(d.err, d.Drain(ctx))
}

func (d *memDisk) Freeze(_ context.Context, path string) (layer, format string, err error) {
	return "old", "raw", d.err
}

func (d *memDisk) Identity() (string, uint64) { return "id", 7 }

// memHost has such disks.
type memHost struct {
	size  int
	hold  bool
	disks []*memDisk
	late  func(error) bool
}

func (h *memHost) Poll() bool              { return false }
func (h *memHost) Idle(devices.Nanos) bool { return true }
func (h *memHost) Output(byte)             {}

func (h *memHost) OpenDisk(c *DiskConfig) (Disk, error) {
	if c.File == "missing" {
		return nil, errors.New("no such file")
	}
	d := &memDisk{Disk: virtiotest.Disk{B: make([]byte, max(h.size, 4096)), RO: c.ReadOnly, Hold: h.hold}}
	h.disks = append(h.disks, d)
	return d, nil
}

// lateHost is told of late disks.
type lateHost struct{ *memHost }

func (h lateHost) Late(err error) bool { return h.memHost.late(err) }

// spin is a ROM that loops for ever.
func spin() Images {
	rom := make([]byte, MinBios)
	copy(rom[len(rom)-16:], []byte{0xeb, 0xfe})
	return Images{Bios: rom}
}

// diskMachine is a machine that spins, and a driver of its first disk.
func diskMachine(t *testing.T, h Host, clock string) (*Machine, *virtiotest.Driver) {
	cfg := DefaultConfig()
	cfg.Memory, cfg.Clock, cfg.Disks = 4<<20, clock, []DiskConfig{{ID: "disk0"}}
	m, err := New(cfg, spin(), h)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m, m.driver(t)
}

func (m *Machine) driver(t *testing.T) *virtiotest.Driver {
	drv := virtiotest.NewDriver(m.blks[0], &virtiotest.RAM{B: m.mem.Bytes()[:1<<20]})
	require.EqualValues(t, 0xf, drv.Init(virtio.FeatureVersion1|1<<9, false))
	return drv
}

// ask adds a request of a type for the first sector; with data it is a write.
func ask(drv *virtiotest.Driver, typ uint32, data []byte, n int) virtio.Segment {
	in := drv.Room(n + 1)
	out := []virtio.Segment{drv.Buffer(append(binary.LittleEndian.AppendUint32(nil, typ), make([]byte, 12)...))}
	if data != nil {
		out = append(out, drv.Buffer(data))
	}
	drv.Add(0, out, []virtio.Segment{in})
	drv.Kick(0)
	return in
}

func TestDiskCompletesAtItsInstant(t *testing.T) {
	h := &memHost{}
	m, drv := diskMachine(t, h, ClockVirtual)
	require.Equal(t, Reached, m.Run(1000))
	in := ask(drv, 0, nil, 512)
	due := m.Count() + (50_000+512)/8
	m.Run(due)
	require.Empty(t, drv.Take(0), "due at this count, not delivered before it")
	m.Run(due + 1)
	require.Len(t, drv.Take(0), 1)
	require.Equal(t, make([]byte, 513), drv.Bytes(in))
	require.NoError(t, m.CloseDisks())
	require.Equal(t, 1, h.disks[0].closed)
}

// A guest that has halted for good is done when its disks have, since they may fail.
func TestHaltedBesideDisk(t *testing.T) {
	m, drv := diskMachine(t, &memHost{}, ClockVirtual)
	require.Equal(t, Reached, m.Run(1000))
	c := m.cpus[0]
	c.Activity = cpu.Halted
	require.True(t, m.Deaf())
	ask(drv, 0, nil, 512)
	require.False(t, m.Deaf())
	require.Equal(t, Paused, m.Run(1<<40), "its host is asked only when nothing is due")
	require.Len(t, drv.Take(0), 1)
	require.True(t, m.Deaf())
	c.MonArmed = true
	require.False(t, m.Deaf(), "a store may end MWAIT")
}

// TestLateDisk: the guest waits for its host, and nothing that is due behind the
// request overtakes it.
func TestLateDisk(t *testing.T) {
	h := &memHost{hold: true}
	calls := 0
	h.late = func(err error) bool {
		require.NoError(t, err)
		if calls++; calls == 3 {
			h.disks[0].Work(1)
		}
		return calls == 2
	}
	m, drv := diskMachine(t, lateHost{h}, ClockVirtual)
	ask(drv, 4, nil, 0)
	require.Equal(t, Paused, m.Run(1<<20))
	at := m.Count()
	require.EqualValues(t, 200_000/8, at)
	require.Empty(t, drv.Take(0))
	require.Equal(t, Reached, m.Run(at+1))
	require.Len(t, drv.Take(0), 1)
	require.Equal(t, 3, calls)

	// A host that has nothing to do meanwhile just waits.
	m, drv = diskMachine(t, &memHost{hold: true}, ClockVirtual)
	ask(drv, 4, nil, 0)
	require.Equal(t, Reached, m.Run(1<<20))
	require.Len(t, drv.Take(0), 1)
}

// TestFailedDiskPausesTheGuest until the request can be done.
func TestFailedDiskPausesTheGuest(t *testing.T) {
	h := &memHost{hold: true}
	m, drv := diskMachine(t, h, ClockVirtual)
	full := errors.New("disk is full")
	h.disks[0].err = full
	ask(drv, 1, bytes.Repeat([]byte{7}, 512), 0)
	for range 2 {
		require.Equal(t, Paused, m.Run(1<<20))
		require.ErrorIs(t, m.DiskErr(), full)
		require.EqualError(t, m.DiskErr(), "disk disk0: disk is full")
	}
	require.ErrorIs(t, m.SyncDisks(context.Background()), full)

	// The state has the request, so that another host can do it.
	secs, err := m.Sections()
	require.NoError(t, err)
	h2 := &memHost{}
	n, err := FromSections(secs, h2)
	require.NoError(t, err)
	defer n.Close()
	require.NoError(t, n.mem.Load(0, m.mem.Bytes()[:1<<20]))
	require.NoError(t, n.Restore(secs))
	require.Equal(t, bytes.Repeat([]byte{7}, 512), h2.disks[0].B[:512])

	m.RetryDisks()
	require.Equal(t, Reached, m.Run(1<<20))
	require.Len(t, drv.Take(0), 1)
	require.Equal(t, bytes.Repeat([]byte{7}, 512), h.disks[0].B[:512])
}

// TestArrivalsReplay records when results come in wall time, and replays the log
// with a host that is late.
func TestArrivalsReplay(t *testing.T) {
	h := &memHost{hold: true}
	m, drv := diskMachine(t, h, ClockWall)
	var log []Input
	m.SetLog(func(in Input) { log = append(log, in) })
	ask(drv, 0, nil, 512)
	m.Run(10_000_000)
	require.False(t, m.Arrivals(), "nothing is due by itself")
	h.disks[0].Work(1)
	require.True(t, m.Arrivals())
	require.Len(t, drv.Take(0), 1)
	m.Run(11_000_000)
	want, err := m.Hash()
	require.NoError(t, err)
	require.Equal(t, []Input{{Count: 10_000_000, Time: 80_000_000, Kind: InputDisk, Data: []byte{0, 1, 0, 0, 0}}}, log)

	r, drv := diskMachine(t, &memHost{hold: true}, ClockWall)
	r.Replay(log)
	ask(drv, 0, nil, 512)
	require.Equal(t, Reached, r.Run(11_000_000))
	got, err := r.Hash()
	require.NoError(t, err)
	require.Equal(t, want, got)

	// A log that makes no sense does no harm.
	for _, data := range [][]byte{nil, {0}, {9, 1, 0, 0, 0}, {0, 255, 255, 255, 255}} {
		r.apply(Input{Kind: InputDisk, Data: data})
	}
	require.Equal(t, Reached, r.Run(12_000_000))
}

func TestDisksMustBeTheMachines(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Memory = 4 << 20
	for want, disks := range map[string][]DiskConfig{
		"disk disk0:  has 4096 bytes, the machine's has 8192": {{ID: "disk0", Size: 8192}},
		"disk b: no such file":                                {{ID: "a"}, {ID: "b", File: "missing"}},
		"one with id \"Disk\"":                                {{ID: "Disk"}},
		"two with id \"a\"":                                   {{ID: "a"}, {ID: "a"}},
		"17 disks, needs at most 16":                          make([]DiskConfig, 17),
		"both read only and private":                          {{ID: "a", ReadOnly: true, Private: true}},
	} {
		cfg.Disks = disks
		h := &memHost{}
		_, err := New(cfg, spin(), h)
		require.ErrorContains(t, err, want)
		for _, d := range h.disks {
			require.Equal(t, 1, d.closed, "what was opened is closed")
		}
	}
	cfg.Disks = []DiskConfig{{ID: "disk0"}}
	_, err := New(cfg, spin(), nil)
	require.ErrorContains(t, err, "this host has no disks")
}

func TestFreezeDisk(t *testing.T) {
	h := &memHost{}
	m, _ := diskMachine(t, h, ClockVirtual)
	layer, format, err := m.FreezeDisk(context.Background(), 0, "new")
	require.NoError(t, err)
	require.Equal(t, "old raw", layer+" "+format)
	require.Equal(t, DiskConfig{ID: "disk0", File: "new", Format: "qcow2", Size: 4096, Identity: "id", Epoch: 7}, m.Config().Disks[0])
	m.cfg.Disks[0].Private = true
	_, _, err = m.FreezeDisk(context.Background(), 0, "newer")
	require.NoError(t, err)
	require.Equal(t, DiskConfig{ID: "disk0", File: "new", Overlay: "newer", Private: true, Format: "qcow2", Size: 4096, Identity: "id", Epoch: 7}, m.Config().Disks[0])
}
