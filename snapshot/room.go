package snapshot

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// Freer is a Layer that knows how much room it has.
type Freer interface {
	Free(dir string) (uint64, error) // bytes
}

// Peeker is implemented by Pages whose Read is the only one of its page.
type Peeker interface {
	Peek(p uint32, b *[PageSize]byte) // what Read will give
}

// NoRoom says that a save was not begun because it would fill the disk.
type NoRoom struct {
	Dir        string
	Need, Free uint64 // bytes; Need is an estimate
}

func (e *NoRoom) Error() string {
	return fmt.Sprintf("about %d bytes are needed in %s, and %d are free", e.Need, e.Dir, e.Free)
}

// Unwrap makes it the host's error of a full disk.
func (e *NoRoom) Unwrap() error { return syscall.ENOSPC }

// samples is how many pages an estimate looks at.
const samples = 512

// Estimate is about how many bytes a save would write, by a sample of its pages.
func Estimate(secs []Section, pages Pages, o Options) (uint64, error) {
	packer, err := NewPacker(o.Codec)
	if err != nil {
		return 0, err
	}
	n, groups := uint32(0), map[uint32]bool{}
	each := func(do func(p uint32)) {
		for p := range pages.Pages() {
			if pages.Present(p) && (o.Parent == nil || o.Changed(p)) {
				do(p)
			}
		}
	}
	each(func(p uint32) { n++; groups[p/GroupPages] = true })
	total := uint64(superSize+trailerSize) + uint64(Groups(pages.Pages()))*groupEntry + uint64(len(groups))*GroupPages*pageEntry
	for i := range secs {
		e := sectionEntry{Section: secs[i], size: uint64(len(secs[i].Data))}
		if o.Parent == nil || !e.bulky() || o.Parent.x.section(&e) == nil {
			total += e.size
		}
	}
	step, i := n/samples+1, uint32(0)
	var raw, packed uint64
	seen := map[[LeafSize]byte]bool{} // what is stored once, mostly
	var page [PageSize]byte
	chunk := make([]byte, 0, 32*PageSize)
	flush := func() {
		b, _ := packer.Pack(chunk)
		packed, chunk = packed+uint64(len(b)), chunk[:0]
	}
	each(func(p uint32) {
		if i++; i%step != 0 {
			return
		}
		if pk, ok := pages.(Peeker); ok {
			pk.Peek(p, &page)
		} else {
			pages.Read(p, &page)
		}
		leaf := LeafOf(&page)
		if raw += PageSize; isZero(page[:]) || seen[leaf] {
			return
		}
		seen[leaf] = true
		if chunk = append(chunk, page[:]...); len(chunk) == cap(chunk) {
			flush()
		}
	})
	flush()
	if raw > 0 {
		total += uint64(n) * PageSize * (packed + 1) / (raw + 1)
	}
	return total, nil
}

// Fits fails with NoRoom where need bytes are more than a directory's file system has
// free. A host that cannot tell has room.
func Fits(l Layer, dir string, need uint64) error {
	f, ok := l.(Freer)
	if !ok {
		return nil
	}
	free, err := f.Free(dir)
	if err != nil || need <= free {
		return nil //nolint:nilerr // what the disk says when it is full is as good
	}
	return &NoRoom{Dir: dir, Need: need, Free: free}
}

// SaveFits is Fits for a save to path, and for what is to lie beside it.
func SaveFits(l Layer, path string, secs []Section, pages Pages, o Options, beside uint64) error {
	if _, ok := l.(Freer); !ok {
		return nil
	}
	need, err := Estimate(secs, pages, o)
	if err != nil {
		return err
	}
	return Fits(l, filepath.Dir(path), need+beside)
}
