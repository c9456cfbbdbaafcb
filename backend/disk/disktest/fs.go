// Package disktest has hosts fail under disk images, for tests.
package disktest

import "godwit/backend/disk"

// FS is a file system of which each operation that changes something asks first.
type FS struct {
	disk.FS
	// Step fails where the operation is to. room tells that the operation takes room
	// on the host's disk.
	Step func(room bool) error
}

// Open opens a file.
func (f *FS) Open(path string, write bool) (disk.File, error) {
	file, err := f.FS.Open(path, write)
	if write && err == nil {
		file = &faulty{file, f}
	}
	return file, err
}

// Create makes a file.
func (f *FS) Create(path string) (disk.File, error) {
	if err := f.Step(true); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(path)
	if err == nil {
		file = &faulty{file, f}
	}
	return file, err
}

// Rename renames a file.
func (f *FS) Rename(from, to string) error {
	if err := f.Step(false); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Remove removes a file.
func (f *FS) Remove(path string) error {
	if err := f.Step(false); err != nil {
		return err
	}
	return f.FS.Remove(path)
}

// Lock locks an image.
func (f *FS) Lock(path string, c disk.Claim) (disk.Lock, error) {
	if err := f.Step(true); err != nil {
		return nil, err
	}
	return f.FS.Lock(path, c)
}

type faulty struct {
	disk.File
	fs *FS
}

// WriteAt writes the first half of what it should where it fails.
func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.Step(true); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2/disk.SectorSize*disk.SectorSize], off) // it fails anyway
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faulty) Sync() error {
	if err := f.fs.Step(true); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faulty) Truncate(n int64) error {
	if err := f.fs.Step(true); err != nil {
		return err
	}
	return f.File.Truncate(n)
}
