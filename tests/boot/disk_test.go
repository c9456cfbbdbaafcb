package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

// flat is an image's content in a raw file, by qemu-img.
func flat(t testing.TB, path string) string {
	raw := filepath.Join(t.TempDir(), "flat.raw")
	tool(t, "qemu-img", "convert", "-O", "raw", path, raw)
	return raw
}

func diskDebian(t testing.TB, cpus int, path, run string) (*machine.Machine, *diskOut) {
	cfg := machine.DefaultConfig()
	cfg.CPUs, cfg.Append = cpus, `console=ttyS0 godwit.run="`+run+`"`
	cfg.Disks = []machine.DiskConfig{{ID: "disk0", File: path}}
	o := &diskOut{t: t}
	m, err := machine.New(cfg, guest(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m, o
}

const diskWork = "mkdir /m; mount -t ext4 /dev/vda /m && cp -r /bin /m/bin; dd if=/dev/urandom of=/m/big bs=64k count=100 2>/dev/null; sync; sha256sum /m/big; rm -r /m/bin; umount /m; cat /sys/block/vda/serial; ls /sys/block/vda/mq"

func TestDebianDisk(t *testing.T) {
	for _, format := range []string{disk.Raw, disk.Qcow2} {
		t.Run(format, func(t *testing.T) {
			path := ext4(t, format, 64)
			m, o := diskDebian(t, 2, path, diskWork)
			s := m.Run(8_000_000_000)
			t.Logf("%s at #%d", s, m.Count())
			require.Equal(t, machine.Off, s, "%s", o.String()[max(0, o.Len()-3000):])
			require.NoError(t, m.CloseDisks())
			raw := path
			if format == disk.Qcow2 {
				require.Contains(t, tool(t, "qemu-img", "check", path), "No errors")
				raw = flat(t, path)
			}
			tool(t, "e2fsck", "-fn", raw)
			tool(t, "debugfs", "-R", "dump /big "+raw+".big", raw)
			b, err := os.ReadFile(raw + ".big")
			require.NoError(t, err)
			require.Len(t, b, 100<<16)
			sum := sha256.Sum256(b)
			require.True(t, bytes.Contains(o.Bytes(), []byte(hex.EncodeToString(sum[:]))), "%s", o.String()[max(0, o.Len()-3000):])
			t.Log(o.String()[max(0, o.Len()-1000):])
		})
	}
}
