package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

var be = binary.BigEndian

// The header's fields by their offset [QEMU interop/qcow2 "Header"].
const (
	magic = "QFI\xfb"

	hVersion     = 4
	hBackingOff  = 8
	hBackingLen  = 16
	hClusterBits = 20
	hSize        = 24
	hCrypt       = 32
	hL1Size      = 36
	hL1Off       = 40
	hRefOff      = 48
	hRefClusters = 56
	hSnapshots   = 60
	hSnapOff     = 64
	hIncompat    = 72
	hCompat      = 80
	hAutoclear   = 88
	hRefOrder    = 96
	hLength      = 100
	hCompression = 104

	headerV2 = 72
	headerV3 = 104
)

// Incompatible feature bits.
const (
	featDirty       = 1 << 0 // refcounts may be stale
	featCorrupt     = 1 << 1
	featExternal    = 1 << 2
	featCompression = 1 << 3
	featExtendedL2  = 1 << 4
)

// Header extensions.
const (
	extEnd      = 0
	extBackFmt  = 0xe2792aca
	extFeatures = 0x6803f857
)

// Bounds, those that other implementations keep to.
const (
	maxL1        = 32 << 20 // bytes
	maxRefTable  = 8 << 20  // bytes
	maxSnapshots = 65536
	maxBacking   = 1023
	offsetMask   = 0x00fffffffffffe00
)

// header is the decoded header of a qcow2 image.
type header struct {
	version     int
	clusterBits uint
	size        int64
	l1Size      int
	l1Off       int64
	refOff      int64
	refClusters int64
	snapshots   int
	snapOff     int64
	incompat    uint64
	compat      uint64
	autoclear   uint64
	refOrder    uint
	compression uint8
	backing     string
	backingFmt  string
}

func (h *header) cluster() int64 { return 1 << h.clusterBits }

// l2Entries is how many clusters one L2 table describes.
func (h *header) l2Entries() int64 { return h.cluster() / 8 }

// l1For is the L1 size that a disk size needs.
func (h *header) l1For(size int64) int64 {
	span := h.cluster() * h.l2Entries()
	return (size-1)/span + 1 // sizes are below 2^63, so this cannot wrap; 0 gives 1 or 0, both work
}

func readHeader(f File) (*header, error) {
	b := make([]byte, 112)
	if err := readZ(f, b, 0); err != nil {
		return nil, err
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("no qcow2 header: %w", ErrCorrupt)
	}
	h := &header{version: int(be.Uint32(b[hVersion:])), refOrder: 4}
	if h.version != 2 && h.version != 3 {
		return nil, fmt.Errorf("qcow2 version %d, known are 2 and 3: %w", uint32(h.version), ErrUnsupported)
	}
	bits := be.Uint32(b[hClusterBits:])
	if bits < 9 || bits > 21 {
		return nil, fmt.Errorf("cluster size 2^%d, must be 2^9 to 2^21: %w", bits, ErrCorrupt)
	}
	h.clusterBits = uint(bits)
	length := int64(headerV2)
	if h.version == 3 {
		length = headerV3
	}
	if size, err := f.Size(); err != nil || size < length {
		return nil, errors.Join(err, fmt.Errorf("file of %d bytes, its header alone has %d: it was cut off: %w", size, length, ErrCorrupt))
	}
	if h.version == 3 {
		h.incompat, h.compat, h.autoclear = be.Uint64(b[hIncompat:]), be.Uint64(b[hCompat:]), be.Uint64(b[hAutoclear:])
		length = int64(be.Uint32(b[hLength:]))
		if order := be.Uint32(b[hRefOrder:]); order > 6 {
			return nil, fmt.Errorf("refcounts of 2^%d bits, at most 2^6: %w", order, ErrCorrupt)
		} else {
			h.refOrder = uint(order)
		}
		if length < headerV3 || length > h.cluster() {
			return nil, fmt.Errorf("header of %d bytes, must be %d to %d: %w", length, headerV3, h.cluster(), ErrCorrupt)
		}
		if length > hCompression {
			h.compression = b[hCompression]
		}
	}
	first := make([]byte, min(h.cluster(), 1<<16)) // extensions beyond are nobody's
	if err := readZ(f, first, 0); err != nil {
		return nil, err
	}
	if err := h.extensions(first, length); err != nil {
		return nil, err
	}
	return h, h.decode(b, first)
}

// decode takes the fields that need checking against each other.
func (h *header) decode(b, first []byte) error {
	if c := be.Uint32(b[hCrypt:]); c != 0 {
		return fmt.Errorf("encryption (method %d): %w", c, ErrUnsupported)
	}
	if h.compression > 1 {
		return fmt.Errorf("compression type %d: %w", h.compression, ErrUnsupported)
	}
	size := be.Uint64(b[hSize:])
	l1 := be.Uint32(b[hL1Size:])
	if l1 > maxL1/8 {
		return fmt.Errorf("l1 table of %d entries, at most %d: %w", l1, maxL1/8, ErrCorrupt)
	}
	if size > 1<<62 || (size > 0 && h.l1For(int64(size)) > int64(l1)) {
		return fmt.Errorf("size of %d bytes is more than an l1 table of %d entries holds: %w", size, l1, ErrCorrupt)
	}
	h.size, h.l1Size = int64(size), int(l1)
	h.refClusters = int64(be.Uint32(b[hRefClusters:]))
	if h.refClusters<<h.clusterBits > maxRefTable {
		return fmt.Errorf("refcount table of %d clusters, at most %d: %w", h.refClusters, maxRefTable>>h.clusterBits, ErrCorrupt)
	}
	if n := be.Uint32(b[hSnapshots:]); n > maxSnapshots {
		return fmt.Errorf("%d snapshots, at most %d: %w", n, maxSnapshots, ErrCorrupt)
	} else {
		h.snapshots = int(n)
	}
	for _, o := range []struct {
		name string
		at   int
		to   *int64
	}{{"l1 table", hL1Off, &h.l1Off}, {"refcount table", hRefOff, &h.refOff}, {"snapshot table", hSnapOff, &h.snapOff}} {
		v := be.Uint64(b[o.at:])
		if v&(uint64(h.cluster())-1) != 0 || v >= 1<<56 {
			return fmt.Errorf("%s at %#x, not a cluster's offset: %w", o.name, v, ErrCorrupt)
		}
		*o.to = int64(v)
	}
	return h.decodeBacking(b, first)
}

func (h *header) decodeBacking(b, first []byte) error {
	off, n := be.Uint64(b[hBackingOff:]), be.Uint32(b[hBackingLen:])
	if off == 0 || n == 0 {
		return nil
	}
	if n > maxBacking || off > uint64(len(first)) || off+uint64(n) > uint64(len(first)) {
		return fmt.Errorf("backing file name of %d bytes at %d, at most %d bytes in the first cluster: %w", n, off, maxBacking, ErrCorrupt)
	}
	h.backing = string(first[off : off+uint64(n)])
	return nil
}

// extensions reads header extensions and refuses features by their name.
func (h *header) extensions(first []byte, at int64) error {
	names := map[int]string{2: "external data file", 4: "extended L2 entries"}
	end := int64(len(first))
	if o := be.Uint64(first[hBackingOff:]); o != 0 && o < uint64(end) {
		end = int64(o)
	}
	for at+8 <= end {
		kind, n := be.Uint32(first[at:]), int64(be.Uint32(first[at+4:]))
		at += 8
		if kind == extEnd {
			break
		}
		if n > end-at {
			return fmt.Errorf("header extension %#x of %d bytes, room for %d: %w", kind, n, end-at, ErrCorrupt)
		}
		data := first[at : at+n]
		switch kind {
		case extBackFmt:
			h.backingFmt = string(data)
		case extFeatures:
			for ; len(data) >= 48; data = data[48:] {
				if bit := int(data[1]); data[0] == 0 && names[bit] == "" {
					names[bit] = strings.TrimRight(string(data[2:48]), "\x00")
				}
			}
		}
		at += (n + 7) &^ 7
	}
	unknown := h.incompat &^ (featDirty | featCorrupt | featCompression)
	for bit := range 64 {
		if unknown>>bit&1 == 0 {
			continue
		}
		if names[bit] == "" {
			names[bit] = "unknown"
		}
		return fmt.Errorf("incompatible feature %d (%q): %w", bit, names[bit], ErrUnsupported)
	}
	return nil
}

// encode makes the first cluster of a new image.
func (h *header) encode() []byte {
	b := make([]byte, h.cluster())
	copy(b, magic)
	be.PutUint32(b[hVersion:], uint32(h.version))
	be.PutUint32(b[hClusterBits:], uint32(h.clusterBits))
	be.PutUint64(b[hSize:], uint64(h.size))
	be.PutUint32(b[hL1Size:], uint32(h.l1Size))
	be.PutUint64(b[hL1Off:], uint64(h.l1Off))
	be.PutUint64(b[hRefOff:], uint64(h.refOff))
	be.PutUint32(b[hRefClusters:], uint32(h.refClusters))
	at := headerV2
	if h.version == 3 {
		be.PutUint32(b[hRefOrder:], uint32(h.refOrder))
		be.PutUint32(b[hLength:], headerV3)
		at = headerV3
	}
	if h.backing == "" {
		return b
	}
	if h.backingFmt != "" {
		be.PutUint32(b[at:], extBackFmt)
		be.PutUint32(b[at+4:], uint32(len(h.backingFmt)))
		copy(b[at+8:], h.backingFmt)
		at += 8 + (len(h.backingFmt)+7)&^7
	}
	at += 8 // the end of extensions is zeros
	be.PutUint64(b[hBackingOff:], uint64(at))
	be.PutUint32(b[hBackingLen:], uint32(len(h.backing)))
	copy(b[at:], h.backing)
	return b
}
