package process

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/control"
	"godwit/machine"
	"godwit/migrate"
	"godwit/tests/testkit"
)

// writing is what a Debian does with its disk until a line is typed: files with random
// bytes and their hashes, over and over. In the end it compares what is on the disk.
const writing = "mkdir /a; mount -t ext4 /dev/vda /a && echo 3 > /proc/sys/vm/drop_caches;" +
	"( n=0; while [ ! -e /stop ]; do i=$((n%12)); dd if=/dev/urandom of=/a/f$i bs=16k count=$((8+n%5)) 2>/dev/null; sha256sum /a/f$i > /a/s$i;" +
	" [ $((n%3)) = 0 ] && sync; n=$((n+1)); echo round $n; done ) & read x; : > /stop; wait;" +
	" sync; umount /a; mount -t ext4 /dev/vda /a; cat /a/s* | sha256sum -c - | grep -c OK; cat /a/s* | wc -l; umount /a; echo it is over"

// debianWriter starts a Debian that writes to an ext4 disk, and returns once it does.
func (w *world) debianWriter(name string) *control.Client {
	return w.debianAt(name, machine.ClockVirtual)
}

// debianAt does that with a clock of a kind.
func (w *world) debianAt(name, clock string) *control.Client {
	kernel, initrd := testkit.DebianFiles(w.t)
	path := filepath.Join(string(w.home), "root.raw")
	require.NoError(w.t, disk.Create(path, disk.CreateOptions{Format: disk.Raw, Size: 64 << 20}))
	w.tool("mkfs.ext4", "-q", "-F", "-b", "4096", path) // as on larger disks
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Clock = 192<<20, clock
	cfg.Append = fmt.Sprintf("console=ttyS0 quiet godwit.run=%q", writing)
	cfg.Disks = []machine.DiskConfig{{ID: "disk0", File: path, Format: disk.Raw}}
	w.disks = []string{path}
	c, err := w.home.Launch(godwit, &control.Spec{Name: name, Machine: cfg, Kernel: kernel, Initrd: initrd, Source: "debian"})
	require.NoError(w.t, err)
	w.until(c, "round 4")
	return c
}

func (w *world) tool(name string, args ...string) string {
	b, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(w.t, err, "%s %s: %s", name, strings.Join(args, " "), b)
	return string(b)
}

// finishes has the guest compare its disk, and waits until it has powered off.
func (w *world) finishes(c *control.Client) {
	require.Contains(w.t, w.ends(c), "\n12\r\n12\r\nit is over")
}

// ends types a line and waits until the guest has powered off. It returns what that says.
func (w *world) ends(c *control.Client) string {
	con, err := c.Console(true, true, 0)
	require.NoError(w.t, err)
	defer con.Close()
	require.NoError(w.t, con.SetDeadline(time.Now().Add(2*limit)))
	_, err = io.WriteString(con, "\r")
	require.NoError(w.t, err)
	b, _ := io.ReadAll(con) // up to its end
	for _, bad := range []string{"I/O error", "EXT4-fs error", "Oops", "BUG:", "Call Trace"} {
		require.NotContains(w.t, string(b), bad)
	}
	c.Gone()
	return string(b)
}

// TestDebianWithItsDisk moves a Debian that writes to a disk which both sides reach,
// by every strategy, one after the other. It loses nothing.
func TestDebianWithItsDisk(t *testing.T) {
	w := newWorld(t)
	c := w.debianWriter("vm0")
	for i, mode := range []migrate.Mode{migrate.ModePre, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto, migrate.ModeStop} {
		name := fmt.Sprint("vm", i+1)
		_, addr := w.receive(name)
		q := request(addr, mode)
		q.ObserveNS = int64(100 * time.Millisecond)
		rep, err := c.Migrate(context.Background(), q, nil)
		require.NoError(t, err)
		t.Logf("%s: %v", mode, rep.Report.Downtime)
		w.state(name, control.StateRunning)
		w.owns(name)
		c = w.home.Client(name)
		w.rounds(c)
	}
	w.finishes(c)
	w.owns("")
	w.tool("e2fsck", "-fn", w.disks[0])
}

// rounds waits for the guest to write some more.
func (w *world) rounds(c *control.Client) {
	con, err := c.Console(false, false, 0)
	require.NoError(w.t, err)
	defer con.Close()
	require.NoError(w.t, con.SetDeadline(time.Now().Add(limit)))
	var seen strings.Builder
	b := make([]byte, 4096)
	for strings.Count(seen.String(), "round ") < 4 {
		n, err := con.Read(b)
		require.NoError(w.t, err, "%s", seen.String())
		seen.Write(b[:n])
	}
}

// TestDebianTakesItsDisk moves a Debian that writes to its disk to where nobody reaches
// that: all of it travels, then, in an overlay, only what was written since.
func TestDebianTakesItsDisk(t *testing.T) {
	w := newWorld(t)
	c := w.debianWriter("vm0")
	first := w.disks[0]
	for i, mode := range []migrate.Mode{migrate.ModePre, migrate.ModePost, migrate.ModeStop} {
		name := fmt.Sprint("vm", i+1)
		_, addr := w.receive(name)
		q := request(addr, mode)
		q.CopyDisks = string(control.CopyFull)
		op, err := c.Migrate(context.Background(), q, nil)
		require.NoError(t, err)
		rep := op.Report
		t.Logf("%s: %v, disks %+v, %d of %d pages refer to them", mode, rep.Downtime, rep.Disks, rep.Kinds[migrate.DiskRef].Pages, rep.Present)
		if mode != migrate.ModePost {
			require.Positive(t, rep.Kinds[migrate.DiskRef].Pages, "its cache")
		}
		require.Positive(t, rep.Disks.Blocks)
		require.Less(t, rep.Disks.Raw, uint64(60<<20), "what the file system has not used does not travel")
		w.state(name, control.StateRunning)
		w.owns("") // nobody has the old one
		files, err := filepath.Glob(filepath.Join(w.home.Dir(name), "disk-disk0-*.raw"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		w.disks = files
		w.owns(name)
		c = w.home.Client(name)
		w.rounds(c)
	}
	w.finishes(c)
	w.owns("")
	w.tool("e2fsck", "-fn", w.disks[0])
	require.FileExists(t, first)
}

// TestDebianPostCopyCut breaks the connection while a Debian's pages are missing. Both
// sides say why it waits; it goes on where it stood, its disk as it was written.
func TestDebianPostCopyCut(t *testing.T) {
	w := newWorld(t)
	c := w.debianWriter("here")
	_, addr := w.receive("there")
	p := newProxy(t, addr)
	away := make(chan struct{})
	p.trip = &trip{frAck, false, func() { close(away) }}
	q := request(p.addr, migrate.ModePost)
	q.Bandwidth, q.ReconnectNS = 4<<20, int64(limit)
	done := make(chan error, 1)
	go func() {
		_, err := c.Migrate(context.Background(), q, nil)
		done <- err
	}()
	select {
	case <-away:
	case err := <-done:
		t.Fatalf("it ended too early: %v", err)
	}
	p.setDark(true)
	for _, name := range []string{"here", "there"} {
		require.Regexp(t, "connection|EOF|closed", w.recovering(name), "%s says why", name)
	}
	var b strings.Builder
	moves := w.home.Moves()
	moves.Show(&b)
	require.Regexp(t, `(?m)^here +.* running +recovery: .`, b.String())
	require.Regexp(t, `(?m)^there +.* running +recovery: .`, b.String())
	dst := w.home.Client("there")
	before := w.state("there", control.StateRunning).Count
	p.setDark(false)
	require.NoError(t, <-done)
	w.state("here", control.StateGone)
	w.rounds(dst)
	require.Greater(t, w.home.Look("there").Count, before)
	w.finishes(dst)
	w.owns("")
	w.tool("e2fsck", "-fn", w.disks[0])
}
