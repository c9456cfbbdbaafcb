package snapshot

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how stored bytes were compressed. The numbers are part of the file
// and wire formats.
type Codec uint8

// Codecs.
const (
	None Codec = iota // as they are
	S2                // one S2 block
	Zstd              // one zstd frame
)

// String is the codec's name.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case S2:
		return "s2"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCodec is the codec of a name.
func ParseCodec(name string) (Codec, error) {
	for k := None; k <= Zstd; k++ {
		if k.String() == name {
			return k, nil
		}
	}
	return None, fmt.Errorf("codec %q is unknown, want one of none, s2 and zstd", name)
}

// zstdWindow bounds what a frame makes its decoder remember, in bytes.
const zstdWindow = 1 << 20

// Packer compresses independent blocks where it pays. It is not safe for
// concurrent use.
type Packer struct {
	codec Codec
	enc   *zstd.Encoder
	buf   []byte
	fails int // blocks in a row that were tried and did not shrink
	skip  int // blocks to pass uncompressed before the next try
	pause int // how many that were the last time; 0: none since one shrank
}

// NewPacker makes a packer of that codec.
func NewPacker(c Codec) (*Packer, error) {
	if c > Zstd {
		return nil, fmt.Errorf("compression %d is unknown, want 0 to %d", c, Zstd)
	}
	p := &Packer{codec: c}
	if c != Zstd {
		return p, nil
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	p.enc = enc
	return p, nil
}

// Pack returns b compressed, or b itself with None where that saves less than an
// eighth. The result is valid until the next call. After four failures in a row
// fewer and fewer blocks are tried, at last one in 32, so that incompressible memory
// costs little, and a file that is compressed already little of what follows it.
func (p *Packer) Pack(b []byte) ([]byte, Codec) {
	if p.codec == None || len(b) == 0 {
		return b, None
	}
	if p.skip > 0 {
		p.skip--
		return b, None
	}
	out, c := p.Try(b)
	switch {
	case c != None:
		p.fails, p.pause = 0, 0
	case p.fails >= 3:
		p.pause = min(2*p.pause+1, 31)
		p.skip = p.pause
	default:
		p.fails++
	}
	return out, c
}

// Try is Pack without regard to what came before.
func (p *Packer) Try(b []byte) ([]byte, Codec) {
	switch p.codec {
	case S2:
		p.buf = s2.Encode(p.buf[:cap(p.buf)], b)
	case Zstd:
		p.buf = p.enc.EncodeAll(b, p.buf[:0])
	default:
		return b, None
	}
	if len(p.buf) <= len(b)-len(b)/8 {
		return p.buf, p.codec
	}
	return b, None
}

// Unpacker decompresses hostile blocks into memory of known size. It is not safe
// for concurrent use.
type Unpacker struct{ dec *zstd.Decoder }

// Unpack fills dst from the block b, which must decompress to exactly len(dst)
// bytes. Nothing beyond dst and a bounded decoder state is allocated.
func (u *Unpacker) Unpack(dst, b []byte, c Codec) error {
	switch c {
	case None:
		if len(b) != len(dst) {
			return fmt.Errorf("stored block is %d bytes, want %d", len(b), len(dst))
		}
		copy(dst, b)
		return nil
	case S2:
		return unpackS2(dst, b)
	case Zstd:
		return u.unpackZstd(dst, b)
	}
	return fmt.Errorf("compression %d is unknown, want 0 to %d", c, Zstd)
}

func unpackS2(dst, b []byte) error {
	n, err := s2.DecodedLen(b)
	if err != nil {
		return fmt.Errorf("s2 block: %w", err)
	}
	if n != len(dst) {
		return fmt.Errorf("s2 block holds %d bytes, want %d", n, len(dst))
	}
	if _, err := s2.Decode(dst, b); err != nil {
		return fmt.Errorf("s2 block: %w", err)
	}
	return nil
}

func (u *Unpacker) unpackZstd(dst, b []byte) error {
	if u.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(MaxSectionBytes),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return fmt.Errorf("start zstd: %w", err)
		}
		u.dec = dec
	}
	out, err := u.dec.DecodeAll(b, dst[:0:len(dst)])
	if err != nil {
		return fmt.Errorf("zstd frame: %w", err)
	}
	if len(out) != len(dst) {
		return fmt.Errorf("zstd frame holds %d bytes, want %d", len(out), len(dst))
	}
	return nil
}
