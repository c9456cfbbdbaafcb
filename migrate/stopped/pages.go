package stopped

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"godwit/snapshot"
)

// Kind says how a page travels. The numbers never change meaning.
type Kind uint8

// Kinds of pages. Only Zero and Raw are spoken yet.
const (
	Zero    Kind = 0 // all zero
	Raw     Kind = 1 // 4096 bytes
	Delta   Kind = 2 // reserved: change against an earlier pass
	Lines   Kind = 3 // reserved: the 64-byte lines that changed
	Dup     Kind = 4 // reserved: equal to another page
	DiskRef Kind = 5 // reserved: equal to a disk block
	Keep    Kind = 6 // reserved: the destination has it
	Kinds        = 7 // how many
)

var kindNames = [Kinds]string{"zero", "raw", "delta", "lines", "dup", "diskref", "keep"}

// String is the kind's name.
func (k Kind) String() string {
	if k < Kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Bounds of a batch. Pages that need no bytes are cheap, so more of them fit.
const (
	pagesHead     = 20
	maxBatchPages = 8192
	maxBatchRaw   = 64 // pages with content: 256 KiB
)

// run is a stretch of pages.
type run struct{ first, count uint32 }

// batch is a PAGES frame being built or taken apart: columns, so that like is
// compressed with like. Pages ascend.
type batch struct {
	pass  uint32
	runs  []run
	kinds []Kind
	data  []byte // content of the Raw pages, end to end
}

func (b *batch) reset() {
	b.runs, b.kinds, b.data = b.runs[:0], b.kinds[:0], b.data[:0]
}

// add appends a page; content is its 4096 bytes, or nil if they are zero.
func (b *batch) add(p uint32, content []byte) {
	if n := len(b.runs); n > 0 && b.runs[n-1].first+b.runs[n-1].count == p {
		b.runs[n-1].count++
	} else {
		b.runs = append(b.runs, run{p, 1})
	}
	if content == nil {
		b.kinds = append(b.kinds, Zero)
		return
	}
	b.kinds = append(b.kinds, Raw)
	b.data = append(b.data, content...)
}

func (b *batch) full() bool {
	return len(b.kinds) == maxBatchPages || len(b.data) == maxBatchRaw*snapshot.PageSize
}

// appendTo appends the payload [docs/format/migrate.md, PAGES] and returns it
// with the bytes the content took.
func (b *batch) appendTo(out []byte, p *snapshot.Packer) ([]byte, int) {
	packed, codec := p.Pack(b.data)
	out = le.AppendUint32(out, b.pass)
	out = append(out, byte(codec), 0)
	out = le.AppendUint16(out, uint16(len(b.runs)))
	out = le.AppendUint32(out, uint32(len(b.kinds)))
	out = le.AppendUint32(out, uint32(len(packed)))
	out = le.AppendUint32(out, uint32(len(b.data)))
	next := uint32(0)
	for _, r := range b.runs {
		out = binary.AppendUvarint(out, uint64(r.first-next))
		out = binary.AppendUvarint(out, uint64(r.count))
		next = r.first + r.count
	}
	for _, k := range b.kinds {
		out = append(out, byte(k))
	}
	return append(out, packed...), len(packed)
}

// decode takes a payload apart into b, reusing its memory, for a machine of so
// many pages. All of it is hostile.
func (b *batch) decode(payload []byte, pages uint32, u *snapshot.Unpacker) error {
	b.reset()
	if len(payload) < pagesHead {
		return fmt.Errorf("%d bytes, at least %d", len(payload), pagesHead)
	}
	b.pass = le.Uint32(payload)
	codec, reserved := snapshot.Codec(payload[4]), payload[5]
	runs, count := int(le.Uint16(payload[6:])), le.Uint32(payload[8:])
	packed, raw := le.Uint32(payload[12:]), le.Uint32(payload[16:])
	if reserved != 0 {
		return errors.New("reserved byte is set")
	}
	if count == 0 || count > maxBatchPages || raw > maxBatchRaw*snapshot.PageSize {
		return fmt.Errorf("%d pages with %d bytes, want 1 to %d with at most %d",
			count, raw, maxBatchPages, maxBatchRaw*snapshot.PageSize)
	}
	rest, err := b.decodeRuns(payload[pagesHead:], runs, count, pages)
	if err != nil {
		return err
	}
	if uint64(len(rest)) != uint64(count)+uint64(packed) {
		return fmt.Errorf("%d bytes of kinds and content, want %d + %d", len(rest), count, packed)
	}
	if err := b.decodeKinds(rest[:count], raw); err != nil {
		return err
	}
	b.data = slices.Grow(b.data, int(raw))[:raw]
	return u.Unpack(b.data, rest[count:], codec)
}

func (b *batch) decodeRuns(p []byte, runs int, count, pages uint32) ([]byte, error) {
	if uint32(runs) > count {
		return nil, fmt.Errorf("%d runs hold %d pages", runs, count)
	}
	next, total := uint64(0), uint64(0)
	for range runs {
		delta, n := binary.Uvarint(p)
		if n <= 0 {
			return nil, errors.New("page runs end too early")
		}
		length, m := binary.Uvarint(p[n:])
		if m <= 0 {
			return nil, errors.New("page runs end too early")
		}
		p = p[n+m:]
		// Each is bounded alone first, so that no sum can wrap.
		if delta > uint64(pages) || length == 0 || length > uint64(count) || next+delta+length > uint64(pages) {
			return nil, fmt.Errorf("run of %d pages, %d after page %d, in a memory of %d", length, delta, next, pages)
		}
		b.runs = append(b.runs, run{uint32(next + delta), uint32(length)})
		next += delta + length
		total += length
	}
	if total != uint64(count) {
		return nil, fmt.Errorf("runs hold %d pages, want %d", total, count)
	}
	return p, nil
}

func (b *batch) decodeKinds(p []byte, raw uint32) error {
	want := uint32(0)
	for _, k := range p {
		switch Kind(k) {
		case Zero:
		case Raw:
			want += snapshot.PageSize
		default:
			return fmt.Errorf("page of %s, which is not spoken here", Kind(k))
		}
		b.kinds = append(b.kinds, Kind(k))
	}
	if want != raw {
		return fmt.Errorf("%d bytes of content, want %d", raw, want)
	}
	return nil
}

// each calls do for every page; content is nil for Zero.
func (b *batch) each(do func(p uint32, content []byte) error) error {
	i, data := 0, b.data
	for _, r := range b.runs {
		for p := r.first; p < r.first+r.count; p++ {
			var content []byte
			if b.kinds[i] == Raw {
				content, data = data[:snapshot.PageSize], data[snapshot.PageSize:]
			}
			if err := do(p, content); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}
