package migrate

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
	frHello      frameType = 1  // source: who I am, how big the machine is
	frWelcome    frameType = 2  // dest: what I have of this session
	frConfig     frameType = 3  // source: so many sections describe the machine
	frSection    frameType = 4  // source: one section's head
	frData       frameType = 5  // source: bytes of the section
	frVerdict    frameType = 6  // dest: what keeps me from being it
	frProbe      frameType = 7  // source: padding, to measure the connection
	frProbed     frameType = 8  // dest: it arrived
	frReserve    frameType = 9  // source: build that machine
	frStart      frameType = 10 // dest: built
	frHave       frameType = 11 // dest: sha256 of pages held from before
	frPassBegin  frameType = 12 // source: a pass begins
	frPages      frameType = 13 // source: a batch of pages
	frPassEnd    frameType = 14 // source: a pass ends
	frPassed     frameType = 15 // dest: all of it is applied
	frPromise    frameType = 16 // source: leaves of pages to come
	frDevState   frameType = 17 // source: so many sections are its state
	frAbsent     frameType = 18 // source: pages that come later
	frRoot       frameType = 19 // source: state hash
	frReady      frameType = 20 // dest: state hash of what it holds
	frWantLeaves frameType = 21 // source: name the leaves of these groups
	frLeaves     frameType = 22 // dest: leaves of a group
	frCommit     frameType = 23 // source: yours
	frAck        frameType = 24 // dest: running
	frReqPage    frameType = 25 // dest: the guest waits for this page
	frMissing    frameType = 26 // dest: pages that never came
	frEnd        frameType = 27 // dest: none is missing
	frDone       frameType = 28 // source: I know, forget the session
	frAnswer     frameType = 29 // dest: on a query connection, what became of the session
	frAbort      frameType = 30 // either: over, and I do not run it
	frPing       frameType = 31 // either: still here
	frBlocks     frameType = 32 // source: blocks of a disk
	frRefused    frameType = 33 // dest: pages that refer to what is not there
	frFetch      frameType = 48 // dest: send the data of these sections
)

var frameNames = [...]string{
	frHello: "HELLO", frWelcome: "WELCOME", frConfig: "CONFIG", frSection: "SECTION", frData: "DATA", frVerdict: "VERDICT", frProbe: "PROBE", frProbed: "PROBED", frReserve: "RESERVE", frStart: "START", frHave: "HAVE", frPassBegin: "PASS_BEGIN", frPages: "PAGES", frPassEnd: "PASS_END", frPassed: "PASSED", frPromise: "PROMISE", frDevState: "DEVSTATE", frAbsent: "ABSENT", frRoot: "ROOT", frReady: "READY", frWantLeaves: "WANT_LEAVES", frLeaves: "LEAVES", frCommit: "COMMIT", frAck: "ACK", frReqPage: "REQ_PAGE", frMissing: "MISSING", frEnd: "END", frDone: "DONE", frAnswer: "ANSWER", frAbort: "ABORT", frPing: "PING", frBlocks: "BLOCKS", frRefused: "REFUSED", frFetch: "FETCH",
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

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendFrame appends the frame's bytes to b.
// Preconditions: the payload is at most MaxPayload bytes.
func appendFrame(b []byte, f *frame) []byte {
	start := len(b)
	b = le.AppendUint32(b, uint32(len(f.payload)))
	b = le.AppendUint16(b, uint16(f.typ))
	b = le.AppendUint16(b, f.flags)
	b = le.AppendUint64(b, f.seq)
	b = le.AppendUint32(b, crcOf(b[start:]))
	b = append(b, f.payload...)
	return le.AppendUint64(b, xxh3.Hash(f.payload))
}

// Message is what a Reader reads: the preface, then frames.
type Message struct {
	preface *preface
	frame
	err error // of the preface: what is wrong with it
	n   int   // bytes
}

// Reader reads one direction of a connection. Frames count from 0 without a gap:
// one lost, repeated or moved is an error.
type Reader struct {
	r      io.Reader
	side   uint8 // whose words these are
	next   uint64
	opened bool
}

// NewReader reads what the destination says to a source, or the source to a
// destination.
func NewReader(r io.Reader, atSource bool) *Reader {
	if atSource {
		return &Reader{r: r, side: sideDest}
	}
	return &Reader{r: r, side: sideSource}
}

// Read reads the next message, the payload into buf, which grows as needed and
// is returned for the next call.
func (r *Reader) Read(buf []byte) (*Message, []byte, error) {
	if !r.opened {
		r.opened = true
		p, n, err := readPreface(r.r, r.side)
		if p == nil {
			return nil, buf, err
		}
		return &Message{preface: p, err: err, n: n}, buf, nil
	}
	for {
		f, buf, err := r.any(buf)
		if err != nil || f.typ.known() {
			return &Message{frame: f, n: frameHead + len(f.payload) + frameTail}, buf, err
		}
		if f.flags&flagOptional == 0 {
			return nil, buf, errorf(Protocol, "frame #%d has type %d, which is required and unknown here", f.seq, f.typ)
		}
	}
}

func (r *Reader) any(buf []byte) (frame, []byte, error) {
	var h [frameHead]byte
	where := fmt.Sprintf("the head of frame #%d", r.next)
	if n, err := io.ReadFull(r.r, h[:]); err != nil {
		if n == 0 {
			where = fmt.Sprintf("the wait for frame #%d", r.next)
		}
		return frame{}, buf, readError(where, err)
	}
	if crcOf(h[:16]) != le.Uint32(h[16:]) {
		return frame{}, buf, errorf(Damaged, "%s does not match its checksum", where)
	}
	n := le.Uint32(h[:])
	f := frame{typ: frameType(le.Uint16(h[4:])), flags: le.Uint16(h[6:]), seq: le.Uint64(h[8:])}
	if f.seq != r.next {
		return frame{}, buf, errorf(Damaged, "frame #%d (%s) came where #%d was due", f.seq, f.typ, r.next)
	}
	if n > MaxPayload {
		return frame{}, buf, errorf(Protocol, "frame #%d (%s) holds %d bytes, at most %d", f.seq, f.typ, n, MaxPayload)
	}
	buf, err := r.body(&f, int(n), buf)
	r.next++
	return f, buf, err
}

func (r *Reader) body(f *frame, n int, buf []byte) ([]byte, error) {
	if cap(buf) < n+frameTail {
		buf = make([]byte, n+frameTail)
	}
	b := buf[:n+frameTail]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return buf, readError(fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), err)
	}
	if xxh3.Hash(b[:n]) != le.Uint64(b[n:]) {
		return buf, errorf(Damaged, "frame #%d (%s) does not match its checksum", f.seq, f.typ)
	}
	f.payload = b[:n]
	return buf, nil
}
