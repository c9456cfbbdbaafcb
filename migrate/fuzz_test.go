package migrate

import (
	"bytes"
	"math/bits"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

// recorded reads the frames of a recorded side.
func recorded(t testing.TB, path string, atSource bool) (out []frame) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	src := bytes.NewReader(b)
	r := NewReader(src, atSource)
	for src.Len() > 0 {
		m, _, err := r.Read(nil)
		require.NoError(t, err)
		if m.preface == nil {
			out = append(out, m.frame)
		}
	}
	return out
}

func FuzzFrame(f *testing.F) {
	for _, fr := range recorded(f, "sim/testdata/pre-1.source", false) {
		fr.seq = 0
		f.Add(appendFrame(nil, &fr))
	}
	f.Add(appendFrame(appendFrame(nil, &frame{typ: 999, flags: flagOptional}), &frame{typ: frAck, seq: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		r := Reader{r: src, opened: true}
		var buf []byte
		for {
			m, grown, err := r.Read(buf)
			if err != nil {
				var e *Error
				require.ErrorAs(t, err, &e)
				return
			}
			buf = grown
			require.LessOrEqual(t, cap(buf), MaxPayload+frameTail)
			again := appendFrame(nil, &m.frame)
			at := len(b) - src.Len()
			require.Equal(t, b[at-len(again):at], again, "one frame has one encoding")
		}
	})
}

func FuzzPreface(f *testing.F) {
	for _, name := range []string{"sim/testdata/pre-1.source", "sim/testdata/pre-1.destination"} {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b[:59])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := readPreface(bytes.NewReader(b), sideSource)
		if err == nil {
			require.EqualValues(t, Major, p.major)
			require.LessOrEqual(t, p.role, RoleQuery)
		}
	})
}

func FuzzPages(f *testing.F) {
	for _, fr := range recorded(f, "sim/testdata/pre-1.source", false) {
		if fr.typ == frPages {
			f.Add(fr.payload, uint32(12))
		}
	}
	for _, codec := range []string{"s2", "zstd"} {
		c, err := newChooser(codec, ourCodecs, func() time.Duration { return 0 })
		require.NoError(f, err)
		var b batch
		b.reset(make([]byte, batchSize), 1, maxBatchBytes)
		copy(b.space()[:], bytes.Repeat([]byte("ab"), PageSize/2))
		b.add(7, Raw, PageSize)
		b.add(9, Zero, 0)
		le.PutUint32(b.space()[:], 7)
		b.add(1<<32-2, Dup, dupSize)
		out, _ := b.finish(0, make([]byte, batchSize), c)
		f.Add(out[frameHead:len(out)-frameTail], uint32(1<<32-1))
	}
	f.Fuzz(func(t *testing.T, payload []byte, pages uint32) {
		var b pagesIn
		if b.decode(payload, pages) != nil {
			return
		}
		require.LessOrEqual(t, cap(b.buf), 2*maxBatchBytes)
		next, n := uint64(0), 0
		require.NoError(t, b.each(func(p uint32, k Kind, content []byte) error {
			require.GreaterOrEqual(t, uint64(p), next, "pages ascend")
			require.Less(t, p, pages)
			if k == Lines {
				var page [PageSize]byte
				require.Len(t, content, linesHead+lineSize*bits.OnesCount64(le.Uint64(content)))
				patch(&page, content)
			}
			next, n = uint64(p)+1, n+1
			return nil
		}))
		require.Equal(t, len(b.kinds), n)
	})
}

func FuzzBlocks(f *testing.F) {
	sizes := []int64{3*BlockSize - 512, 1 << 40}
	for _, codec := range []string{"none", "s2", "zstd"} {
		c, err := newChooser(codec, ourCodecs, func() time.Duration { return 0 })
		require.NoError(f, err)
		b := blocksFrame{first: 1, kinds: []byte{byte(Zero), byte(Raw)}, data: bytes.Repeat([]byte("ab"), (BlockSize-512)/2)}
		f.Add(b.payload(c, make([]byte, 0, maxBatchBytes)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var buf []byte
		var unpack snapshot.Unpacker
		b, err := decodeBlocks(payload, sizes, &buf, &unpack)
		if err != nil {
			return
		}
		require.LessOrEqual(t, cap(buf), 2*maxBatchBytes)
		data := b.data
		for i, k := range b.kinds {
			block := b.first + uint32(i)
			require.Less(t, block, blocksOf(sizes[b.disk]))
			if Kind(k) == Raw {
				data = data[blockLen(sizes[b.disk], block):]
			}
		}
		require.Empty(t, data)
	})
}

func FuzzPageList(f *testing.F) {
	var l list
	l.add(3, make([]byte, LeafSize))
	l.add(9, make([]byte, LeafSize))
	f.Add(l.payload(), uint8(1), uint32(10))
	f.Add(make([]byte, listHead), uint8(0), uint32(10))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, pages uint32) {
		size := []int{0, LeafSize, sumSize}[kind%3]
		n := 0
		if eachListed(b, size, pages, func(p uint32, data []byte) {
			require.Less(t, p, pages)
			require.Len(t, data, size)
			n++
		}) == nil {
			require.LessOrEqual(t, n, maxListPages)
		}
	})
}

// still is a host on which no time passes and nothing can be dialled.
type still struct{ closed bool }

func (*still) Now() time.Duration { return 1 }
func (*still) Dial(Role)          {}
func (h *still) Close(*Conn)      { h.closed = true }

// secretive takes whatever comes and must never be started by a fuzzer: it cannot
// guess the root, which is taken from a secret.
type secretive struct {
	*memtest.Memory
	started bool
}

func (d *secretive) Held([DigestSize]byte, uint64) []byte           { return nil }
func (d *secretive) Check([]snapshot.Section) []Mismatch            { return nil }
func (d *secretive) Reserve([]snapshot.Section) (Memory, error)     { return d, nil }
func (d *secretive) Journal(uint64, snapshot.UUID) error            { return nil }
func (d *secretive) Activate() error                                { d.started = true; return nil }
func (d *secretive) Abandon()                                       {}
func (d *secretive) Absent([]uint64, func(p uint32) [LeafSize]byte) {}
func (d *secretive) Fill(uint32, []byte) error                      { return nil }
func (d *secretive) Wanted() (uint32, bool)                         { return 0, false }
func (d *secretive) Wants() <-chan struct{}                         { return nil }
func (d *secretive) Finish(secs []snapshot.Section) ([DigestSize]byte, uint64, error) {
	return d.Root(append(secs, snapshot.Section{Name: "zz", Instance: "zz", State: true, Data: []byte("secret")})), 0, nil
}

// script is frames without what checksums them.
func script(frames []frame) (b []byte) {
	for _, fr := range frames {
		b = le.AppendUint16(b, uint16(fr.typ))
		b = le.AppendUint16(b, uint16(len(fr.payload)))
		b = append(b, fr.payload...)
	}
	return b
}

// play hands a script to an engine that has greeted its peer.
func play(e Engine, c *Conn, side uint8, session snapshot.UUID, script []byte) {
	p := &preface{major: Major, side: side, session: session, caps: capabilities{Codecs: ourCodecs}}
	e.Received(c, &Message{preface: p})
	for seq := uint64(0); len(script) >= 4; seq++ {
		typ, n := le.Uint16(script), min(int(le.Uint16(script[2:])), len(script)-4)
		if frameType(typ).known() {
			e.Received(c, &Message{frame: frame{typ: frameType(typ), seq: seq, payload: script[4 : 4+n]}})
		}
		script = script[4+n:]
		e.Tick()
		for e.Pull(c) != nil {
		}
	}
}

// FuzzDest mutates payloads and order under right checksums: what is left is the
// protocol's own logic.
func FuzzDest(f *testing.F) {
	for _, name := range []string{"sim/testdata/pre-1.source"} {
		all := recorded(f, name, false)
		for i := range all {
			f.Add(script(all[:i+1]))
		}
	}
	post := []frame{
		{typ: frHello, payload: mustEncode(&hello{12})},
		{typ: frConfig, payload: mustEncode(&sectionCount{})},
		{typ: frReserve, payload: mustEncode(&empty{})},
		{typ: frPassBegin, payload: mustEncode(&passMark{Pass: 1})},
	}
	var l list
	l.add(3, make([]byte, LeafSize))
	post = append(post, frame{typ: frPromise, payload: l.payload()})
	l.add(3, nil)
	post = append(post, frame{typ: frAbsent, payload: l.payload()},
		frame{typ: frDevState, payload: mustEncode(&sectionCount{})}, frame{typ: frRoot, payload: mustEncode(&root{})},
		frame{typ: frWantLeaves, payload: mustEncode(&wantLeaves{[]uint32{0}})}, frame{typ: frCommit, payload: mustEncode(&commit{})})
	f.Add(script(post))
	f.Fuzz(func(t *testing.T, script []byte) {
		b := &secretive{Memory: memtest.New(12)}
		d, err := NewDest(b, Options{}, &still{})
		require.NoError(t, err)
		c := &Conn{}
		d.Opened(c)
		play(d, c, sideSource, snapshot.UUID{1}, script)
		require.False(t, b.started)
	})
}

// resting is a guest that stands for any: what counts is that it is never left
// stopped by a peer that did not take it over.
type resting struct {
	*memtest.Memory
	stopped bool
}

func (g *resting) Config() ([]snapshot.Section, error) { return nil, nil }
func (g *resting) Track() error                        { return nil }
func (g *resting) Curve() Curve                        { return nil }
func (g *resting) Changes(int) []Change                { return nil }
func (g *resting) Writers(int) []Writer                { return nil }
func (g *resting) Pass() (Pass, error)                 { return restingPass{g}, nil }
func (g *resting) Budget(int)                          {}
func (g *resting) Resume()                             { g.stopped = false }
func (g *resting) Stop() (Final, error) {
	g.stopped = true
	return restingPass{g}, nil
}

type restingPass struct{ *resting }

func (p restingPass) Info() PassInfo                    { return PassInfo{Number: 1, Dirty: 2} }
func (p restingPass) Dirty() []uint64                   { return []uint64{9} }
func (p restingPass) Base(uint32, *[PageSize]byte) bool { return false }
func (p restingPass) Sent(uint32, [LeafSize]byte)       {}
func (p restingPass) Sections() []snapshot.Section      { return nil }
func (p restingPass) Root() [DigestSize]byte            { return [DigestSize]byte{1, 2, 3} }

// FuzzSource plays hostile destinations. Without the root in its READY none of
// them takes the guest over.
func FuzzSource(f *testing.F) {
	all := recorded(f, "sim/testdata/pre-1.destination", true)
	for i := range all {
		f.Add(script(all[:i+1]), uint8(i))
	}
	f.Fuzz(func(t *testing.T, script []byte, mode uint8) {
		g := &resting{Memory: memtest.New(12).Fill(1, 2)}
		m := []Mode{ModeStop, ModePre, ModePost, ModeHybrid, ModeAuto}[mode%5]
		s, err := NewSource(g, Options{Mode: m, Observe: -1, Session: snapshot.UUID{1}}, &still{})
		require.NoError(t, err)
		c := &Conn{Role: RoleControl}
		s.Opened(c)
		play(s, c, sideDest, snapshot.UUID{1}, script)
		if !bytes.Contains(script, []byte{1, 2, 3, 0}) {
			require.Zero(t, s.fin.committed, "nobody had the root")
		}
		s.Cancel(nil)
		if s.fin.committed == 0 {
			require.False(t, g.stopped)
		}
	})
}

// TestHostileLengthsAllocateLittle: what a peer announces is not believed.
func TestHostileLengthsAllocateLittle(t *testing.T) {
	long := appendFrame(nil, &frame{typ: frData, payload: nil})
	le.PutUint32(long, 1<<31)
	le.PutUint32(long[16:], crcOf(long[:16]))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		_, _, err := (&Reader{r: bytes.NewReader(long), opened: true}).Read(nil)
		require.ErrorContains(t, err, "at most 1048576")
		var in sectionsIn
		require.Error(t, in.begin(&sectionCount{Sections: 1 << 31, Bytes: 1 << 62}))
		require.NoError(t, in.begin(&sectionCount{Sections: 1, Bytes: snapshot.MaxSectionBytes}))
		require.NoError(t, in.section(&sectionHead{Name: "x", Size: snapshot.MaxSectionBytes}))
		require.NoError(t, in.more([]byte("a")))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}
