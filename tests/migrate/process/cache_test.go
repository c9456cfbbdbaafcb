package process

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/control"
	"godwit/machine"
	"godwit/migrate"
	"godwit/tests/testkit"
)

// caching reads all of a disk, so that the guest's memory has it too, and once a line is
// typed prints a digest of what it has.
const caching = "mkdir /a; mount -t ext4 -o ro /dev/vda /a && cat /a/f* > /dev/null; echo it is cached; read x; cat /a/f* | sha256sum; echo it is over"

// cachedBytes are what the disk holds, which does not compress.
const cachedBytes = 40 << 20

// debianCache starts a Debian that has read a disk of a kind.
func (w *world) debianCache(name, kind string) *control.Client {
	kernel, initrd := testkit.DebianFiles(w.t)
	dir := filepath.Join(string(w.home), "files")
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	rng, b := rand.NewChaCha8([32]byte{9}), make([]byte, cachedBytes/4)
	for i := range 4 {
		_, _ = rng.Read(b)
		require.NoError(w.t, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), b, 0o644))
	}
	raw := filepath.Join(string(w.home), "root.raw")
	require.NoError(w.t, disk.Create(raw, disk.CreateOptions{Format: disk.Raw, Size: 64 << 20}))
	w.tool("mkfs.ext4", "-q", "-F", "-b", "4096", "-d", dir, raw)
	cfg := machine.DefaultConfig()
	cfg.Memory = 192 << 20
	cfg.Append = fmt.Sprintf("console=ttyS0 quiet godwit.run=%q", caching)
	c := machine.DiskConfig{ID: "disk0", File: raw, Format: disk.Raw}
	switch kind {
	case "overlay":
		c.Private = true
	case "qcow2":
		c.File, c.Format = raw+".qcow2", disk.Qcow2
		w.tool("qemu-img", "convert", "-O", "qcow2", raw, c.File)
	}
	cfg.Disks, w.disks = []machine.DiskConfig{c}, []string{c.File}
	client, err := w.home.Launch(godwit, &control.Spec{Name: name, Machine: cfg, Kernel: kernel, Initrd: initrd, Source: "debian"})
	require.NoError(w.t, err)
	w.until(client, "it is cached")
	return client
}

// TestDebianCacheStays moves a Debian whose memory is to a good part its cache of a disk
// that both sides reach. That part does not travel, and is there; but for a qcow2 image
// that it writes to, which nobody reads beside it.
func TestDebianCacheStays(t *testing.T) {
	for _, kind := range []string{"raw", "overlay", "qcow2"} {
		w := newWorld(t)
		c := w.debianCache("vm0", kind)
		digest := w.tool("sh", "-c", "cat "+filepath.Join(string(w.home), "files")+"/f* | sha256sum")
		for i, mode := range []migrate.Mode{migrate.ModePre, migrate.ModeStop} {
			name := fmt.Sprint("vm", i+1)
			_, addr := w.receive(name)
			op, err := c.Migrate(context.Background(), request(addr, mode), nil)
			require.NoError(t, err)
			rep := op.Report
			refs := rep.Kinds[migrate.ImageRef]
			t.Logf("%s, %s: %d of %d pages refer to the disk, %d refused, %.1f MB on the wire, %v", kind, mode, refs.Pages, rep.Present, rep.Refused, float64(rep.Sent)/1e6, rep.Downtime.Total)
			w.state(name, control.StateRunning)
			c = w.home.Client(name)
			if kind == "qcow2" {
				require.Zero(t, refs.Pages)
			} else { // also where it has not read them itself
				require.Greater(t, refs.Pages, uint64(cachedBytes/migrate.PageSize*9/10))
				require.Zero(t, rep.Refused)
			}
		}
		require.Contains(t, w.ends(c), digest[:64], "what is cached is what the disk has")
	}
}
