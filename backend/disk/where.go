package disk

import (
	"bytes"
	"sync"

	"github.com/zeebo/xxh3"
)

// A guest's memory is to a good part its cache of disks. A drive remembers where what
// was read and written lies, so that such pages can be found again in its image.

// PieceSize is how long what Where finds is, in bytes: a page of guest memory.
const PieceSize = 4096

// maxPlaces bounds what is remembered: 16 MiB for 4 GiB.
const maxPlaces = 1 << 20

// ways is how many pieces whose sums are alike are remembered.
const ways = 4

// places remembers where pieces lie. What is new takes the place of what is old.
type places struct {
	mu   sync.Mutex
	slot []place // a power of two
	n    int
}

type place struct {
	sum uint64 // xxh3-64 of the piece
	end int64  // offset of the byte behind it; 0: none
}

// note remembers the pieces of what lies at an offset.
func (t *places) note(p []byte, off int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; len(p) >= PieceSize; p, off = p[PieceSize:], off+PieceSize {
		t.add(place{xxh3.Hash(p[:PieceSize]), off + PieceSize})
	}
}

func (t *places) add(x place) {
	if 4*t.n >= len(t.slot) && len(t.slot) < maxPlaces {
		old := t.slot
		t.slot, t.n = make([]place, max(2*len(old), 64)), 0
		for _, o := range old {
			t.put(o)
		}
	}
	t.put(x)
}

func (t *places) put(x place) {
	if x.end == 0 {
		return
	}
	s := t.set(x.sum)
	for i := range s { // the last ones make room for the first
		if x, s[i] = s[i], x; x.end == 0 {
			t.n++
			return
		} else if x.sum == s[0].sum {
			return
		}
	}
}

// set is where a piece may be, the newest first.
func (t *places) set(sum uint64) []place {
	at := sum & uint64(len(t.slot)-1) &^ (ways - 1)
	return t.slot[at : at+ways]
}

// find tells where a piece was last.
func (t *places) find(p []byte) (off int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.slot) == 0 {
		return 0, false
	}
	sum := xxh3.Hash(p)
	for _, s := range t.set(sum) {
		if s.sum == sum && s.end != 0 {
			return s.end - PieceSize, true
		}
	}
	return 0, false
}

// Where finds a piece of PieceSize bytes in an image that others can read while this
// drive is used (see Readable): at which offset it has these bytes now.
func (d *Drive) Where(p []byte) (off int64, ok bool) {
	off, ok = d.places.find(p)
	if !ok {
		return 0, false
	}
	d.mu.Lock()
	img := d.img
	d.mu.Unlock()
	if img = readable(img, d.ro); img == nil {
		return 0, false
	}
	var b [PieceSize]byte
	return off, img.ReadAt(b[:], off) == nil && bytes.Equal(b[:], p)
}

// Note says what the disk has at an offset, for Where, as if it had been read.
func (d *Drive) Note(p []byte, off int64) { d.places.note(p, off) }

// readable is the image at the bottom of a chain, unless it is one whose metadata
// change: nil then.
func readable(img Image, ro bool) Image {
	top := true
	for img != nil {
		q := plain(img)
		if q == nil {
			return img // raw: its bytes are where they are
		}
		q.mu.Lock()
		below := q.backing
		q.mu.Unlock()
		if below == nil {
			break
		}
		img, top = below, false
	}
	if top && !ro {
		return nil
	}
	return img
}

// Readable opens, to be read beside whoever writes to it, the image in which Where finds
// pieces of a disk: the one at the bottom of a chain, which nobody writes to, or a raw
// one that is used itself, if it is a file. A qcow2 image that is written is none: nil,
// for its metadata change. What is read may be out of date: compare it. Path is the top
// of the chain; ro says that no machine writes to that.
func Readable(path string, o Options, ro bool) (Image, error) {
	bottom, format, err := Bottom(path, o)
	if err != nil {
		return nil, err
	}
	if bottom == path && !ro {
		// Why not of a device: what this host keeps of it in its cache would be found
		// there once the disk is this host's, however old.
		if ok, err := regular(path); format != Raw || !ok || err != nil {
			return nil, err
		}
	}
	return Open(bottom, Options{Format: format, ReadOnly: true, FS: o.FS})
}
