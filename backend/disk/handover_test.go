package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is where a faultyFS fails: at its nth operation that changes something.
type faultyFS struct {
	FS
	n    int // operations so far
	fail int // this one fails, and those after it where dead is set
	dead bool
}

var errBroken = errors.New("broken")

func (f *faultyFS) step() error {
	if f.n++; f.n == f.fail || f.dead && f.fail > 0 && f.n > f.fail {
		return errBroken
	}
	return nil
}

type faultyHostFile struct {
	File
	fs *faultyFS
}

func (f *faultyHostFile) Sync() error { return errors.Join(f.fs.step(), f.File.Sync()) }

func (f *faultyHostFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.step(); err != nil { // a part of it still arrives
		n, _ := f.File.WriteAt(p[:len(p)/2/SectorSize*SectorSize], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

type faultyLock struct {
	Lock
	fs *faultyFS
}

func (l *faultyLock) Sign(o Owner) error {
	if err := l.fs.step(); err != nil {
		return err
	}
	return l.Lock.Sign(o)
}

func (f *faultyFS) Open(path string, write bool) (File, error) {
	file, err := f.FS.Open(path, write)
	if write && err == nil {
		file = &faultyHostFile{file, f}
	}
	return file, err
}

func (f *faultyFS) Create(path string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(path)
	if err == nil {
		file = &faultyHostFile{file, f}
	}
	return file, err
}

func (f *faultyFS) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *faultyFS) Remove(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Remove(path)
}

func (f *faultyFS) Lock(path string, c Claim) (Lock, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	l, err := f.FS.Lock(path, c)
	if err != nil {
		return nil, err
	}
	return &faultyLock{l, f}, nil
}

// move is a machine with three disks that moves from one side to another.
type move struct {
	t        *testing.T
	paths    []string
	src, dst faultyFS
	from, to []*Drive
}

func newMove(t *testing.T) *move {
	m := &move{t: t, src: faultyFS{FS: hostFS{}}, dst: faultyFS{FS: hostFS{}}}
	for i, format := range []string{Raw, Qcow2, Raw} {
		m.paths = append(m.paths, newImage(t, format, 1<<20))
		d := openDrive(t, m.paths[i], DriveOptions{Format: format, FS: &m.src, Claim: Claim{Name: "here"}})
		d.write(t, byte(i+1))
		m.from = append(m.from, d)
	}
	for i, format := range []string{Raw, Qcow2, Raw} {
		d := openDrive(t, m.paths[i], DriveOptions{Format: format, FS: &m.dst, Later: 1 << 20})
		m.to = append(m.to, d)
	}
	return m
}

// has demands that drives work and hold what was written, and that nobody else can
// write.
func (m *move) has(drives, others []*Drive, what string) {
	t := m.t
	for i, d := range drives {
		require.Equal(t, bytes.Repeat([]byte{byte(i + 1)}, 512), d.read(t, 512, 0), what)
		d.write(t, byte(i+1))
		require.NoError(t, d.Sync(context.Background()), what)
		other := others[i]
		require.True(t, other.img == nil || other.closed, "%s: the other side has disk %d open", what, i)
		_, err := OpenDrive(m.paths[i], DriveOptions{Claim: Claim{Name: "third"}})
		var locked *LockedError
		require.ErrorAs(t, err, &locked, what)
	}
}

// TestHandOverAtEveryFault has each operation of a handover fail in turn, once or for
// good from there on: all disks are on one side or all can be had back by the other.
func TestHandOverAtEveryFault(t *testing.T) {
	ctx := context.Background()
	for _, dead := range []bool{false, true} {
		for n := 1; ; n++ {
			m, what := newMove(t), fmt.Sprintf("operation %d fails, for good: %v", n, dead)
			m.src.n, m.src.fail, m.src.dead = 0, n, dead
			err := HandOverAll(ctx, m.from, "session 1")
			met := m.src.n >= n
			m.src.fail = 0 // the host is mended
			if err != nil {
				require.ErrorIs(t, err, errBroken, what)
				require.NoError(t, TakeBackAll(m.from), what)
				m.has(m.from, m.to, what)
				require.Error(t, OpenAll(m.to, "session 1", "there"), "%s: the handover did not happen", what)
				continue
			}
			require.Error(t, OpenAll(m.to, "session 2", "there"), what)
			require.NoError(t, OpenAll(m.to, "session 1", "there"), what)
			m.has(m.to, m.from, what)
			require.Error(t, TakeBackAll(m.from), what)
			if !met {
				t.Logf("%d operations", m.src.n)
				break
			}
		}
		for n := 1; ; n++ {
			m, what := newMove(t), fmt.Sprintf("claim: operation %d fails, for good: %v", n, dead)
			require.NoError(t, HandOverAll(ctx, m.from, "session 1"))
			m.dst.n, m.dst.fail, m.dst.dead = 0, n, dead
			err := OpenAll(m.to, "session 1", "there")
			if err == nil {
				require.Less(t, m.dst.n, n, what)
				break
			}
			require.ErrorIs(t, err, errBroken, what)
			var locked *LockedError
			if err := TakeBackAll(m.from); err != nil {
				require.ErrorAs(t, err, &locked, "%s: no more than that the other side still has some", what)
			}
			for _, d := range m.to {
				_ = d.Close() // as the end of its process would
			}
			require.NoError(t, TakeBackAll(m.from), "%s: nobody has written", what)
			m.has(m.from, m.to, what)
		}
	}
}

// TestStaleWriterIsFenced: whoever lost its lock without knowing, as on a network's
// disk, finds out before its first write.
func TestStaleWriterIsFenced(t *testing.T) {
	path := newImage(t, Raw, 1<<20)
	a := openDrive(t, path, DriveOptions{Claim: Claim{Name: "a"}})
	o := a.locks[0].Owner()
	o.Name, o.Epoch = "b", o.Epoch+1
	b, err := o.encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+OwnerSuffix, b, 0o600))
	a.Write(make([]byte, 512), 0, false)
	require.NoError(t, a.Drain(context.Background()))
	var moved *EpochError
	require.ErrorAs(t, a.Err(), &moved)
	require.Equal(t, "b", moved.Owner.Name)
	_, err = a.HandOver(context.Background(), "session 1")
	require.Error(t, err)
}

func TestLocked(t *testing.T) {
	path := newImage(t, Raw, 1<<20)
	is := func(want bool) {
		t.Helper()
		got, err := Locked(path)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	over := filepath.Join(t.TempDir(), "over.qcow2")
	require.NoError(t, Create(over, CreateOptions{Format: Qcow2, Backing: path, BackingFormat: Raw}))
	is(false)
	require.NoError(t, Unused(over, Options{}))
	require.NoFileExists(t, path+OwnerSuffix)
	d := openDrive(t, path, DriveOptions{Claim: Claim{Name: "a"}})
	is(true)
	var locked *LockedError
	require.ErrorAs(t, Unused(over, Options{}), &locked)
	require.Equal(t, path, locked.Path)
	require.Equal(t, os.Getpid(), locked.Owner.PID)
	require.NoError(t, d.Close())
	is(false)
}
