package migrate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/zeebo/xxh3"

	"godwit/snapshot"
)

// Bounds of a batch. Pages that need no bytes are cheap, so more of them fit.
const (
	pagesHead     = 20
	maxBatchPages = 8192
	maxBatchBytes = 256 << 10 // of content
	maxRunBytes   = 64 << 10
	linesHead     = 8 // the mask
	dupSize       = 4 // the page number
	lineSize      = 64
	maxLines      = 48 // of a page that travel alone

	// headRoom is kept free before the content, so that head and content lie in
	// one piece without a copy.
	headRoom  = frameHead + pagesHead + maxRunBytes + maxBatchPages
	batchSize = headRoom + maxBatchBytes + frameTail
)

// run is a stretch of pages.
type run struct{ first, count uint32 }

// appendRuns appends runs as pages skipped since the run before and pages in it.
func appendRuns(b []byte, runs []run) []byte {
	next := uint32(0)
	for _, r := range runs {
		b = binary.AppendUvarint(b, uint64(r.first-next))
		b = binary.AppendUvarint(b, uint64(r.count))
		next = r.first + r.count
	}
	return b
}

// addPage extends runs by a page beyond all others.
func addPage(runs []run, p uint32) []run {
	if n := len(runs); n > 0 && runs[n-1].first+runs[n-1].count == p {
		runs[n-1].count++
		return runs
	}
	return append(runs, run{p, 1})
}

// decodeRuns reads runs that hold count pages of a memory of so many.
func decodeRuns(out []run, p []byte, runs int, count, pages uint32) ([]run, []byte, error) {
	if uint64(runs) > uint64(count) {
		return nil, nil, fmt.Errorf("%d runs hold %d pages", runs, count)
	}
	next, total := uint64(0), uint64(0)
	for range runs {
		delta, n := binary.Uvarint(p)
		if n <= 0 {
			return nil, nil, errors.New("page runs end too early")
		}
		length, m := binary.Uvarint(p[n:])
		if m <= 0 {
			return nil, nil, errors.New("page runs end too early")
		}
		p = p[n+m:]
		// Each is bounded alone first, so that no sum can wrap.
		if delta > uint64(pages) || length == 0 || length > uint64(count) || next+delta+length > uint64(pages) {
			return nil, nil, fmt.Errorf("run of %d pages, %d after page %d, in a memory of %d", length, delta, next, pages)
		}
		out = append(out, run{uint32(next + delta), uint32(length)})
		next += delta + length
		total += length
	}
	if total != uint64(count) {
		return nil, nil, fmt.Errorf("runs hold %d pages, want %d", total, count)
	}
	return out, p, nil
}

// batch is a PAGES frame being built: columns, so that like is compressed with
// like. Pages ascend. The content of some are at the end of buf already.
type batch struct {
	pass  uint32
	max   int // bytes of content after which it is full
	runs  []run
	kinds []Kind
	count [Kinds]struct{ pages, bytes uint64 }
	buf   []byte // batchSize long
	n     int    // bytes of content, from headRoom on
	head  []byte // scratch
}

func (b *batch) reset(buf []byte, pass uint32, limit int) {
	b.runs, b.kinds, b.buf, b.n = b.runs[:0], b.kinds[:0], buf, 0
	b.count = [Kinds]struct{ pages, bytes uint64 }{}
	b.pass, b.max = pass, min(max(limit, 4*PageSize), maxBatchBytes)
}

func (b *batch) full() bool {
	return len(b.kinds) == maxBatchPages || b.n+PageSize > b.max || len(b.runs)*10 > maxRunBytes-10
}

// space is where the next page's content goes.
// Preconditions: the batch is not full.
func (b *batch) space() *[PageSize]byte {
	return (*[PageSize]byte)(b.buf[headRoom+b.n : headRoom+b.n+PageSize])
}

// add appends a page whose content is the first bytes of space().
func (b *batch) add(p uint32, k Kind, bytes int) {
	b.runs = addPage(b.runs, p)
	b.kinds = append(b.kinds, k)
	b.count[k].pages++
	b.count[k].bytes += uint64(bytes)
	b.n += bytes
}

// lines turns the page in space() into its lines that differ from base, if that
// is shorter by a quarter at least, and returns how many bytes that takes; 0 if
// none differs; -1 if too many do.
func (b *batch) lines(base *[PageSize]byte) int {
	page := b.space()
	if *page == *base {
		return 0
	}
	var mask uint64
	for i := range PageSize / lineSize {
		if [lineSize]byte(page[i*lineSize:]) != [lineSize]byte(base[i*lineSize:]) {
			mask |= 1 << i
		}
	}
	n := bits.OnesCount64(mask)
	if n > maxLines {
		return -1
	}
	// Forward over the mask, later backward over the lines: they only move down,
	// but the mask takes the place of the first.
	var packed [linesHead + maxLines*lineSize]byte
	le.PutUint64(packed[:], mask)
	at := linesHead
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		at += copy(packed[at:], page[i*lineSize:(i+1)*lineSize])
	}
	copy(page[:], packed[:at])
	return at
}

// finish makes the frame of it. spare takes the content where it is compressed.
func (b *batch) finish(seq uint64, spare []byte, c *chooser) (frame []byte, packed int) {
	packed, codec := c.pack(b.buf[headRoom:headRoom+b.n], spare[headRoom:headRoom:len(spare)])
	buf := b.buf
	if codec != snapshot.None {
		buf = spare
	}
	h := append(b.head[:0], make([]byte, frameHead)...) // filled in last
	h = le.AppendUint32(h, b.pass)
	h = append(h, byte(codec), 0)
	h = le.AppendUint16(h, uint16(len(b.runs)))
	h = le.AppendUint32(h, uint32(len(b.kinds)))
	h = le.AppendUint32(h, uint32(packed))
	h = le.AppendUint32(h, uint32(b.n))
	h = appendRuns(h, b.runs)
	for _, k := range b.kinds {
		h = append(h, byte(k))
	}
	b.head = h
	putHead(h, len(h)-frameHead+packed, frPages, seq)
	out := buf[headRoom-len(h) : headRoom+packed+frameTail]
	copy(out, h)
	le.PutUint64(out[len(out)-frameTail:], xxh3.Hash(out[frameHead:len(out)-frameTail]))
	return out, packed
}

// putHead fills in a frame's head.
func putHead(h []byte, payload int, t frameType, seq uint64) {
	le.PutUint32(h, uint32(payload))
	le.PutUint16(h[4:], uint16(t))
	le.PutUint16(h[6:], 0)
	le.PutUint64(h[8:], seq)
	le.PutUint32(h[16:], crcOf(h[:16]))
}

// tally adds the batch to a table; packed is what its content took.
func (b *batch) tally(t *KindTable, packed int) {
	for k := range b.count {
		c := &b.count[k]
		if c.pages == 0 {
			continue
		}
		t[k].Pages += c.pages
		t[k].Raw += c.pages * PageSize
		t[k].Wire += c.pages
		if b.n > 0 {
			t[k].Wire += c.bytes * uint64(packed) / uint64(b.n)
		}
	}
}

// pagesIn is a PAGES frame taken apart. All of it is hostile.
type pagesIn struct {
	pass   uint32
	runs   []run
	kinds  []byte
	data   []byte
	packed int
	buf    []byte
	unpack snapshot.Unpacker
}

// decode takes a payload apart, for a machine of so many pages. The result
// refers to the payload.
func (b *pagesIn) decode(payload []byte, pages uint32) error {
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
	if count == 0 || count > maxBatchPages || raw > maxBatchBytes {
		return fmt.Errorf("%d pages with %d bytes, want 1 to %d with at most %d", count, raw, maxBatchPages, maxBatchBytes)
	}
	var rest []byte
	var err error
	if b.runs, rest, err = decodeRuns(b.runs[:0], payload[pagesHead:], runs, count, pages); err != nil {
		return err
	}
	if uint64(len(rest)) != uint64(count)+uint64(packed) {
		return fmt.Errorf("%d bytes of kinds and content, want %d + %d", len(rest), count, packed)
	}
	b.kinds, b.packed = rest[:count], int(packed)
	if b.data = rest[count:]; codec != snapshot.None {
		b.buf = slices.Grow(b.buf[:0], maxBatchBytes)[:raw]
		if err := b.unpack.Unpack(b.buf, b.data, codec); err != nil {
			return err
		}
		b.data = b.buf
	}
	if len(b.data) != int(raw) {
		return fmt.Errorf("%d bytes of content, want %d", len(b.data), raw)
	}
	return b.each(func(uint32, Kind, []byte) error { return nil })
}

// each calls do for every page with its content: nothing, a page, a mask and its
// lines, or a page number.
func (b *pagesIn) each(do func(p uint32, k Kind, content []byte) error) error {
	i, data := 0, b.data
	for _, r := range b.runs {
		for p := r.first; p < r.first+r.count; p++ {
			k := Kind(b.kinds[i])
			n := 0
			switch k {
			case Zero, Keep:
			case Raw:
				n = PageSize
			case Dup:
				n = dupSize
			case DiskRef:
				n = refSize
			case ImageRef:
				n = imageRefSize
			case Lines:
				n = linesHead
				if len(data) >= linesHead {
					n += bits.OnesCount64(le.Uint64(data)) * lineSize
				}
			default:
				return fmt.Errorf("page %d is of %s, which is not spoken here", p, k)
			}
			if n > len(data) {
				return fmt.Errorf("content ends in page %d", p)
			}
			if err := do(p, k, data[:n]); err != nil {
				return err
			}
			data = data[n:]
			i++
		}
	}
	if len(data) != 0 {
		return fmt.Errorf("%d bytes of content belong to no page", len(data))
	}
	return nil
}

// patch applies the lines of a page of kind Lines.
func patch(page *[PageSize]byte, content []byte) {
	lines := content[linesHead:]
	for m := le.Uint64(content); m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		copy(page[i*lineSize:(i+1)*lineSize], lines)
		lines = lines[lineSize:]
	}
}
