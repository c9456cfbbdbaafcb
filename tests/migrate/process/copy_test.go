package process

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/control"
	"godwit/migrate"
)

// copyPoints are where a victim is killed while disks travel.
var copyPoints = []struct {
	name         string
	typ          uint16
	before       bool
	given, taken bool // as of points
}{
	{"first blocks lost", frBlocks, true, false, false},
	{"blocks came", frBlocks, false, false, false},
	{"first pages lost", frPages, true, false, false},
	{"ROOT lost", frRoot, true, false, false},
	{"READY lost", frReady, true, false, false},
	{"COMMIT lost", frCommit, true, true, false},
	{"ACK lost", frAck, true, true, true},
}

// fill gives the disks content, which it returns.
func (w *world) fill() (content [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, path := range w.disks {
		img, err := disk.Open(path, disk.Options{})
		require.NoError(w.t, err)
		b := make([]byte, img.Size())
		for i := range b[:300<<10] {
			b[i] = byte(rng.Uint32())
		}
		require.NoError(w.t, img.WriteAt(b[:300<<10], 0))
		require.NoError(w.t, img.Close())
		content = append(content, b)
	}
	return content
}

// holds demands that images have this content.
func (w *world) holds(paths []string, content [][]byte) {
	w.t.Helper()
	require.Len(w.t, paths, len(content))
	for i, path := range paths {
		img, err := disk.Open(path, disk.Options{ReadOnly: true})
		require.NoError(w.t, err)
		b := make([]byte, img.Size())
		require.NoError(w.t, img.ReadAt(b, 0))
		require.NoError(w.t, img.Close())
		require.True(w.t, bytes.Equal(content[i], b), path)
	}
}

// copies are the disks in a VM's directory.
func (w *world) copies(name string) []string {
	files, err := filepath.Glob(filepath.Join(w.home.Dir(name), "disk-*-*.[rq]*w*"))
	require.NoError(w.t, err)
	var out []string
	for _, f := range files {
		if filepath.Ext(f) != disk.OwnerSuffix {
			out = append(out, f)
		}
	}
	return out
}

// filled starts tiny with disks that hold something.
func (w *world) filled() (*control.Client, [][]byte) {
	w.prepare()
	content := w.fill()
	src := w.run("here", writer)
	w.until(src, "hog: ")
	return src, content
}

// TestCopyKilled kills the destination, or the source, or cuts the link, while disks
// travel: whoever runs the guest has all of them, the source's as they were.
func TestCopyKilled(t *testing.T) {
	for i, at := range copyPoints {
		q := func(to string) *control.MigrateRequest {
			q := request(to, modes[i%2])
			q.CopyDisks = string(control.CopyFull)
			return q
		}
		destination := func(t *testing.T) {
			w := newWorld(t)
			src, content := w.filled()
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			p.trip = &trip{at.typ, at.before, func() { kill(t, w.home, "there.incoming") }}
			done := make(chan error, 1)
			go func() {
				_, err := src.Migrate(context.Background(), q(p.addr), nil)
				done <- err
			}()
			if at.given {
				w.state("here", control.StateInDoubt)
				w.owns("")
				require.NoError(t, src.Post(context.Background(), "/v1/take-back", map[string]string{"name": "here"}, nil))
			}
			require.Error(t, <-done)
			w.state("here", control.StateRunning)
			w.owns("here")
			w.holds(w.disks, content)
			_, addr = w.receive("again") // and the next attempt succeeds
			_, err := src.Migrate(context.Background(), q(addr), nil)
			require.NoError(t, err)
			w.state("again", control.StateRunning)
			w.holds(w.copies("again"), content)
			w.works(w.home.Client("again"))
		}
		if !at.taken { // there it has begun to run: TestDestinationKilled
			t.Run("destination/"+at.name, destination)
		}
		t.Run("source/"+at.name, func(t *testing.T) {
			w := newWorld(t)
			src, content := w.filled()
			dst, addr := w.receive("there")
			p := newProxy(t, addr)
			p.trip = &trip{at.typ, at.before, func() { kill(t, w.home, "here"); p.cut() }}
			_, err := src.Migrate(context.Background(), q(p.addr), nil)
			require.Error(t, err)
			w.holds(w.disks, content)
			w.owns("")
			if at.taken {
				w.state("there", control.StateRunning)
				w.holds(w.copies("there"), content)
				w.works(w.home.Client("there"))
				return
			}
			require.NoError(t, dst.Post(context.Background(), "/v1/stop", map[string]string{"how": "force"}, nil))
			dst.Gone()
			require.NoDirExists(t, w.home.Dir("there.incoming"), "nothing is left of it")
		})
		t.Run("link/"+at.name, func(t *testing.T) {
			w := newWorld(t)
			src, content := w.filled()
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			p.trip = &trip{at.typ, at.before, p.cut}
			q := q(p.addr)
			q.ReconnectNS = int64(limit)
			_, err := src.Migrate(context.Background(), q, nil)
			if at.given && !at.taken && err != nil { // it was told that it never ran there
				w.state("here", control.StateRunning)
				w.owns("here")
				require.Empty(t, w.copies("there.incoming"))
				return
			}
			require.NoError(t, err)
			w.state("there", control.StateRunning)
			w.holds(w.copies("there"), content)
			w.works(w.home.Client("there"))
		})
	}
}

// TestCopyIncremental: what overlays hold travels to where the image below is, under
// another name; an image that only looks like it is refused.
func TestCopyIncremental(t *testing.T) {
	w := newWorld(t)
	w.prepare()
	base := w.fill()[1]
	bottom := w.disks[1]
	w.disks = []string{filepath.Join(string(w.home), "top")}
	require.NoError(t, disk.Create(w.disks[0], disk.CreateOptions{Format: disk.Qcow2, Backing: bottom, BackingFormat: disk.Qcow2}))
	img, err := disk.Open(w.disks[0], disk.Options{})
	require.NoError(t, err)
	want := bytes.Clone(base)
	copy(want[700<<10:], "written above")
	clear(want[64<<10 : 128<<10])
	require.NoError(t, img.WriteAt([]byte("written above"), 700<<10))
	require.NoError(t, img.WriteZeroes(64<<10, 64<<10, true))
	require.NoError(t, img.Close())
	src := w.run("here", writer)
	w.until(src, "hog: ")

	there, wrong := filepath.Join(string(w.home), "elsewhere"), filepath.Join(string(w.home), "wrong")
	b, err := os.ReadFile(bottom)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(there, b, 0o600))
	b[len(b)-1]++
	require.NoError(t, os.WriteFile(wrong, b, 0o600))
	receive := func(name, base string) string {
		c, err := w.home.Launch(godwit, &control.Spec{
			Name: name, Listen: "127.0.0.1:0", Insecure: true, Source: "elsewhere",
			DiskFiles: []control.DiskFile{{ID: "disk0", File: base}},
		})
		require.NoError(t, err)
		st, err := c.Status()
		require.NoError(t, err)
		return st.Listen
	}
	q := request(receive("wrong", wrong), migrate.ModePre)
	q.CopyDisks = string(control.CopyIncremental)
	_, err = src.Migrate(context.Background(), q, nil)
	require.Equal(t, "incompatible", codeOf(err), "%v", err)
	require.ErrorContains(t, err, "disk0.base")
	q.To, q.CopyDisks = receive("full", there), string(control.CopyFull)
	_, err = src.Migrate(context.Background(), q, nil)
	require.ErrorContains(t, err, "a copy goes to the machine's directory")

	q.To, q.CopyDisks = receive("there", there), string(control.CopyIncremental)
	op, err := src.Migrate(context.Background(), q, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, op.Report.Disks.Blocks)
	require.EqualValues(t, 1, op.Report.Disks.Zero)
	w.state("there", control.StateRunning)
	w.holds(w.copies("there"), [][]byte{want})
	i, err := disk.Inspect(w.copies("there")[0], disk.Options{})
	require.NoError(t, err)
	require.Equal(t, there, i.Backing)
	w.works(w.home.Client("there"))
}
