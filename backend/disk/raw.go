package disk

import (
	"errors"
	"fmt"
	"sync"
)

// raw is a file that holds the disk's bytes as they are.
type raw struct {
	mu       sync.Mutex
	f        File
	size     int64
	readonly bool
	probed   bool
}

func openRaw(f File, readonly, probed bool) (*raw, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return &raw{f: f, size: sectors(size), readonly: readonly, probed: probed}, nil
}

func (r *raw) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

func (r *raw) ReadAt(p []byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := inside(r.size, off, int64(len(p))); err != nil {
		return err
	}
	return readZ(r.f, p, off)
}

func (r *raw) writable(off, n int64) error {
	if r.readonly {
		return ErrReadOnly
	}
	return inside(r.size, off, n)
}

func (r *raw) WriteAt(p []byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.writable(off, int64(len(p))); err != nil {
		return err
	}
	// Why: a guest that writes another format's header would choose, at the
	// next probing, which of the host's files it gets to read as a backing.
	if r.probed && off < int64(len(magic)) && len(p) > 0 {
		b := make([]byte, len(magic))
		if err := readZ(r.f, b, 0); err != nil {
			return err
		}
		copy(b[off:], p)
		if string(b) == magic {
			return fmt.Errorf("write a qcow2 header to a raw image whose format was guessed: %w", ErrUnsupported)
		}
	}
	return writeAll(r.f, p, off)
}

func (r *raw) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readonly {
		return nil
	}
	return r.f.Sync()
}

func (r *raw) Discard(off, n int64) error { return r.WriteZeroes(off, n, true) }

func (r *raw) WriteZeroes(off, n int64, unmap bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.writable(off, n); err != nil || n == 0 {
		return err
	}
	if unmap {
		err := r.f.Punch(off, n)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return writeZeros(func(p []byte, off int64) error { return writeAll(r.f, p, off) }, off, n)
}

func (r *raw) Extent(off, n int64) (Kind, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := inside(r.size, off, n); err != nil || n == 0 {
		return Zero, n, err
	}
	start, end, err := r.f.Data(off)
	if err != nil {
		return Zero, 0, err
	}
	if size, err := r.f.Size(); err != nil || start >= size {
		return Zero, n, err
	}
	if start > off {
		return Zero, min(n, start-off), nil
	}
	return Data, max(1, min(n, end-off)), nil
}

func (r *raw) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if !r.readonly {
		err = r.f.Sync()
	}
	return errors.Join(err, r.f.Close())
}

func (r *raw) info(i *Info) { i.Format, i.Size = Raw, r.size }

func (r *raw) resize(size int64) error {
	if err := r.f.Truncate(size); err != nil {
		return err
	}
	r.size = size
	return r.f.Sync()
}
