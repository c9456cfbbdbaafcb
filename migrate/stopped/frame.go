package stopped

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/zeebo/xxh3"
)

var le = binary.LittleEndian

// A frame is
//
//	u32 len | u16 type | u16 flags | u64 seq | u32 crc32c | payload | u64 xxh3-64
//
// little endian; the CRC covers the 16 bytes before it, so that a damaged length
// is noticed before it is believed, and the hash covers the payload.
const (
	frameHead  = 20
	frameTail  = 8
	MaxPayload = 1 << 20 // bytes

	// flagOptional lets a receiver that does not know the type skip the frame.
	flagOptional = 1 << 0
)

// frameType says what a payload is. The numbers never change meaning.
type frameType uint16

const (
	frHello    frameType = 1  // source: what follows
	frConfig   frameType = 2  // source: so many sections describe the machine
	frSection  frameType = 3  // source: one section's head
	frData     frameType = 4  // source: bytes of the section
	frReserve  frameType = 5  // source: build that machine
	frStart    frameType = 6  // dest: built
	frRefuse   frameType = 7  // dest: cannot build it
	frPages    frameType = 8  // source: a batch of pages
	frDevState frameType = 9  // source: so many sections are its state
	frRoot     frameType = 10 // source: state hash
	frReady    frameType = 11 // dest: state hash of what it holds
	frCommit   frameType = 12 // source: yours
	frAck      frameType = 13 // dest: running
	frAbort    frameType = 14 // either: over, and I do not run it
)

var frameNames = [...]string{
	frHello: "HELLO", frConfig: "CONFIG", frSection: "SECTION", frData: "DATA", frReserve: "RESERVE",
	frStart: "START", frRefuse: "REFUSE", frPages: "PAGES", frDevState: "DEVSTATE", frRoot: "ROOT",
	frReady: "READY", frCommit: "COMMIT", frAck: "ACK", frAbort: "ABORT",
}

func (t frameType) known() bool { return int(t) < len(frameNames) && frameNames[t] != "" }

// String is the type's name in the documents.
func (t frameType) String() string {
	if t.known() {
		return frameNames[t]
	}
	return fmt.Sprintf("frame type %d", uint16(t))
}

type frame struct {
	typ     frameType
	flags   uint16
	seq     uint64
	payload []byte
}

// appendFrame appends the frame's bytes to b.
// Preconditions: the payload is at most MaxPayload bytes.
func appendFrame(b []byte, f *frame) []byte {
	start := len(b)
	b = le.AppendUint32(b, uint32(len(f.payload)))
	b = le.AppendUint16(b, uint16(f.typ))
	b = le.AppendUint16(b, f.flags)
	b = le.AppendUint64(b, f.seq)
	b = le.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	b = append(b, f.payload...)
	return le.AppendUint64(b, xxh3.Hash(f.payload))
}

// frameReader reads the frames of one direction. Frames count from 0 without a
// gap: one lost, repeated or moved is an error.
type frameReader struct {
	r    io.Reader
	next uint64
	buf  []byte
}

// read returns the next frame, whose payload is valid until the call after.
func (r *frameReader) read() (frame, error) {
	for {
		f, err := r.readAny()
		if err != nil || f.typ.known() {
			return f, err
		}
		if f.flags&flagOptional == 0 {
			return f, errorf(Protocol, "frame #%d has type %d, which is required and unknown here", f.seq, f.typ)
		}
	}
}

func (r *frameReader) readAny() (frame, error) {
	var h [frameHead]byte
	where := fmt.Sprintf("the head of frame #%d", r.next)
	if n, err := io.ReadFull(r.r, h[:]); err != nil {
		if n == 0 {
			where = fmt.Sprintf("wait for frame #%d", r.next)
		}
		return frame{}, readError(where, err)
	}
	if crc32.Checksum(h[:16], castagnoli) != le.Uint32(h[16:]) {
		return frame{}, errorf(Damaged, "%s does not match its checksum", where)
	}
	n := le.Uint32(h[:])
	f := frame{typ: frameType(le.Uint16(h[4:])), flags: le.Uint16(h[6:]), seq: le.Uint64(h[8:])}
	if f.seq != r.next {
		return frame{}, errorf(Damaged, "frame #%d (%s) came where #%d was due", f.seq, f.typ, r.next)
	}
	if n > MaxPayload {
		return frame{}, errorf(Protocol, "frame #%d (%s) holds %d bytes, at most %d", f.seq, f.typ, n, MaxPayload)
	}
	if err := r.body(&f, int(n)); err != nil {
		return frame{}, err
	}
	r.next++
	return f, nil
}

func (r *frameReader) body(f *frame, n int) error {
	if cap(r.buf) < n+frameTail {
		r.buf = make([]byte, n+frameTail)
	}
	b := r.buf[:n+frameTail]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return readError(fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), err)
	}
	if xxh3.Hash(b[:n]) != le.Uint64(b[n:]) {
		return errorf(Damaged, "frame #%d (%s) does not match its checksum", f.seq, f.typ)
	}
	f.payload = b[:n]
	return nil
}
