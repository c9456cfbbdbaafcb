package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"godwit/internal/host"
)

// Layer is the file system as far as snapshots need it, so that tests can make
// any step fail.
type Layer interface {
	Create(path string) (WriteFile, error) // fails if path exists
	Open(path string) (ReadFile, error)
	Rename(from, to string) error // replaces to
	Remove(path string) error
	SyncDir(path string) error // makes renames in the directory durable
}

// WriteFile is a file being written.
type WriteFile interface {
	io.Writer
	Sync() error
	Close() error
}

// ReadFile is a file being read.
type ReadFile interface {
	io.ReaderAt
	Size() (int64, error)
	Close() error
}

// Disk is the host's file system.
type Disk struct{}

// Free is how many bytes can be written to the file system of a directory.
func (Disk) Free(dir string) (uint64, error) { return host.Free(dir) }

// Create makes a new file that only its owner can read: it will hold a guest's
// memory, keys and all.
func (Disk) Create(path string) (WriteFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Open opens a file for reading.
func (Disk) Open(path string) (ReadFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", f.Name())
	}
	return st.Size(), nil
}

// Rename moves a file over another in one step.
func (Disk) Rename(from, to string) error { return os.Rename(from, to) }

// Remove deletes a file.
func (Disk) Remove(path string) error { return os.Remove(path) }

// SyncDir makes a directory's entries durable. Windows has no such call: NTFS
// journals a rename by itself.
func (Disk) SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Replace puts b into a file in one step, durably.
func Replace(l Layer, path string, b []byte) error {
	return replace(l, path, tempName(path, NewUUID()), func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// tempName is a name in path's directory that nothing else has, not even what an
// earlier attempt left behind.
func tempName(path string, id UUID) string {
	dir, base := filepath.Split(path)
	return dir + "." + base + "." + id.String()[:8] + ".tmp"
}

// replace writes a file by way of a temporary name in the same directory: path
// holds the old content or all of the new one, whatever happens.
func replace(l Layer, path, tmp string, write func(io.Writer) error) error {
	if err := writeNew(l, tmp, write); err != nil {
		return err
	}
	if err := l.Rename(tmp, path); err != nil {
		return errors.Join(err, l.Remove(tmp))
	}
	if err := l.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("written, but the directory could not be made durable: %w", err)
	}
	return nil
}

// writeNew writes and syncs a new file, or leaves none.
func writeNew(l Layer, path string, write func(io.Writer) error) error {
	f, err := l.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, l.Remove(path))
	}
	return nil
}
