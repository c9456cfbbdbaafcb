package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/machine"
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
	m, err := machine.New(cfg, guest(t), o)
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
