package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// faultFile is a file in memory that remembers what was written to it, and
// fails when told to.
type faultFile struct {
	b     []byte
	log   []logged
	fail  int // the operation that fails, counted from 1
	count int
	err   error
	quiet bool // keep no log, and no more than a bounded file
}

// logged is a write, a truncation (p nil) or a sync.
type logged struct {
	off  int64
	p    []byte
	sync bool
}

func (f *faultFile) step() error {
	f.count++
	if f.count == f.fail {
		return f.err
	}
	return nil
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (l *logged) apply(b []byte) []byte {
	if l.sync {
		return b
	}
	if end := int(l.off) + len(l.p); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[l.off:], l.p)
	return b
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if f.quiet && off+int64(len(p)) > 64<<20 {
		return 0, syscall.EFBIG
	}
	l := logged{off: off, p: bytes.Clone(p)}
	err := f.step()
	if err != nil { // a part of it still arrives
		l.p = l.p[:len(p)/2/SectorSize*SectorSize]
	}
	if !f.quiet {
		f.log = append(f.log, l)
	}
	f.b = l.apply(f.b)
	return len(l.p), err
}

func (f *faultFile) Sync() error {
	if err := f.step(); err != nil {
		return err
	}
	f.log = append(f.log, logged{sync: true})
	return nil
}

func (f *faultFile) Truncate(n int64) error {
	f.b = append(f.b[:min(n, int64(len(f.b)))], make([]byte, max(0, n-int64(len(f.b))))...)
	return nil
}
func (f *faultFile) Size() (int64, error)     { return int64(len(f.b)), nil }
func (f *faultFile) Close() error             { return nil }
func (f *faultFile) Punch(int64, int64) error { return errors.ErrUnsupported }
func (f *faultFile) Data(off int64) (int64, int64, error) {
	return off, int64(len(f.b)), nil
}

func (f *faultFile) open(t *testing.T, base []byte) *qcow2 {
	q, err := openQcow2(f, "mem", Options{})
	require.NoError(t, err)
	if base != nil {
		b, err := openRaw(&faultFile{b: base}, true, false)
		require.NoError(t, err)
		q.setBacking(b)
	}
	return q
}

// start is an image with a snapshot if qemu-img is there, and data.
func start(t *testing.T, cluster int64) (file, base []byte) {
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, Create(path, CreateOptions{Format: Qcow2, Size: 1 << 20, ClusterSize: cluster}))
	img, err := Open(path, Options{})
	require.NoError(t, err)
	rng := rand.New(rand.NewSource(cluster))
	for i := range int64(8) {
		b := make([]byte, 3000)
		rng.Read(b)
		require.NoError(t, img.WriteAt(b, i*70000))
	}
	require.NoError(t, img.Close())
	qemu(t, "qemu-img", "snapshot", "-c", "s", path)
	file, err = os.ReadFile(path)
	require.NoError(t, err)
	base = make([]byte, 1<<19)
	rng.Read(base)
	return file, base
}

// point is the disk's contents at a flush, how much of the log was then done,
// and which sectors changed since the point before.
type point struct {
	log     int
	model   []byte
	touched map[int]bool
}

// story is a run of operations, its log, and what each sector may read as.
func story(t *testing.T, cluster int64) (first, base []byte, f *faultFile, points []point) {
	first, base = start(t, cluster)
	f = &faultFile{b: bytes.Clone(first)}
	q := f.open(t, base)
	model := readAll(t, q)
	points = append(points, point{0, bytes.Clone(model), nil})
	rng := rand.New(rand.NewSource(9))
	for range 12 {
		touched := map[int]bool{}
		for range 4 {
			off := rng.Int63n(2000) * 512
			n := min(int64(len(model))-off, 512*(1+rng.Int63n(40)))
			for s := off; s < off+n; s += SectorSize {
				touched[int(s)] = true
			}
			part := model[off : off+n]
			if rng.Intn(3) == 0 {
				clear(part)
				require.NoError(t, q.Discard(off, n))
			} else {
				rng.Read(part)
				require.NoError(t, q.WriteAt(part, off))
			}
		}
		require.NoError(t, q.Flush())
		points = append(points, point{len(f.log), bytes.Clone(model), touched})
	}
	return first, base, f, points
}

// survives checks a file that a crash left. The log up to done had reached the
// disk, and what was logged up to end may have.
func survives(t *testing.T, b, base []byte, points []point, done, end int, what string) {
	t.Helper()
	q, err := openQcow2(&faultFile{b: b}, "mem", Options{ReadOnly: true})
	require.NoError(t, err)
	back, err := openRaw(&faultFile{b: base}, true, false)
	require.NoError(t, err)
	q.setBacking(back)
	r, err := q.check(false)
	require.NoError(t, err, what)
	require.Zero(t, r.Corruptions, "%s: %v", what, r.Problems)
	i := 0
	for i+1 < len(points) && points[i+1].log <= done {
		i++
	}
	got := readAll(t, q)
	for s := 0; s < len(got); s += SectorSize {
		changing := false
		for j := i + 1; j < len(points) && points[j-1].log <= end; j++ {
			changing = changing || points[j].touched[s]
		}
		if !changing {
			require.True(t, bytes.Equal(points[i].model[s:s+SectorSize], got[s:s+SectorSize]), "%s: sector at %d", what, s)
		}
	}
}

func TestCrashLeavesNoCorruption(t *testing.T) {
	for _, cluster := range []int64{512, 4096} {
		first, base, f, points := story(t, cluster)
		path := filepath.Join(t.TempDir(), "crash")
		b := bytes.Clone(first)
		for n := range len(f.log) + 1 {
			if n > 0 {
				b = f.log[n-1].apply(b)
			}
			what := fmt.Sprintf("cluster %d, %d writes", cluster, n)
			survives(t, b, base, points, n, n, what)
			if n%8 == 0 {
				require.NoError(t, os.WriteFile(path, b, 0o600))
				qemuNoCorruption(t, path, what)
			}
		}
	}
}

// TestPowerLoss loses any of the writes since the last sync, by sectors.
func TestPowerLoss(t *testing.T) {
	first, base, f, points := story(t, 512)
	rng := rand.New(rand.NewSource(11))
	durable, from := bytes.Clone(first), 0
	for n, l := range f.log {
		if !l.sync {
			continue
		}
		for round := range 6 {
			b := bytes.Clone(durable)
			for _, w := range f.log[from:n] {
				for at := 0; at < len(w.p); at += SectorSize {
					if rng.Intn(2) == 0 {
						s := logged{off: w.off + int64(at), p: w.p[at:min(len(w.p), at+SectorSize)]}
						b = s.apply(b)
					}
				}
			}
			survives(t, b, base, points, from, n, fmt.Sprintf("sync %d, round %d", n, round))
		}
		for ; from < n; from++ {
			durable = f.log[from].apply(durable)
		}
		from = n + 1
	}
}

// TestFaultsCanBeRetried fails each write and sync once.
func TestFaultsCanBeRetried(t *testing.T) {
	first, base := start(t, 512)
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for fail := 1; ; fail++ {
			f := &faultFile{b: bytes.Clone(first), fail: fail, err: fault}
			q := f.open(t, base)
			model := readAll(t, q)
			rng := rand.New(rand.NewSource(12))
			failed := 0
			try := func(op func() error) {
				err := op()
				if err != nil {
					require.ErrorIs(t, err, fault)
					failed++
					err = op()
				}
				require.NoError(t, err)
			}
			for range 5 {
				off := rng.Int63n(1500) * 512
				part := model[off : off+512*(1+rng.Int63n(60))]
				rng.Read(part)
				try(func() error { return q.WriteAt(part, off) })
				part = model[off : off+1024]
				clear(part)
				try(func() error { return q.Discard(off, 1024) })
				try(q.Flush)
			}
			require.True(t, bytes.Equal(model, readAll(t, q)))
			f.fail = 0
			require.NoError(t, q.Close())
			again := (&faultFile{b: f.b}).open(t, base)
			require.True(t, bytes.Equal(model, readAll(t, again)), "failure %d", fail)
			r, err := again.check(false)
			require.NoError(t, err)
			require.Zero(t, r.Corruptions, "failure %d: %v", fail, r.Problems)
			if failed == 0 {
				require.Greater(t, fail, 50, "the test no longer writes")
				break
			}
		}
	}
}

// TestRefcountTableMoves fills an image until its refcount table must move, and
// crashes around the writes to the header that this takes.
func TestRefcountTableMoves(t *testing.T) {
	f := &faultFile{}
	q, err := formatQcow2(f, CreateOptions{Size: 20 << 20, ClusterSize: 512, Version: 3})
	require.NoError(t, err)
	first := bytes.Clone(f.b)
	f.log = nil
	chunk := bytes.Repeat([]byte{1}, 128<<10)
	for off := int64(0); off < 20<<20; off += int64(len(chunk)) {
		require.NoError(t, q.WriteAt(chunk, off))
		if off%(2<<20) == 0 {
			require.NoError(t, q.Flush())
		}
	}
	require.NoError(t, q.Close())
	moves := 0
	for n, l := range f.log {
		first = l.apply(first)
		near := false
		for d := max(0, n-2); d <= min(n+2, len(f.log)-1); d++ {
			near = near || (f.log[d].off == hRefOff && !f.log[d].sync)
		}
		if !near && n != len(f.log)-1 {
			continue
		}
		moves++
		c, err := openQcow2(&faultFile{b: first}, "mem", Options{ReadOnly: true})
		require.NoError(t, err)
		r, err := c.check(false)
		require.NoError(t, err)
		require.Zero(t, r.Corruptions, "after %d writes: %v", n+1, r.Problems)
	}
	require.Greater(t, moves, 5, "the table never moved")
	path := filepath.Join(t.TempDir(), "full")
	require.NoError(t, os.WriteFile(path, first, 0o600))
	checked(t, path)
}
