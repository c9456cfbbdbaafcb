package det

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/devices/virtio"
	"godwit/devices/virtio/blk"
	"godwit/devices/virtio/virtiotest"
	"godwit/machine"
	"godwit/snapshot"
)

// drives is a host with disks that are late now and then.
type drives struct {
	quiet
	rng *rand.Rand // nil: never late
}

func (h *drives) OpenDisk(c *machine.DiskConfig) (machine.Disk, error) {
	d, err := disk.OpenDrive(c.File, disk.DriveOptions{Format: c.Format, Claim: disk.Claim{Name: "det", Epoch: c.Epoch}})
	if err != nil {
		return nil, err
	}
	return &tardy{Drive: d, rng: h.rng}, nil
}

// tardy says that nothing is finished when something is, until somebody waits.
type tardy struct {
	*disk.Drive
	rng    *rand.Rand
	waited bool
}

func (d *tardy) Drain(ctx context.Context) error {
	d.waited = true
	return d.Drive.Drain(ctx)
}

func (d *tardy) Collect() ([]byte, bool) {
	if d.rng != nil && !d.waited && d.rng.IntN(3) != 0 {
		return nil, false
	}
	data, ok := d.Drive.Collect()
	d.waited = d.waited && ok
	return data, ok
}

// spinner is a machine whose first vCPU loops for ever: the guest memory's other
// user is loader.
func spinner(t *testing.T, cpus int, path string, h machine.Host) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs = 2<<20, cpus
	cfg.Disks = []machine.DiskConfig{{ID: "disk0", File: path}}
	rom := make([]byte, machine.MinBios)
	copy(rom[len(rom)-16:], []byte{0xeb, 0xfe})
	m, err := machine.New(cfg, machine.Images{Bios: rom}, h)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	return m
}

func device(m *machine.Machine) *blk.Device {
	for _, d := range m.Devices() {
		if b, ok := d.(*blk.Device); ok {
			return b
		}
	}
	return nil
}

// loader is a driver that writes to guest memory as a device would.
type loader struct {
	*virtiotest.Driver
	m   *machine.Machine
	rng *rand.Rand
}

const diskSize = 4 << 20

func newLoader(t *testing.T, m *machine.Machine) *loader {
	l := &loader{virtiotest.NewDriver(device(m), virtiotest.NewRAM(1<<20)), m, rand.New(rand.NewPCG(1, 2))}
	require.EqualValues(t, 0xf, l.Init(virtio.FeatureVersion1|1<<9|1<<13|1<<14, false))
	return l
}

// move lets the driver go on with another machine.
func (l *loader) move(m *machine.Machine) {
	n := virtiotest.NewDriver(device(m), l.RAM)
	l.Rewire(n)
	l.m = m
}

// ask makes a few random requests available.
func (l *loader) ask(t *testing.T) {
	before := append([]byte{}, l.sync()...)
	q := l.rng.IntN(len(device(l.m).Virtio.Queues))
	for range 1 + l.rng.IntN(6) {
		sectors := 1 + l.rng.IntN(16)
		head := make([]byte, 16)
		binary.LittleEndian.PutUint64(head[8:], l.rng.Uint64N(diskSize/512-16))
		out, in := []virtio.Segment{}, []virtio.Segment{}
		switch l.rng.IntN(6) {
		case 0, 1:
			in = append(in, l.Room(sectors*512))
		case 2, 3:
			head[0] = 1
			p := make([]byte, sectors*512)
			for i := range p {
				p[i] = byte(l.rng.Uint32())
			}
			out = append(out, l.Buffer(p))
		case 4:
			head[0] = 4
		case 5:
			head[0] = 11
			r := append([]byte{}, head[8:]...)
			out = append(out, l.Buffer(binary.LittleEndian.AppendUint64(r, uint64(sectors))))
		}
		l.Add(q, append([]virtio.Segment{l.Buffer(head)}, out...), append(in, l.Room(1)))
	}
	for pa := 0; pa < len(before); pa += 4096 {
		if now := l.RAM.B[pa : pa+4096]; string(now) != string(before[pa:pa+4096]) {
			require.True(t, l.m.Memory().Write(uint64(pa), now))
		}
	}
	l.Kick(q)
}

// sync shows the driver what the guest's memory is.
func (l *loader) sync() []byte {
	l.m.Memory().Read(0, l.RAM.B)
	return l.RAM.B
}

// load runs a machine under requests and returns its hashes; at random counts,
// disturb may return another machine.
func load(t *testing.T, m *machine.Machine, disturb func(m *machine.Machine, rng *rand.Rand) *machine.Machine) []string {
	l := newLoader(t, m)
	rng := rand.New(rand.NewPCG(3, 4))
	var hashes []string
	for round := range 40 {
		l.ask(t)
		next := uint64(round+1) * 9000 // a request takes 6250 counts and more
		for range 1 + rng.IntN(3) {
			at := m.Count() + rng.Uint64N(next-m.Count()+1)
			require.Equal(t, machine.Reached, m.Run(at))
			if n := disturb(m, rng); n != m {
				m = n
				l.move(m)
			}
		}
		require.Equal(t, machine.Reached, m.Run(next))
		if round%4 == 0 {
			hashes = append(hashes, hash(t, m))
		}
	}
	require.Equal(t, machine.Reached, m.Run(m.Count()+10_000_000))
	hashes = append(hashes, hash(t, m))
	require.NoError(t, m.Close())
	return hashes
}

// TestDiskLoad compares runs under a random load of disk requests: undisturbed; with
// a host that is late, engines that change and dirty pages that are checked; and
// saved and loaded, with requests in flight.
func TestDiskLoad(t *testing.T) {
	for _, cpus := range []int{1, 4} {
		for _, format := range []string{disk.Raw, disk.Qcow2} {
			if (cpus == 1) != (format == disk.Raw) && os.Getenv("GODWIT_FULL") == "" {
				continue
			}
			t.Run(fmt.Sprint(cpus, format), func(t *testing.T) {
				image := func() string {
					path := filepath.Join(t.TempDir(), "disk")
					require.NoError(t, disk.Create(path, disk.CreateOptions{Format: format, Size: diskSize}))
					return path
				}
				paths := []string{image(), image(), image()}
				want := load(t, spinner(t, cpus, paths[0], &drives{}), func(m *machine.Machine, _ *rand.Rand) *machine.Machine { return m })

				slow := spinner(t, cpus, paths[1], &drives{rng: rand.New(rand.NewPCG(5, 6))})
				slow.Memory().SetParanoid(true)
				c := slow.Memory().Consumer("test")
				var bits []uint64
				require.Equal(t, want, load(t, slow, func(m *machine.Machine, rng *rand.Rand) *machine.Machine {
					m.SetEngine(machine.Engine(rng.IntN(2)))
					bits = c.Harvest(bits)
					require.NoError(t, m.Memory().Check())
					return m
				}), "a slow host")

				flying, saves := 0, 0
				require.Equal(t, want, load(t, spinner(t, cpus, paths[2], &drives{}), func(m *machine.Machine, rng *rand.Rand) *machine.Machine {
					flying, saves = flying+len(device(m).Requests), saves+1
					return reloaded(t, m, &drives{rng: rng})
				}), "saved and loaded")
				t.Logf("%d saves with %d requests in flight", saves, flying)
				require.Greater(t, saves, 50)
				require.Greater(t, flying, 100)
				require.Equal(t, bytesOf(t, paths[0]), bytesOf(t, paths[1]))
				require.Equal(t, bytesOf(t, paths[0]), bytesOf(t, paths[2]))
			})
		}
	}
}

func reloaded(t *testing.T, m *machine.Machine, h machine.Host) *machine.Machine {
	path := filepath.Join(t.TempDir(), "vm")
	_, err := m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
	require.NoError(t, err)
	want := hash(t, m)
	require.NoError(t, m.Close())
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	defer f.Close()
	next, err := machine.Load(context.Background(), f, h)
	require.NoError(t, err)
	require.Equal(t, want, hash(t, next))
	return next
}

func bytesOf(t *testing.T, path string) []byte {
	d, err := disk.Open(path, disk.Options{ReadOnly: true})
	require.NoError(t, err)
	defer d.Close()
	b := make([]byte, d.Size())
	require.NoError(t, d.ReadAt(b, 0))
	return b
}
