package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// File is what an image needs of a host's file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	// Punch makes a range read as zeros without holding space, or returns
	// errors.ErrUnsupported.
	Punch(off, n int64) error
	// Data returns the first stretch at or after off that may hold other
	// bytes than zero; start is the size where there is none.
	Data(off int64) (start, end int64, err error)
}

// FS opens files. Tests give one that fails.
type FS interface {
	Open(path string, write bool) (File, error)
	Create(path string) (File, error) // must not exist
	Rename(from, to string) error     // durable on return
	Remove(path string) error
	Lock(path string, c Claim) (Lock, error)
}

// HostFS is the host's file system.
func HostFS() FS { return hostFS{} }

type hostFS struct{}

func (hostFS) Open(path string, write bool) (File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// A pipe would block the open, a terminal has no size.
	if m := st.Mode(); !m.IsRegular() && (m&os.ModeDevice == 0 || m&os.ModeCharDevice != 0) {
		return nil, fmt.Errorf("image %s is neither a file nor a block device", path)
	}
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return &hostFile{File: f}, nil
}

func (hostFS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &hostFile{File: f}, nil
}

func (hostFS) Remove(path string) error { return os.Remove(path) }

func (hostFS) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return nil // the new name is there, if not for sure on disk yet
	}
	defer d.Close()
	_ = d.Sync() // not all hosts sync directories
	return nil
}

// regular tells whether a path is that of a file, and not of a device.
func regular(path string) (bool, error) {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular(), err
}

type hostFile struct {
	*os.File
	lost error
}

func (f *hostFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Mode().IsRegular() {
		return st.Size(), nil
	}
	return f.Seek(0, io.SeekEnd)
}

// Sync fails for good once it has failed: hosts forget dirty pages that they
// could not write, so that a second try would lie.
func (f *hostFile) Sync() error {
	if f.lost == nil {
		f.lost = f.File.Sync()
	}
	return f.lost
}

// lockedFile gives up the lock when closed.
type lockedFile struct {
	File
	unlock func()
}

func (f *lockedFile) Close() error {
	err := f.File.Close()
	if f.unlock != nil {
		f.unlock()
		f.unlock = nil
	}
	return err
}

// lock opens a file's lock for whoever closes the file.
func lock(fs FS, path string) (unlock func(), err error) {
	l, err := fs.Lock(path, Claim{})
	if err != nil {
		return nil, err
	}
	return l.Release, nil
}

// readZ reads all of p. What is beyond the end of the file reads as zeros.
func readZ(f File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if err == nil || errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}

// zeros is what explicit zeros are written from.
var zeros [1 << 16]byte

func writeZeros(w func(p []byte, off int64) error, off, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if err := w(zeros[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func writeAll(f File, p []byte, off int64) error {
	_, err := f.WriteAt(p, off)
	return err
}

// allZero tells whether all bytes are zero.
func allZero(p []byte) bool {
	for len(p) > 0 {
		k := min(len(p), len(zeros))
		if string(p[:k]) != string(zeros[:k]) {
			return false
		}
		p = p[k:]
	}
	return true
}
