package control

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/devices/virtio"
	"godwit/devices/virtio/blk"
	"godwit/devices/virtio/virtiotest"
	"godwit/machine"
)

func TestParseDisk(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a.raw", "b,ro.x", "c=d"} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	dir, err := os.Getwd()
	require.NoError(t, err)
	for text, want := range map[string]machine.DiskConfig{
		"a.raw":                        {ID: "disk3", File: "a.raw"},
		"a.raw,ro":                     {ID: "disk3", File: "a.raw", ReadOnly: true},
		"a.raw,overlay,format=qcow2":   {ID: "disk3", File: "a.raw", Private: true, Format: "qcow2"},
		"b,ro.x,id=root,ro,format=raw": {ID: "root", File: "b,ro.x", ReadOnly: true, Format: "raw"},
		"c=d":                          {ID: "disk3", File: "c=d"},
	} {
		got, err := ParseDisk(text, 3)
		require.NoError(t, err, text)
		want.File = filepath.Join(dir, want.File)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", ",ro", "a.raw,format=vmdk", "a.raw,rw", "missing"} {
		_, err := ParseDisk(text, 0)
		assert.Error(t, err, text)
	}
	f, err := ParseDiskFile("root=c=d,format=raw")
	require.NoError(t, err)
	assert.Equal(t, DiskFile{ID: "root", File: filepath.Join(dir, "c=d"), Format: "raw"}, f)
	for _, text := range []string{"a.raw", "=a.raw", "root=", "root=a.raw,ro"} {
		_, err := ParseDiskFile(text)
		assert.Error(t, err, text)
	}
}

// brokenFS has files whose writes fail as told.
type brokenFS struct {
	disk.FS
	err atomic.Pointer[error]
}

type brokenFile struct {
	disk.File
	fs *brokenFS
}

func (b *brokenFS) Open(path string, write bool) (disk.File, error) {
	f, err := b.FS.Open(path, write)
	return &brokenFile{f, b}, err
}

func (f *brokenFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.err.Load(); err != nil {
		return 0, *err
	}
	return f.File.WriteAt(p, off)
}

// diskHost opens disks on such a file system.
type diskHost struct {
	*Runner
	fs *brokenFS
}

func (h diskHost) OpenDisk(c *machine.DiskConfig) (machine.Disk, error) {
	d, err := disk.OpenDrive(c.File, disk.DriveOptions{FS: h.fs})
	if err != nil {
		return nil, err
	}
	d.Notify(h.wake)
	return d, nil
}

// TestFullDiskPausesAndContRetries has a guest write to a disk that is full: it
// stands still and says why, and goes on as if nothing had been once there is room.
func TestFullDiskPausesAndContRetries(t *testing.T) {
	for _, clock := range []string{machine.ClockVirtual, machine.ClockWall} {
		t.Run(clock, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			require.NoError(t, disk.Create(path, disk.CreateOptions{Format: disk.Qcow2, Size: 1 << 20}))
			fs := &brokenFS{FS: disk.HostFS()}
			until := uint64(1 << 62)
			r := newRunner(&Spec{Name: "x", Until: &until}, nil, t.TempDir())
			m := spinning(t, clock, path, diskHost{r, fs})
			drv := virtiotest.NewDriver(block(m), &virtiotest.RAM{B: m.Memory().Bytes()[:1<<20]})
			require.EqualValues(t, 0xf, drv.Init(virtio.FeatureVersion1, false))
			full := error(syscall.ENOSPC)
			fs.err.Store(&full)
			status := drv.Room(1)
			head := append(binary.LittleEndian.AppendUint32(nil, 1), make([]byte, 12)...)
			drv.Add(0, []virtio.Segment{drv.Buffer(head), drv.Buffer(make([]byte, 512))}, []virtio.Segment{status})
			drv.Bytes(status)[0] = 0xee
			drv.Kick(0)

			r.Start(m, true)
			s := newServer(r)
			ask := func(path string) { // waits for it to be served
				w := httptest.NewRecorder()
				s.http.Handler.ServeHTTP(w, httptest.NewRequest("POST", path, nil))
				require.Equal(t, 200, w.Code, w.Body)
			}
			paused := func() Status {
				for {
					if st := r.Status(); st.State == StatePaused && st.Reason != "" {
						return st
					}
					require.NoError(t, r.Do(context.Background(), func() error { return nil }))
				}
			}
			ask("/v1/cont")
			require.Contains(t, paused().Reason, "no space left on device; make room, then  godwit cont x")
			require.Contains(t, string(r.con.tail(1000)), "no space left")
			ask("/v1/cont")
			require.Contains(t, paused().Reason, "no space left", "still")
			broken := errors.New("input/output error")
			fs.err.Store(&broken)
			ask("/v1/cont")
			require.Contains(t, paused().Reason, "input/output error; once that is mended,  godwit cont x")
			fs.err.Store(nil)
			ask("/v1/cont")
			for done := false; !done; {
				require.NoError(t, r.Do(context.Background(), func() error {
					done = drv.Bytes(status)[0] == 0
					return nil
				}))
			}
			require.Empty(t, r.Status().Reason)
			s.force()
			<-r.done
			require.Equal(t, "stopped", r.Status().End.Reason)
		})
	}
}

func block(m *machine.Machine) *blk.Device {
	for _, d := range m.Devices() {
		if b, ok := d.(*blk.Device); ok {
			return b
		}
	}
	return nil
}

// spinning is a machine whose ROM loops for ever.
func spinning(t *testing.T, clock, path string, h machine.Host) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Clock = 4<<20, clock
	cfg.Disks = []machine.DiskConfig{{ID: "disk0", File: path}}
	rom := make([]byte, machine.MinBios)
	copy(rom[len(rom)-16:], []byte{0xeb, 0xfe})
	m, err := machine.New(cfg, machine.Images{Bios: rom}, h)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m
}
