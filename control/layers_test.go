package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/backend/disk/disktest"
	"godwit/snapshot/tree"
)

// woods is a VM's directory with layers of a disk in it, and what the files that are
// needed read as.
type woods struct {
	t       *testing.T
	dir     string
	content map[string][]byte // by file, of rests and of the top
	rests   []string
	top     string
	n       int
}

const woodsSize = 8 << 16

func newWoods(t *testing.T, rng *rand.Rand) *woods {
	w := &woods{t: t, dir: filepath.Join(t.TempDir(), "vm"), content: map[string][]byte{}}
	require.NoError(t, os.Mkdir(w.dir, 0o700))
	base := make([]byte, woodsSize)
	rng.Read(base[:5<<16])
	w.top = filepath.Join(t.TempDir(), "user.raw")
	require.NoError(t, os.WriteFile(w.top, base, 0o600))
	w.content[w.top] = base
	return w
}

// layer has the disk go on in a new layer over a file, and writes to it.
func (w *woods) layer(rng *rand.Rand, over string) {
	w.n++
	path := filepath.Join(w.dir, fmt.Sprintf("disk-disk0-%d.qcow2", w.n))
	require.NoError(w.t, disk.Create(path, disk.CreateOptions{Format: disk.Qcow2, Backing: over}))
	img, err := disk.Open(path, disk.Options{Format: disk.Qcow2})
	require.NoError(w.t, err)
	b := bytes.Clone(w.content[over])
	at := rng.Int63n(8) << 16
	rng.Read(b[at : at+4096])
	require.NoError(w.t, img.WriteAt(b[at:at+4096], at))
	require.NoError(w.t, img.Close())
	w.top, w.content[path] = path, b
}

// take keeps what the disk is.
func (w *woods) take(rng *rand.Rand) {
	w.rests = append(w.rests, w.top)
	w.layer(rng, w.top)
}

func file(path string) DiskFile {
	if filepath.Ext(path) == ".raw" {
		return DiskFile{File: path, Format: disk.Raw}
	}
	return DiskFile{File: path, Format: disk.Qcow2}
}

func (w *woods) layers() *layers {
	l := &layers{dir: w.dir, vm: "plover", tops: []DiskFile{file(w.top)}}
	for _, f := range w.rests {
		l.rests = append(l.rests, file(f))
	}
	return l
}

// whole demands that all that is needed reads as it should.
func (w *woods) whole(what string) {
	for _, path := range append(slices.Clone(w.rests), w.top) {
		f := file(path)
		img, err := disk.Open(path, disk.Options{Format: f.Format, ReadOnly: true})
		require.NoError(w.t, err, what)
		b := make([]byte, woodsSize)
		require.NoError(w.t, img.ReadAt(b, 0), what)
		require.True(w.t, bytes.Equal(w.content[path], b), "%s: %s reads otherwise", what, path)
		require.NoError(w.t, img.Close())
	}
}

// tidied demands that each layer that is left is needed for itself.
func (w *woods) tidied(what string) {
	l := w.layers()
	require.NoError(w.t, l.find())
	require.Empty(w.t, l.merges(), what)
	all, err := os.ReadDir(w.dir)
	require.NoError(w.t, err)
	for _, e := range all {
		f, _ := cutOwner(filepath.Join(w.dir, e.Name()))
		require.Contains(w.t, l.below, f, "%s: %s is left over", what, e.Name())
	}
}

func cutOwner(f string) (string, bool) {
	if c, ok := bytes.CutSuffix([]byte(f), []byte(disk.OwnerSuffix)); ok {
		return string(c), true
	}
	return f, false
}

// grow takes, restores and removes at random.
func (w *woods) grow(rng *rand.Rand, ops int) {
	for range ops {
		switch k := rng.Intn(6); {
		case k < 3 || len(w.rests) == 0:
			w.take(rng)
		case k == 3: // the old present is an orphan then
			w.layer(rng, w.rests[rng.Intn(len(w.rests))])
		default:
			w.rests = slices.Delete(w.rests, rng.Intn(len(w.rests)), len(w.rests))
			for range rng.Intn(3) {
				w.take(rng)
			}
		}
	}
}

func (w *woods) litter() {
	for _, name := range []string{"disk-disk0-90.qcow2.part", "disk-disk0-90.qcow2.part.godwit-owner", "disk-disk0-1.qcow2.part", "disk-disk0-91.qcow2.godwit-owner"} {
		require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), nil, 0o600))
	}
}

// TestLayersAreMerged grows trees of snapshots at random: merging leaves what is needed
// as it was, and nothing else.
func TestLayersAreMerged(t *testing.T) {
	for seed := range int64(12) {
		rng := rand.New(rand.NewSource(seed))
		w := newWoods(t, rng)
		w.grow(rng, 12)
		w.litter()
		_, left, err := w.layers().tidy(context.Background())
		require.NoError(t, err)
		require.Empty(t, left)
		w.whole(fmt.Sprint("seed ", seed))
		w.tidied(fmt.Sprint("seed ", seed))
	}
}

// TestDepthIsBounded takes snapshots one after the other.
func TestDepthIsBounded(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	w := newWoods(t, rng)
	deepest := 0
	for range 3 * maxLayers {
		w.take(rng)
		l := w.layers()
		require.NoError(t, l.find())
		if l.depth(w.top) > maxLayers {
			_, left, err := l.tidy(context.Background())
			require.NoError(t, err)
			require.Empty(t, left)
			chain, err := disk.Chain(w.top, disk.Options{})
			require.NoError(t, err)
			require.Len(t, chain, 2)
		}
		deepest = max(deepest, l.depth(w.top))
	}
	require.Equal(t, maxLayers, deepest)
	w.whole("at the end")
}

// TestLayersAreMergedInUse merges while a drive has the layers open, those that were
// frozen by it and those from before, and writes.
func TestLayersAreMergedInUse(t *testing.T) {
	for seed := range int64(5) {
		rng := rand.New(rand.NewSource(seed))
		w := newWoods(t, rng)
		w.grow(rng, 8)
		w.take(rng)
		d, err := disk.OpenDrive(w.top, disk.DriveOptions{Format: disk.Qcow2, Claim: disk.Claim{Name: "plover"}})
		require.NoError(t, err)
		for range 4 {
			next := filepath.Join(w.dir, fmt.Sprintf("disk-disk0-%d.qcow2", 100+w.n))
			w.n++
			b := bytes.Clone(w.content[w.top])
			rng.Read(b[:8192])
			d.Write(bytes.Clone(b[:8192]), 0, false)
			_, _, err := d.Freeze(context.Background(), next)
			require.NoError(t, err)
			w.content[w.top] = b
			if rng.Intn(2) == 0 {
				w.rests = append(w.rests, w.top)
			}
			w.top, w.content[next] = next, b
		}
		l := w.layers()
		l.drives = []*disk.Drive{d}
		_, left, err := l.tidy(context.Background())
		require.NoError(t, err)
		require.Empty(t, left)
		d.Read(woodsSize, 0)
		require.NoError(t, d.Drain(context.Background()))
		require.NoError(t, d.Err())
		b, ok := d.Collect()
		for i := 0; i < 4 && ok && b == nil; i++ { // writes
			b, ok = d.Collect()
		}
		require.True(t, bytes.Equal(w.content[w.top], b), "seed %d", seed)
		require.NoError(t, d.Close())
		w.whole(fmt.Sprint("seed ", seed))
		w.tidied(fmt.Sprint("seed ", seed))
	}
}

// TestMergingStopsAnywhere kills the merging at each step on the host's files, and has
// each step fail once: all that is needed is whole, and the next attempt leaves nothing
// over.
func TestMergingStopsAnywhere(t *testing.T) {
	broken := errors.New("broken")
	defer func(old disk.FS) { diskFS = old }(diskFS)
	for stride, dead := range map[int]bool{1: true, 3: false} {
		for fail := 1; ; fail += stride {
			rng := rand.New(rand.NewSource(3))
			w := newWoods(t, rng)
			w.grow(rng, 14)
			w.litter()
			n := 0
			diskFS = &disktest.FS{FS: disk.HostFS(), Step: func(bool) error {
				if n++; n == fail || dead && n > fail {
					return broken
				}
				return nil
			}}
			_, left, err := w.layers().tidy(context.Background())
			diskFS = disk.HostFS()
			what := fmt.Sprintf("step %d, dead %t", fail, dead)
			w.whole(what)
			if err == nil && left == "" {
				require.Less(t, n, fail)
				require.Greater(t, fail, 20, "steps were counted")
				break
			}
			_, left, err = w.layers().tidy(context.Background())
			require.NoError(t, err, what)
			require.Empty(t, left, what)
			w.whole(what)
			w.tidied(what)
		}
	}
}

// TestNothingIsTakenInDoubt: where it is not known what is needed, nothing goes.
func TestNothingIsTakenInDoubt(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	w := newWoods(t, rng)
	w.take(rng)
	w.take(rng)
	files := func() (n int) {
		all, err := os.ReadDir(w.dir)
		require.NoError(t, err)
		return len(all)
	}
	before := files()
	w.rests = append(w.rests, filepath.Join(w.dir, "gone.qcow2"))
	_, _, err := w.layers().tidy(context.Background())
	require.Error(t, err)
	require.Equal(t, before, files())

	// Layers of which somebody has the lock stay, though nothing says why.
	w.rests = nil
	l, err := disk.HostFS().Lock(filepath.Join(w.dir, "disk-disk0-1.qcow2"), disk.Claim{Name: "somebody"})
	require.NoError(t, err)
	_, left, err := w.layers().tidy(context.Background())
	require.NoError(t, err)
	require.Contains(t, left, "somebody")
	w.whole("locked")
	l.Release()
	_, left, err = w.layers().tidy(context.Background())
	require.NoError(t, err)
	require.Empty(t, left)
	w.tidied("free")
	require.Equal(t, 1, len(w.layers().found(t)))
}

func (l *layers) found(t *testing.T) (list []string) {
	require.NoError(t, l.find())
	for f := range l.below {
		if l.ours(f) {
			list = append(list, f)
		}
	}
	return list
}

// TestMergeNeedsRoom: what will not fit is not begun.
func TestMergeNeedsRoom(t *testing.T) {
	rng := rand.New(rand.NewSource(5))
	w := newWoods(t, rng)
	w.take(rng)
	w.take(rng)
	w.rests = nil
	defer func(old tree.FS) { snapFiles = old }(snapFiles)
	snapFiles = fullFS{FS: snapFiles}
	_, left, err := w.layers().tidy(context.Background())
	require.NoError(t, err)
	require.Contains(t, left, "are free")
	require.Len(t, w.layers().found(t), 2)
}

func TestTopsAreNoted(t *testing.T) {
	dir := t.TempDir()
	_, ok, err := readTops(dir)
	require.NoError(t, err)
	require.False(t, ok)
	in := filepath.Join(dir, "disk-a-1.qcow2")
	require.NoError(t, os.WriteFile(in, nil, 0o600))
	out := filepath.Join(t.TempDir(), "user.raw")
	require.NoError(t, os.WriteFile(out, nil, 0o600))
	require.NoError(t, writeTops(dir, []DiskFile{{File: in}, {File: out, Format: disk.Raw}, {File: filepath.Join(dir, "disk-a-2.qcow2")}}))
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(dir, moved))
	files, ok, err := readTops(moved)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []DiskFile{{File: filepath.Join(moved, "disk-a-1.qcow2")}, {File: out, Format: disk.Raw}}, files)
	require.NoError(t, os.WriteFile(filepath.Join(moved, fileDisks), []byte("{"), 0o600))
	_, _, err = readTops(moved)
	require.ErrorContains(t, err, fileDisks)
}

// fullFS has no room.
type fullFS struct{ tree.FS }

func (fullFS) Free(string) (uint64, error) { return 0, nil }
