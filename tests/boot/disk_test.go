package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/devices"
	"godwit/devices/virtio/blk"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

// diskOut is a host that has disks.
type diskOut struct {
	out
	t testing.TB
}

func (d *diskOut) OpenDisk(c *machine.DiskConfig) (machine.Disk, error) {
	o := disk.DriveOptions{Format: c.Format, ReadOnly: c.ReadOnly, Claim: disk.Claim{Name: "test"}}
	drive, err := disk.OpenDrive(c.File, o)
	if err != nil {
		return nil, err
	}
	return drive, nil
}

func tool(t testing.TB, name string, args ...string) string {
	b, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), b)
	return string(b)
}

// ext4 makes an image with a file system.
func ext4(t testing.TB, format string, mib int64) string {
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, disk.Create(path, disk.CreateOptions{Format: disk.Raw, Size: mib << 20}))
	tool(t, "mkfs.ext4", "-q", "-F", path)
	if format == disk.Raw {
		return path
	}
	q := filepath.Join(t.TempDir(), "disk.qcow2")
	tool(t, "qemu-img", "convert", "-O", "qcow2", path, q)
	return q
}

func diskDebian(t testing.TB, cpus int, run string, disks ...string) (*machine.Machine, *diskOut) {
	cfg := machine.DefaultConfig()
	cfg.CPUs, cfg.Append = cpus, `console=ttyS0 godwit.run="`+run+`"`
	for i, path := range disks {
		cfg.Disks = append(cfg.Disks, machine.DiskConfig{ID: fmt.Sprint("disk", i), File: path, ReadOnly: strings.HasSuffix(path, ".ro")})
	}
	o := &diskOut{t: t}
	m, err := machine.New(cfg, testkit.Debian(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m, o
}

// diskWork writes files to a disk, copies them to another and finds a third one
// read only.
const diskWork = "mkdir /a /b; mount -t ext4 /dev/vda /a && mount -t ext4 /dev/vdb /b && cp -r /bin /a/bin" +
	" && dd if=/dev/urandom of=/a/big bs=64k count=20 2>/dev/null; sync; cp /a/big /b/big; rm -r /a/bin; umount /a /b" +
	"; mount -t ext4 /dev/vdb /b; sha256sum /b/big; umount /b; cat /sys/block/vdc/serial; echo; cat /sys/block/vdc/ro; dd if=/dev/zero of=/dev/vdc count=1 2>&1 | grep -c not.permitted"

// TestDebianDisk has a guest use a raw and a qcow2 disk with ext4, and the tools
// that others wrote find them as it left them.
func TestDebianDisk(t *testing.T) {
	disks := []string{ext4(t, disk.Raw, 32), ext4(t, disk.Qcow2, 32), ext4(t, disk.Raw, 8)}
	require.NoError(t, os.Rename(disks[2], disks[2]+".ro"))
	disks[2] += ".ro"
	m, o := diskDebian(t, 2, diskWork, disks...)
	s := m.Run(8_000_000_000)
	t.Logf("%s at #%d", s, m.Count())
	require.Equal(t, machine.Off, s, "%s", tail(&o.out))
	require.NoError(t, m.CloseDisks())
	require.Contains(t, o.String(), "disk2\r\n1\r\n", "serial number and read only")
	sum := content(t, disks[0], "/big")
	require.Contains(t, o.String(), sum+"  /b/big", "%s", tail(&o.out))
	require.Equal(t, sum, content(t, disks[1], "/big"))
}

// content checks an image and the file system in it, and returns a file's hash.
func content(t testing.TB, path, file string) string {
	raw := path
	if strings.HasSuffix(path, ".qcow2") {
		require.Contains(t, tool(t, "qemu-img", "check", path), "No errors")
		raw = filepath.Join(t.TempDir(), "flat.raw")
		tool(t, "qemu-img", "convert", "-O", "raw", path, raw)
		flat := filepath.Join(t.TempDir(), "ours.raw")
		src, err := disk.Open(path, disk.Options{ReadOnly: true})
		require.NoError(t, err)
		require.NoError(t, disk.Convert(context.Background(), flat, src, disk.CreateOptions{Format: disk.Raw}, nil))
		require.NoError(t, src.Close())
		tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", flat, raw)
	}
	tool(t, "e2fsck", "-fn", raw)
	out := filepath.Join(t.TempDir(), "file")
	tool(t, "debugfs", "-R", "dump "+file+" "+out, raw)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.NotEmpty(t, b)
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// TestDebianDiskHash saves and loads Debian again and again while it uses its disk,
// on both engines and with dirty pages that are checked, and compares with an
// undisturbed run. A guest that waits for its disk spends few counts on that, so
// requests are rarely in flight at random ones: see tests/det TestDiskLoad.
func TestDebianDiskHash(t *testing.T) {
	if os.Getenv("GODWIT_FULL") == "" {
		t.Skip("takes minutes: GODWIT_FULL=1; a short form is tests/det TestDiskLoad")
	}
	const work = "mkdir /a; mount -t ext4 /dev/vda /a && cp -r /bin /a/bin && sync && rm -r /a/bin; dd if=/dev/urandom of=/a/big bs=64k count=20 2>/dev/null; umount /a"
	for _, cpus := range []int{1, 4} {
		image, twin := ext4(t, disk.Qcow2, 32), filepath.Join(t.TempDir(), "twin.qcow2")
		b, err := os.ReadFile(image)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(twin, b, 0o600))
		m, o := diskDebian(t, cpus, work, image)
		require.Equal(t, machine.Reached, m.Run(1_450_000_000)) // about when the disk is mounted
		require.Equal(t, machine.Off, m.Run(8_000_000_000), "%s", tail(&o.out))
		want, end := hexHash(t, m), m.Count()
		require.NoError(t, m.Close())

		m, _ = diskDebian(t, cpus, work, twin)
		rng := rand.New(rand.NewPCG(uint64(cpus), 7))
		at := make([]uint64, 25)
		for i := range at {
			at[i] = 1_450_000_000 + rng.Uint64N(end-1_500_000_000) // what follows a save ends before the guest does
		}
		slices.Sort(at)
		inFlight := 0
		for i, count := range at {
			require.Equal(t, machine.Reached, m.Run(count))
			inFlight += requests(m)
			path := filepath.Join(t.TempDir(), "vm")
			_, err := m.Save(context.Background(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
			require.NoError(t, err)
			require.NoError(t, m.Close())
			f, err := snapshot.Open(snapshot.Disk{}, path)
			require.NoError(t, err)
			m, err = machine.Load(context.Background(), f, &diskOut{t: t})
			require.NoError(t, err)
			require.NoError(t, f.Close())
			m.Memory().SetParanoid(true)
			c := m.Memory().Consumer("test")
			m.SetEngine(machine.EngineReference)
			m.Run(count + 100_000)
			m.SetEngine(machine.EngineFast)
			for range i % 3 { // a few harvests each
				m.Run(m.Count() + 1_000_000)
				c.Harvest(nil)
				require.NoError(t, m.Memory().Check())
			}
			for k := i + 1; k < len(at) && at[k] < m.Count(); k++ {
				at[k] = m.Count()
			}
		}
		require.Equal(t, machine.Off, m.Run(8_000_000_000))
		t.Logf("%d vcpus: %d saves with %d requests in flight", cpus, len(at), inFlight)
		require.Equal(t, want, hexHash(t, m))
		require.NoError(t, m.Close())
		require.Equal(t, content(t, image, "/big"), content(t, twin, "/big"))
	}
}

func requests(m *machine.Machine) (n int) {
	for _, d := range m.Devices() {
		if b, ok := d.(*blk.Device); ok {
			n += len(b.Requests)
		}
	}
	return n
}

// TestDebianSystemd boots Debian 12 from a disk: systemd brings it to a login on
// the serial port, root shuts it down, and its file system is clean. The root file
// system comes from debootstrap, which needs root and the archive.
func TestDebianSystemd(t *testing.T) {
	if os.Getenv("GODWIT_FULL") == "" {
		t.Skip("takes minutes: GODWIT_FULL=1")
	}
	image := systemdRoot(t)
	cfg := machine.DefaultConfig()
	cfg.Append = "console=ttyS0 root=/dev/vda"
	cfg.Disks = []machine.DiskConfig{{ID: "root", File: image}}
	a := &dialogue{diskOut: diskOut{t: t}, turns: [][2]string{
		{"ttyS0\r\n\r\ngodwit login: ", "root"},
		{"godwit:~# ", "systemctl is-system-running --wait; findmnt -no FSTYPE /"},
		{"running\r\next4\r\n", ""},
		{"godwit:~# ", "poweroff"},
	}}
	m, err := machine.New(cfg, testkit.Debian(t), a)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	a.m = m
	require.NoError(t, m.Boot())
	start := time.Now()
	s := m.Run(60_000_000_000)
	t.Logf("%s at #%d, after %.1f s of guest time and %.1f s of the host's; login at #%d, %.1f s and %.1f s", s, m.Count(),
		float64(m.Now())/1e9, time.Since(start).Seconds(), a.count, float64(a.guest)/1e9, a.host.Sub(start).Seconds())
	require.Equal(t, machine.Off, s, "%s", tail(&a.out))
	require.Empty(t, a.turns, "%s", tail(&a.out))
	for _, bad := range []string{"Oops", "BUG:", "WARNING:", "Call Trace", "segfault", "I/O error", "EXT4-fs error", "FAILED"} {
		require.NotContains(t, a.String(), bad, "%s", tail(&a.out))
	}
	require.NoError(t, m.CloseDisks())
	t.Log(tool(t, "e2fsck", "-fn", image))
}

// dialogue types an answer to each text that it waits for, in turn.
type dialogue struct {
	diskOut
	m     *machine.Machine
	turns [][2]string
	seen  int
	count uint64 // of the first answer, with guest and host time
	guest devices.Nanos
	host  time.Time
}

func (d *dialogue) Poll() bool {
	for len(d.turns) > 0 {
		at := bytes.Index(d.Bytes()[d.seen:], []byte(d.turns[0][0]))
		if at < 0 {
			break
		}
		if d.count == 0 {
			d.count, d.guest, d.host = d.m.Count(), d.m.Now(), time.Now()
		}
		d.seen += at + len(d.turns[0][0])
		if answer := d.turns[0][1]; answer != "" {
			d.m.Input(machine.InputConsole, []byte(answer+"\r"))
		}
		d.turns = d.turns[1:]
	}
	return false
}

func (d *dialogue) Idle(devices.Nanos) bool { return d.Poll() }

// systemdRoot makes an image of Debian 12 with systemd, whose root needs no
// password.
func systemdRoot(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "root")
	tool(t, "debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,udev,login,util-linux,kmod,dbus", "bookworm", dir)
	tool(t, "chroot", dir, "passwd", "-d", "root")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/hostname"), []byte("godwit\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/fstab"), nil, 0o644))
	image := filepath.Join(t.TempDir(), "root.ext4")
	tool(t, "mkfs.ext4", "-q", "-d", dir, image, "1G")
	return image
}
