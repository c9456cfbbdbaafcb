package stopped

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

func goldenFrames(t testing.TB) []frame {
	b, err := os.ReadFile("testdata/stop-and-copy-1-s2.source")
	require.NoError(t, err)
	r := bytes.NewReader(b)
	_, err = readPreface(r, sideSource)
	require.NoError(t, err)
	fr := frameReader{r: r}
	var out []frame
	for r.Len() > 0 {
		f, err := fr.read()
		require.NoError(t, err)
		f.payload = bytes.Clone(f.payload)
		out = append(out, f)
	}
	return out
}

func FuzzFrame(f *testing.F) {
	for _, fr := range goldenFrames(f) {
		fr.seq = 0
		f.Add(appendFrame(nil, &fr))
	}
	f.Add(appendFrame(appendFrame(nil, &frame{typ: 999, flags: flagOptional}), &frame{typ: frAck, seq: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		r := frameReader{r: src}
		for {
			fr, err := r.read()
			if err != nil {
				var e *Error
				require.ErrorAs(t, err, &e)
				return
			}
			require.LessOrEqual(t, cap(r.buf), MaxPayload+frameTail)
			again := appendFrame(nil, &fr)
			at := len(b) - src.Len()
			require.Equal(t, b[at-len(again):at], again, "one frame has one encoding")
		}
	})
}

func FuzzPreface(f *testing.F) {
	for _, name := range []string{"testdata/stop-and-copy-1-none.source", "testdata/stop-and-copy-1-none.dest"} {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b[:61])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPreface(bytes.NewReader(b), sideSource)
		if err == nil {
			require.EqualValues(t, Major, p.major)
		}
	})
}

func FuzzPages(f *testing.F) {
	for _, fr := range goldenFrames(f) {
		if fr.typ == frPages {
			f.Add(fr.payload, uint32(10))
		}
	}
	packer, err := snapshot.NewPacker(snapshot.Zstd)
	require.NoError(f, err)
	var b batch
	b.add(7, make([]byte, 4096))
	b.add(8, nil)
	b.add(1<<32-2, bytes.Repeat([]byte("ab"), 2048))
	zstd, _ := b.appendTo(nil, packer)
	f.Add(zstd, uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, payload []byte, pages uint32) {
		var b batch
		var u snapshot.Unpacker
		if b.decode(payload, pages, &u) != nil {
			return
		}
		require.LessOrEqual(t, cap(b.data), 2*maxBatchRaw*snapshot.PageSize)
		require.LessOrEqual(t, len(b.kinds), maxBatchPages)
		next, n := uint64(0), 0
		require.NoError(t, b.each(func(p uint32, content []byte) error {
			require.GreaterOrEqual(t, uint64(p), next, "pages ascend")
			require.Less(t, p, pages)
			require.Contains(t, []int{0, snapshot.PageSize}, len(content))
			next, n = uint64(p)+1, n+1
			return nil
		}))
		require.Equal(t, len(b.kinds), n)
	})
}

// plainDest takes whatever comes and must never be started by a fuzzer: it
// cannot guess the root, which is taken from a secret.
type plainDest struct {
	*memtest.Memory
	started bool
}

func (d *plainDest) Prepare([]snapshot.Section) (snapshot.Sink, error) { return d.Memory, nil }
func (d *plainDest) Finish(secs []snapshot.Section) ([32]byte, error) {
	return d.Root(append(secs, snapshot.Section{Name: "zz", Instance: "zz", State: true, Data: []byte("secret")})), nil
}
func (d *plainDest) Activate() error { d.started = true; return nil }

// FuzzReceive mutates payloads and order under right checksums: what is left is
// the protocol's own logic.
func FuzzReceive(f *testing.F) {
	var whole []byte
	for _, fr := range goldenFrames(f) {
		whole = le.AppendUint16(whole, uint16(fr.typ))
		whole = le.AppendUint16(whole, uint16(len(fr.payload)))
		whole = append(whole, fr.payload...)
		f.Add(bytes.Clone(whole))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		p := preface{major: Major, side: sideSource, caps: capabilities{Codecs: ourCodecs, Modes: ourModes}}
		stream := p.encode()
		for seq := uint64(0); len(script) >= 4; seq++ {
			typ, n := le.Uint16(script), min(int(le.Uint16(script[2:])), len(script)-4)
			stream = appendFrame(stream, &frame{typ: frameType(typ), seq: seq, payload: script[4 : 4+n]})
			script = script[4+n:]
		}
		dst := &plainDest{Memory: memtest.New(10)}
		_, err := Receive(context.Background(), rw{bytes.NewReader(stream), io.Discard}, dst, Options{})
		require.Error(t, err)
		require.False(t, dst.started)
	})
}

type rw struct {
	io.Reader
	io.Writer
}

func TestNewerAndOlderPeers(t *testing.T) {
	for _, tt := range []struct {
		major uint16
		code  Code
		want  string
	}{
		{Major + 1, Newer, "the other side (godwit 9) speaks a newer protocol (protocol: have 2.7, want 1.0)"},
		{Major - 1, Older, "the other side (godwit 9) speaks an older protocol (protocol: have 0.7, want 1.0)"},
	} {
		for _, side := range []uint8{sideSource, sideDest} {
			p := preface{major: tt.major, minor: 7, side: side, caps: capabilities{Agent: "godwit 9"}}
			b := p.encode()
			var said bytes.Buffer
			var err error
			if side == sideSource {
				_, err = Receive(context.Background(), rw{bytes.NewReader(b), &said}, &plainDest{}, Options{})
			} else {
				_, err = Send(context.Background(), rw{bytes.NewReader(b), &said}, emptySource{memtest.New(3)}, Options{})
			}
			require.EqualError(t, err, tt.want)
			assert.Equal(t, tt.code, CodeOf(err))
			// The other side learns our version, and hears no frame it could misread.
			_, err = readPreface(&said, 3-side)
			require.NoError(t, err)
			assert.Zero(t, said.Len())
		}
	}
	p := preface{major: Major, minor: Minor + 5, side: sideDest}
	_, err := readPreface(bytes.NewReader(p.encode()), sideDest)
	require.NoError(t, err, "a newer minor version is no obstacle")
}

type emptySource struct{ *memtest.Memory }

func (s emptySource) Sections() []snapshot.Section { return nil }
func (s emptySource) Root() [32]byte               { return s.Memory.Root(nil) }

func TestFrameRefusals(t *testing.T) {
	good := appendFrame(nil, &frame{typ: frHello, payload: []byte("abc")})
	huge := appendFrame(nil, &frame{typ: frHello, payload: make([]byte, MaxPayload+1)})
	for _, tt := range []struct {
		name string
		b    []byte
		code Code
		want string
	}{
		{"nothing", nil, Truncated, "the connection ended in wait for frame #0"},
		{"half a head", good[:9], Truncated, "the connection ended in the head of frame #0"},
		{"half a payload", good[:22], Truncated, "the connection ended in frame #0 (HELLO)"},
		{"head", append([]byte{9}, good[1:]...), Damaged, "the head of frame #0 does not match its checksum"},
		{"payload", append(bytes.Clone(good[:len(good)-1]), 0), Damaged, "frame #0 (HELLO) does not match its checksum"},
		{"sequence", appendFrame(nil, &frame{typ: frAck, seq: 4}), Damaged, "frame #4 (ACK) came where #0 was due"},
		{"type", appendFrame(nil, &frame{typ: 77}), Protocol, "frame #0 has type 77, which is required and unknown here"},
		{"size", huge, Protocol, "frame #0 (HELLO) holds 1048577 bytes, at most 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := frameReader{r: bytes.NewReader(tt.b)}
			_, err := r.read()
			require.EqualError(t, err, tt.want)
			assert.Equal(t, tt.code, CodeOf(err))
		})
	}
	r := frameReader{r: bytes.NewReader(appendFrame(appendFrame(nil, &frame{typ: 77, flags: flagOptional}), &frame{typ: frAck, seq: 1}))}
	f, err := r.read()
	require.NoError(t, err)
	assert.Equal(t, frAck, f.typ, "an unknown optional frame is skipped")
}

func TestPagesRefusals(t *testing.T) {
	packer, err := snapshot.NewPacker(snapshot.None)
	require.NoError(t, err)
	var b batch
	b.add(3, make([]byte, 4096))
	b.add(5, nil)
	good, _ := b.appendTo(nil, packer)
	set := func(at int, v ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], v)
		return c
	}
	uvarint := func(v uint64) []byte { return binary.AppendUvarint(nil, v) }
	for _, tt := range []struct {
		name, want string
		payload    []byte
	}{
		{"short", "12 bytes, at least 20", good[:12]},
		{"codec", "compression 9 is unknown", set(4, 9)},
		{"reserved", "reserved byte is set", set(5, 1)},
		{"no pages", "0 pages with 4096 bytes", set(8, 0)},
		{"too many", "pages with 4096 bytes, want 1 to 8192", set(8, 1, 33)},
		{"too much", "want 1 to 8192 with at most 262144", set(16, 0, 0, 5)},
		{"runs", "3 runs hold 2 pages", set(6, 3)},
		{"empty run", "run of 0 pages", set(21, 0)},
		{"beyond", "run of 1 pages, 3 after page 4, in a memory of 7", set(22, 3)},
		{"wrapping", "in a memory of 7", append(bytes.Clone(good[:20]), append(uvarint(1<<64-1), good[22:]...)...)},
		{"sum", "runs hold 3 pages, want 2", set(21, 2)},
		{"kind", "page of lines, which is not spoken here", set(24, 3)},
		{"kinds and content", "4096 bytes of content, want 8192", set(25, 1)},
		{"content", "4098 bytes of kinds and content, want 2 + 4095", set(12, 0xff, 0x0f)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b batch
			require.ErrorContains(t, b.decode(tt.payload, 7, &snapshot.Unpacker{}), tt.want)
		})
	}
}

// TestHostileSource: a peer under right checksums that lies about sizes, sends
// pages twice, or commits to another machine is refused in words.
func TestHostileSource(t *testing.T) {
	packer, err := snapshot.NewPacker(snapshot.None)
	require.NoError(t, err)
	pages := func(ps ...uint32) []byte {
		var b batch
		for _, p := range ps {
			b.add(p, bytes.Repeat([]byte{7}, 4096))
		}
		out, _ := b.appendTo(nil, packer)
		return out
	}
	hi := frame{typ: frHello, payload: mustEncode(&hello{Mode: stopAndCopy, Pages: 10})}
	none := mustEncode(&sectionCount{})
	start := []frame{hi, {typ: frConfig, payload: none}, {typ: frReserve, payload: mustEncode(&empty{})}}
	dst := &plainDest{Memory: memtest.New(10)}
	realRoot, _ := dst.Finish(nil)
	for _, tt := range []struct {
		name, want string
		frames     []frame
	}{
		{"mode", "strategy 7 is unknown here", []frame{{typ: frHello, payload: mustEncode(&hello{Mode: 7})}}},
		{"order", "frame #0 is COMMIT where HELLO was due", []frame{{typ: frCommit}}},
		{"junk", "frame #0 (HELLO)", []frame{{typ: frHello, payload: []byte{0xff}}}},
		{"many sections", "at most 4096 with", []frame{hi, {typ: frConfig, payload: mustEncode(&sectionCount{Sections: 1e6})}}},
		{"big sections", "at most 4096 with 536870912", []frame{hi, {typ: frConfig, payload: mustEncode(&sectionCount{Bytes: 1 << 60})}}},
		{"more than announced", "section config holds 9 bytes, 8 were left", []frame{
			hi, {typ: frConfig, payload: mustEncode(&sectionCount{Sections: 1, Bytes: 8})},
			{typ: frSection, payload: mustEncode(&sectionHead{Name: "config", Size: 9})}}},
		{"state in the configuration", "section clock is announced in the wrong place", []frame{
			hi, {typ: frConfig, payload: mustEncode(&sectionCount{Sections: 1})},
			{typ: frSection, payload: mustEncode(emptySection("clock"))}}},
		{"page twice", "brings page 3 after page 3", append(start, frame{typ: frPages, payload: pages(3)}, frame{typ: frPages, payload: pages(3)})},
		{"page outside", "run of 1 pages, 10 after page 0, in a memory of 10", append(start, frame{typ: frPages, payload: pages(10)})},
		{"another root", "state hash is 0100", append(start, frame{typ: frDevState, payload: none},
			frame{typ: frRoot, payload: mustEncode(&root{[32]byte{1}})}, frame{typ: frCommit, payload: mustEncode(&commit{Root: realRoot})})},
		{"commit to another", "COMMIT names machine 01", append(start, frame{typ: frDevState, payload: none},
			frame{typ: frRoot, payload: mustEncode(&root{realRoot})}, frame{typ: frCommit, payload: mustEncode(&commit{Root: [32]byte{1}})})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := preface{major: Major, side: sideSource}
			stream := p.encode()
			for i := range tt.frames {
				f := tt.frames[i]
				f.seq = uint64(i)
				stream = appendFrame(stream, &f)
			}
			dst := &plainDest{Memory: memtest.New(10)}
			_, err := Receive(context.Background(), rw{bytes.NewReader(stream), io.Discard}, dst, Options{})
			require.ErrorContains(t, err, tt.want)
			assert.False(t, dst.started)
		})
	}
}

func emptySection(name string) *sectionHead {
	h := headOf(&snapshot.Section{Name: name, Required: true, State: true})
	return &h
}

// TestAbortAfterCommitIsNoDoubt: the destination's word that it did not start
// gives the guest back.
func TestAbortAfterCommitIsNoDoubt(t *testing.T) {
	src := emptySource{memtest.New(3)}
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		l := newLink(b)
		p, _ := readPreface(l.br, sideSource)
		p.side = sideDest
		l.out = p.encode()
		for _, step := range []struct {
			until, say frameType
			message    any
		}{
			{frReserve, frStart, &empty{}},
			{frRoot, frReady, &ready{Root: src.Root()}},
			{frCommit, frAbort, &reason{Code: uint16(Failed), Text: "no disk \x1b]0;title\a"}},
		} {
			_ = l.flush()
			for f, err := l.in.read(); err == nil && f.typ != step.until; f, err = l.in.read() {
			}
			_ = l.say(step.say, step.message)
		}
	}()
	_, err := Send(context.Background(), a, src, Options{})
	var doubt *InDoubt
	require.False(t, errors.As(err, &doubt))
	require.EqualError(t, err, "the other side reports: no disk .]0;title.")
}
