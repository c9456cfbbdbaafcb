package guest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// maxXZDict bounds the dictionary of a block in bytes: that of xz -9.
const maxXZDict = 64 << 20

// xzReader unpacks one .xz stream of LZMA2 blocks [XZ 1.1.0]. The container is
// read here and not by the library, which allocates whatever dictionary a
// block's header asks for: up to 4 GiB for one byte.
type xzReader struct {
	in     *countReader
	newSum func() hash.Hash // nil: blocks carry no checksum

	block   *lzma.Reader2
	sum     hash.Hash
	start   int64  // offset of the block's header
	packed  int64  // offset of the block's data
	size    uint64 // bytes unpacked of this block
	want    [2]uint64
	records [][2]uint64 // unpadded and unpacked size of each block
	done    bool
}

// maxXZBlocks bounds the blocks of a stream; they have 1 MiB or more by habit.
const maxXZBlocks = 1 << 16

var errXZ = errors.New("xz stream is damaged")

// countReader knows its offset. LZMA2 chunks are read byte by byte.
type countReader struct {
	r *bufio.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

var xzMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}

// newXZ reads a stream's header.
func newXZ(r io.Reader) (*xzReader, error) {
	x := &xzReader{in: &countReader{r: bufio.NewReaderSize(r, 1<<16)}}
	h := make([]byte, 12)
	if err := x.full(h); err != nil {
		return nil, err
	}
	if !bytes.Equal(h[:6], xzMagic) || h[6] != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return nil, fmt.Errorf("%w: it has no header", errXZ)
	}
	switch h[7] {
	case 0:
	case 1:
		x.newSum = func() hash.Hash { return crc32.NewIEEE() }
	case 4:
		x.newSum = func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) }
	case 10:
		x.newSum = sha256.New
	default:
		return nil, fmt.Errorf("xz check %d is unknown", h[7])
	}
	return x, nil
}

func (x *xzReader) full(p []byte) error {
	if _, err := io.ReadFull(x.in, p); err != nil {
		return fmt.Errorf("%w: it ends too early", errXZ)
	}
	return nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.done {
			return 0, io.EOF
		}
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := x.block.Read(p)
		x.size += uint64(n)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if err == io.EOF {
			err = x.end()
		} else if err != nil {
			err = fmt.Errorf("%w: %v", errXZ, err)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next reads a block's header, or the index after the last block [XZ 1.1.0 3.1].
func (x *xzReader) next() error {
	x.start = x.in.n
	b, err := x.in.ReadByte()
	if err != nil {
		return fmt.Errorf("%w: it ends too early", errXZ)
	}
	if b == 0 {
		x.done = true
		return x.index()
	}
	h := make([]byte, (int(b)+1)*4)
	h[0] = b
	if err := x.full(h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(body):]) {
		return fmt.Errorf("%w: a block's header has another checksum", errXZ)
	}
	dict, err := x.header(body)
	if err != nil {
		return err
	}
	x.packed, x.size = x.in.n, 0
	if x.newSum != nil {
		x.sum = x.newSum()
	}
	x.block, err = lzma.Reader2Config{DictCap: int(dict)}.NewReader2(x.in)
	if err != nil {
		return fmt.Errorf("%w: %v", errXZ, err)
	}
	return nil
}

// header finds the dictionary's size and keeps the sizes the block promises.
func (x *xzReader) header(h []byte) (dict int64, err error) {
	flags, p := h[1], h[2:]
	if flags&0x3f != 0 {
		return 0, errors.New("xz filters other than LZMA2 are not known")
	}
	for i := range x.want {
		x.want[i] = 0
		if flags&(0x40<<i) == 0 {
			continue
		}
		v, n := binary.Uvarint(p)
		if n <= 0 || v == 0 {
			return 0, fmt.Errorf("%w: a block's header has no size", errXZ)
		}
		x.want[i], p = v, p[n:]
	}
	if len(p) < 3 || p[0] != 0x21 || p[1] != 1 {
		return 0, errors.New("xz filters other than LZMA2 are not known")
	}
	dict, err = lzma.DecodeDictCap(p[2])
	if err != nil || dict > maxXZDict {
		return 0, fmt.Errorf("xz dictionary has %d bytes, at most %d", dict, maxXZDict)
	}
	return max(dict, lzma.MinDictCap), nil
}

// end checks a block's size and checksum.
func (x *xzReader) end() error {
	x.block = nil
	packed := uint64(x.in.n - x.packed)
	if (x.want[0] != 0 && x.want[0] != packed) || (x.want[1] != 0 && x.want[1] != x.size) {
		return fmt.Errorf("%w: a block has another size than its header says", errXZ)
	}
	if err := x.pad(x.packed); err != nil {
		return err
	}
	n := 0
	if x.sum != nil {
		have := x.sum.Sum(nil)
		want := make([]byte, len(have))
		n = len(have)
		if err := x.full(want); err != nil {
			return err
		}
		if n < sha256.Size { // CRCs are little-endian
			for i := range n / 2 {
				have[i], have[n-1-i] = have[n-1-i], have[i]
			}
		}
		if !bytes.Equal(have, want) {
			return fmt.Errorf("%w: a block has another checksum", errXZ)
		}
	}
	if len(x.records) == maxXZBlocks {
		return fmt.Errorf("xz stream has more than %d blocks", maxXZBlocks)
	}
	unpadded := uint64(x.packed-x.start) + packed + uint64(n)
	x.records = append(x.records, [2]uint64{unpadded, x.size})
	return nil
}

// pad skips zeros until the offset from start is a multiple of four.
func (x *xzReader) pad(start int64) error {
	for (x.in.n-start)%4 != 0 {
		if b, err := x.in.ReadByte(); err != nil || b != 0 {
			return fmt.Errorf("%w: padding is not zero", errXZ)
		}
	}
	return nil
}

// index checks the list of blocks and the footer, which nothing may follow
// [XZ 1.1.0 4].
func (x *xzReader) index() error {
	n, err := binary.ReadUvarint(x.in)
	if err != nil || n != uint64(len(x.records)) {
		return fmt.Errorf("%w: index lists %d blocks, there are %d", errXZ, n, len(x.records))
	}
	for _, r := range x.records {
		for _, want := range r {
			if v, err := binary.ReadUvarint(x.in); err != nil || v != want {
				return fmt.Errorf("%w: index has another size than a block", errXZ)
			}
		}
	}
	if err := x.pad(x.start); err != nil {
		return err
	}
	tail := make([]byte, 4+12)
	if err := x.full(tail); err != nil {
		return err
	}
	if tail[14] != 'Y' || tail[15] != 'Z' {
		return fmt.Errorf("%w: it has no footer", errXZ)
	}
	if _, err := x.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: something follows it", errXZ)
	}
	return nil
}
