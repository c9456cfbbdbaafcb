package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"

	"godwit/internal/host"
)

// How a snapshot keeps a disk's content, whose present goes on in a new layer.
const (
	DeltaCOW     = "cow"     // the layer itself, which others build on
	DeltaFull    = "full"    // a copy of all of it that needs no other file
	DeltaReflink = "reflink" // a copy of the layer that shares its blocks
)

// Chain lists an image and all that it builds on, the image first.
func Chain(path string, o Options) ([]string, error) {
	var chain []string
	for len(chain) < maxChain {
		chain = append(chain, path)
		i, err := Inspect(path, o)
		if err != nil || i.Backing == "" {
			return chain, err
		}
		if path, err = backingPath(path, i.Backing); err != nil {
			return chain, err
		}
		o.Format = i.BackingFormat
	}
	return chain, fmt.Errorf("image %s: chain of backing files is longer than %d: %w", chain[0], maxChain, ErrCorrupt)
}

// Bottom is the image at the bottom of a chain, and its format.
func Bottom(path string, o Options) (file, format string, err error) {
	for range maxChain {
		i, err := Inspect(path, o)
		if err != nil || i.Backing == "" {
			return path, i.Format, err
		}
		if path, err = backingPath(path, i.Backing); err != nil {
			return path, "", err
		}
		o.Format = i.BackingFormat
	}
	return path, "", fmt.Errorf("image %s: chain of backing files is longer than %d: %w", path, maxChain, ErrCorrupt)
}

// CopyLayer copies a layer that stays as it is into a new file, as DeltaFull or
// DeltaReflink says, durably, and returns the copy's format. ErrUnsupported: the file
// system has no reflinks.
func CopyLayer(ctx context.Context, path, layer, how string, o Options, p Progress) (string, error) {
	if how == DeltaReflink {
		return o.Format, reflink(path, layer)
	}
	o.ReadOnly = true
	src, err := Open(layer, o)
	if err != nil {
		return "", err
	}
	err = Convert(ctx, path, src, CreateOptions{Format: Qcow2, FS: o.FS}, p)
	return Qcow2, errors.Join(err, src.Close())
}

// copySamples is how many blocks CopySize looks at.
const copySamples = 64

// CopySize is about how many bytes DeltaFull's copy of a drive takes, by a sample of what
// its files hold.
func (d *Drive) CopySize() (uint64, error) {
	d.mu.Lock()
	img := d.img
	d.mu.Unlock()
	if img == nil {
		return 0, fmt.Errorf("image %s is not open", d.path)
	}
	return copySize(img)
}

func copySize(img Image) (uint64, error) {
	set := newBlocks(img.Size())
	if err := present(img, 0, img.Size(), false, set); err != nil {
		return 0, err
	}
	n := 0
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	step, seen, zero, i := n/copySamples+1, 0, 0, 0
	buf := make([]byte, TrackBlock)
	for w, word := range set {
		for ; word != 0; word &= word - 1 {
			if i++; i%step != 0 {
				continue
			}
			off := (int64(w)*64 + int64(bits.TrailingZeros64(word))) * TrackBlock
			p := buf[:min(TrackBlock, img.Size()-off)]
			if err := img.ReadAt(p, off); err != nil {
				return 0, err
			}
			if seen++; allZero(p) {
				zero++
			}
		}
	}
	if seen > 0 {
		n -= n * zero / seen
	}
	return uint64(n) * TrackBlock, nil
}

// CanReflink is the error that DeltaReflink's copies of a file into a directory end in;
// nil: there they can be made.
func CanReflink(dir, from string) error {
	path := filepath.Join(dir, ".reflink-probe.tmp")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := clone(path, from, func(*os.File) error { return nil }); err != nil {
		return err
	}
	return os.Remove(path)
}

func reflink(path, from string) error { return clone(path, from, (*os.File).Sync) }

// clone makes a file that shares another's blocks.
func clone(path, from string, done func(*os.File) error) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = host.CloneFile(dst, src); err != nil {
		err = fmt.Errorf("no reflink of %s to %s: %w: %w", from, path, ErrUnsupported, err)
	} else {
		err = done(dst)
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Sum is the sha256 of what an image reads as: its size, then each block of TrackBlock
// bytes that is not all zero, its number before it.
func Sum(ctx context.Context, path string, o Options) (sum [sha256.Size]byte, err error) {
	o.ReadOnly = true
	img, err := Open(path, o)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	size := img.Size()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
	set := newBlocks(size)
	err = present(img, 0, size, false, set)
	buf := make([]byte, TrackBlock)
	for b := int64(0); err == nil && b*TrackBlock < size; b++ {
		if set[b/64]>>(b%64)&1 == 0 {
			continue
		}
		p := buf[:min(TrackBlock, size-b*TrackBlock)]
		if err = img.ReadAt(p, b*TrackBlock); err == nil && !allZero(p) {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(b)))
			h.Write(p)
		}
		err = errors.Join(err, ctx.Err())
	}
	return [sha256.Size]byte(h.Sum(nil)), errors.Join(err, img.Close())
}
