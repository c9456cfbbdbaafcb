package stopped_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	migrate "godwit/migrate/stopped"
	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

var ctx = context.Background()

// source is a stopped machine.
type source struct {
	*memtest.Memory
	secs []snapshot.Section
}

func (s *source) Sections() []snapshot.Section { return s.secs }
func (s *source) Root() [32]byte               { return s.Memory.Root(s.secs) }

func newSource(pages uint32, every int) *source {
	return &source{memtest.New(pages).Fill(uint64(pages), every), memtest.Sections()}
}

// dest is a machine being built; pages of memory is all it takes from outside.
type dest struct {
	*memtest.Memory
	pages          uint32
	config, state  []snapshot.Section
	running        int
	refuse, finish error
	activate       error
	spoil          func(m *memtest.Memory, state []snapshot.Section) // between arrival and hash
}

func (d *dest) Prepare(config []snapshot.Section) (snapshot.Sink, error) {
	d.config, d.Memory = config, memtest.New(d.pages)
	return d.Memory, d.refuse
}

func (d *dest) Finish(state []snapshot.Section) ([32]byte, error) {
	d.state = state
	if d.spoil != nil {
		d.spoil(d.Memory, state)
	}
	return d.Memory.Root(state), d.finish
}

func (d *dest) Activate() error {
	if d.activate == nil {
		d.running++
	}
	return d.activate
}

type result struct {
	st  migrate.Stats
	err error
}

// transfer runs both sides to their end, each closing its connection.
func transfer(ctx context.Context, a, b net.Conn, src migrate.Source, dst migrate.Dest, o migrate.Options) (sent, got result) {
	done := make(chan result)
	go func() {
		defer b.Close()
		st, err := migrate.Receive(ctx, b, dst, migrate.Options{Agent: "receiver"})
		done <- result{st, err}
	}()
	sent.st, sent.err = migrate.Send(ctx, a, src, o)
	a.Close()
	return sent, <-done
}

func loopback(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err = l.Accept()
	require.NoError(t, err)
	return a, b
}

func TestTransfer(t *testing.T) {
	for _, codec := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		for _, pages := range []uint32{0, 1, 1000, 20000} {
			for _, tcp := range []bool{false, true} {
				a, b := net.Pipe()
				if tcp {
					a, b = loopback(t)
				}
				src, dst := newSource(pages, 5), &dest{pages: pages}
				calls := 0
				sent, got := transfer(ctx, a, b, src, dst, migrate.Options{Codec: codec, Progress: func(migrate.Stats) { calls++ }})
				require.NoError(t, sent.err)
				require.NoError(t, got.err)
				checkMoved(t, src, dst, sent.st, got.st)
				if pages == 20000 {
					assert.Greater(t, calls, 20)
				}
			}
		}
	}
}

func checkMoved(t *testing.T, src *source, dst *dest, sent, got migrate.Stats) {
	t.Helper()
	assert.Equal(t, 1, dst.running)
	assert.Equal(t, src.Root(), dst.Root(dst.state))
	assert.Equal(t, src.Root(), got.Root)
	assert.Equal(t, "receiver", sent.Peer)
	assert.Equal(t, "godwit", got.Peer)
	assert.Equal(t, "config", dst.config[0].Name)
	assert.Len(t, dst.state, 3)
	assert.Equal(t, sent.Kinds, got.Kinds)
	assert.Equal(t, sent.Sent, got.Received)
	assert.Equal(t, sent.Received, got.Sent)
	assert.Equal(t, sent.Session, got.Session)
	assert.EqualValues(t, len(src.Data), sent.Kinds[migrate.Zero].Pages+sent.Kinds[migrate.Raw].Pages)
	assert.Len(t, dst.Data, int(sent.Kinds[migrate.Raw].Pages), "zero pages touch nothing")
	assert.EqualValues(t, len(src.Data), sent.Present)
}

func TestStatsUseTheGivenClock(t *testing.T) {
	a, b := net.Pipe()
	now := time.Duration(0)
	sent, _ := transfer(ctx, a, b, newSource(10, 1), &dest{pages: 10}, migrate.Options{
		Now: func() time.Duration { now += time.Second; return now },
	})
	require.NoError(t, sent.err)
	for _, d := range []time.Duration{sent.st.Connect, sent.st.Prepare, sent.st.Memory, sent.st.State, sent.st.Handed} {
		assert.Equal(t, time.Second, d)
	}
}

func TestCompressionPays(t *testing.T) {
	src := &source{memtest.New(640), nil}
	for p := range src.N {
		require.NoError(t, src.Restore(p, bytes.Repeat([]byte{byte(p), 1, 2, 3}, 1024)))
	}
	for _, codec := range []snapshot.Codec{snapshot.S2, snapshot.Zstd} {
		a, b := net.Pipe()
		sent, got := transfer(ctx, a, b, src, &dest{pages: 640}, migrate.Options{Codec: codec})
		require.NoError(t, got.err)
		raw := sent.st.Kinds[migrate.Raw]
		assert.Less(t, raw.Wire*20, raw.Raw)
		assert.Less(t, sent.st.Sent*20, raw.Raw)
	}
}

func TestRefusals(t *testing.T) {
	differ := &migrate.Error{Code: migrate.Refused, Field: "cpu", Have: "avx2", Want: "sse4.2", Text: "cpu model"}
	big := []snapshot.Section{{Name: "config", Data: make([]byte, 3<<20)}}
	for _, tt := range []struct {
		name       string
		src        *source
		dst        *dest
		code       migrate.Code
		send, recv string
	}{
		{"typed", newSource(9, 1), &dest{refuse: differ}, migrate.Refused,
			"the other side reports: cpu model (cpu: have avx2, want sse4.2)", "cpu model (cpu: have avx2, want sse4.2)"},
		{"plain", newSource(9, 1), &dest{refuse: errors.New("no\x1b[31m such chip")}, migrate.Refused,
			"the other side reports: no.[31m such chip", "no\x1b[31m such chip"},
		{"too small a memory", newSource(9, 1), &dest{pages: 5}, migrate.Failed,
			"the other side reports: restore page 7: page 7 of 5", "restore page 7: page 7 of 5"},
		{"finish", newSource(9, 1), &dest{pages: 9, finish: errors.New("uart0: fifo holds 99")}, migrate.Failed,
			"the other side reports: the machine cannot take the state: uart0: fifo holds 99", "uart0"},
		{"activate", newSource(9, 1), &dest{pages: 9, activate: errors.New("no door")}, migrate.Failed,
			"the other side reports: the machine does not start: no door", "the machine does not start: no door"},
		{"big configuration, refused", &source{memtest.New(1), big}, &dest{refuse: differ}, migrate.Refused, "cpu model", "cpu model"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, tcp := range []bool{false, true} {
				a, b := net.Pipe()
				if tcp {
					a, b = loopback(t)
				}
				sent, got := transfer(ctx, a, b, tt.src, tt.dst, migrate.Options{})
				require.ErrorContains(t, sent.err, tt.send)
				require.ErrorContains(t, got.err, tt.recv)
				assert.Equal(t, tt.code, migrate.CodeOf(sent.err))
				assert.Equal(t, tt.code, migrate.CodeOf(got.err))
				assert.Zero(t, tt.dst.running)
				var doubt *migrate.InDoubt
				assert.False(t, errors.As(sent.err, &doubt), "the destination said it does not run")
			}
		})
	}
}

func TestRootMismatchNamesThePlace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(m *memtest.Memory, state []snapshot.Section)
		want  string
	}{
		{"memory", func(m *memtest.Memory, _ []snapshot.Section) { m.Data[1500] = &[4096]byte{1} }, "memory differs in pages 1024-1535"},
		{"device", func(_ *memtest.Memory, s []snapshot.Section) { s[0].Data[0] ^= 1 }, "memory is equal, device state differs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			dst := &dest{pages: 2000, spoil: tt.spoil}
			sent, got := transfer(ctx, a, b, newSource(2000, 5), dst, migrate.Options{})
			require.ErrorContains(t, sent.err, tt.want)
			assert.Equal(t, migrate.RootsDiffer, migrate.CodeOf(sent.err))
			assert.Equal(t, migrate.RootsDiffer, migrate.CodeOf(got.err))
			var m *migrate.RootMismatch
			require.ErrorAs(t, sent.err, &m)
			assert.NotEqual(t, m.Source, m.Dest)
			assert.Zero(t, dst.running)
		})
	}
}

func TestSourceNoticesStaleHash(t *testing.T) {
	src := &staleSource{newSource(9, 1)}
	a, b := net.Pipe()
	dst := &dest{pages: 9}
	sent, got := transfer(ctx, a, b, src, dst, migrate.Options{})
	require.ErrorContains(t, sent.err, "page 2: its hash is recorded as")
	require.ErrorContains(t, got.err, "the other side reports: page 2")
	assert.Zero(t, dst.running)
}

type staleSource struct{ *source }

func (s *staleSource) Leaf(p uint32) [16]byte {
	if p == 2 {
		return [16]byte{1}
	}
	return s.source.Leaf(p)
}

func TestForeignPeers(t *testing.T) {
	for _, tt := range []struct{ says, want string }{
		{"SSH-2.0-OpenSSH_9.2\r\n", "it looks like an SSH server"},
		{"HTTP/1.1 400 Bad Request\r\n\r\n", "it looks like a web server"},
		{"hello, who is there?", `it says "hello, w`},
		{"QE", "is not godwit"},
		{"", "the connection ended in the preface"},
		{"GODW", "the connection ended in the preface"},
		{"GODWITmg and then some noise that is no preface", "the preface does not match its checksum"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			a, b := net.Pipe()
			go foreign(b, tt.says)
			_, err := migrate.Send(ctx, a, newSource(9, 1), migrate.Options{})
			require.ErrorContains(t, err, tt.want)

			a, b = net.Pipe()
			go foreign(a, tt.says)
			_, err = migrate.Receive(ctx, b, &dest{}, migrate.Options{})
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// foreign is a peer that says something, hangs up, and listens to nothing.
func foreign(c net.Conn, says string) {
	go io.Copy(io.Discard, c)
	io.WriteString(c, says)
	c.Close()
}

func TestTwoSendersOrTwoReceivers(t *testing.T) {
	a, b := loopback(t)
	done := make(chan error)
	go func() {
		_, err := migrate.Send(ctx, b, newSource(1, 1), migrate.Options{})
		done <- err
	}()
	_, err := migrate.Send(ctx, a, newSource(1, 1), migrate.Options{})
	require.ErrorContains(t, err, "one must send and one receive")
	require.ErrorContains(t, <-done, "one must send and one receive")
}

func TestCancel(t *testing.T) {
	why := errors.New("the user pressed q")
	for _, side := range []string{"source", "destination"} {
		for _, tcp := range []bool{false, true} {
			a, b := net.Pipe()
			if tcp {
				a, b = loopback(t)
			}
			src, dst := newSource(20000, 3), &dest{pages: 20000}
			sctx, rctx := ctx, ctx
			cctx, cancel := context.WithCancelCause(ctx)
			if side == "source" {
				sctx = cctx
			} else {
				rctx = cctx
			}
			done := make(chan error)
			go func() {
				defer b.Close()
				_, err := migrate.Receive(rctx, b, dst, migrate.Options{})
				done <- err
			}()
			batches := 0
			_, err := migrate.Send(sctx, a, src, migrate.Options{Progress: func(migrate.Stats) {
				if batches++; batches == 5 {
					cancel(why)
				}
			}})
			a.Close()
			rerr := <-done
			require.Error(t, err)
			require.Error(t, rerr)
			assert.Zero(t, dst.running)
			if side == "source" {
				require.ErrorIs(t, err, why)
				assert.Equal(t, migrate.Cancelled, migrate.CodeOf(err))
			} else {
				require.ErrorIs(t, rerr, why)
				assert.Equal(t, migrate.Cancelled, migrate.CodeOf(rerr))
			}
		}
	}
}

// TestSilentPeer: somebody who accepts and says nothing cannot hold either side.
func TestSilentPeer(t *testing.T) {
	cctx, cancel := context.WithCancel(ctx)
	a, b := loopback(t)
	defer b.Close()
	time.AfterFunc(time.Millisecond, cancel)
	_, err := migrate.Send(cctx, a, newSource(9, 1), migrate.Options{})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, migrate.Cancelled, migrate.CodeOf(err))
	_, err = migrate.Receive(cctx, a, &dest{}, migrate.Options{})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, migrate.Cancelled, migrate.CodeOf(err))
}

// mutant is a connection whose written stream is changed on its way.
type mutant struct {
	net.Conn
	pos    int // of the stream
	change func(pos int, b []byte) (out []byte, cut bool)
}

func (m *mutant) Write(b []byte) (int, error) {
	out, cut := m.change(m.pos, bytes.Clone(b))
	m.pos += len(b)
	if _, err := m.Conn.Write(out); err != nil {
		return 0, err
	}
	if cut {
		m.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func flipAt(at, bit int) func(int, []byte) ([]byte, bool) {
	return func(pos int, b []byte) ([]byte, bool) {
		if at >= pos && at < pos+len(b) {
			b[at-pos] ^= 1 << bit
		}
		return b, false
	}
}

func cutAt(at int) func(int, []byte) ([]byte, bool) {
	return func(pos int, b []byte) ([]byte, bool) {
		if at >= pos && at < pos+len(b) {
			return b[:at-pos], true
		}
		return b, false
	}
}

// repeatAt sends the n bytes up to at twice, as far as they were written at once.
func repeatAt(at, n int) func(int, []byte) ([]byte, bool) {
	return func(pos int, b []byte) ([]byte, bool) {
		if at > pos && at <= pos+len(b) {
			i := at - pos
			return append(bytes.Clone(b[:i]), b[max(0, i-n):]...), false
		}
		return b, false
	}
}

// TestEveryDamageIsDetected flips bits, cuts and repeats stretches of both
// directions. Whatever happens, at most one side may run the guest, and what
// runs is what was sent.
func TestEveryDamageIsDetected(t *testing.T) {
	const pages = 300
	src := newSource(pages, 2)
	before := src.Root()
	a, b := net.Pipe()
	clean, _ := transfer(ctx, a, b, src, &dest{pages: pages}, migrate.Options{Codec: snapshot.S2})
	require.NoError(t, clean.err)
	r := rand.New(rand.NewPCG(11, 12))
	for i := range 1200 {
		total := int(clean.st.Sent)
		reverse := i%4 == 3
		if reverse {
			total = int(clean.st.Received)
		}
		at := r.IntN(total)
		if i%3 == 0 { // the ends are where the decisions are
			at = total - 1 - r.IntN(min(total, 300))
		}
		change := flipAt(at, r.IntN(8))
		switch i % 5 {
		case 3:
			change = cutAt(at)
		case 4:
			change = repeatAt(at, 1+r.IntN(400))
		}
		damagedTransfer(t, src, before, reverse, change)
	}
}

func damagedTransfer(t *testing.T, src *source, before [32]byte, reverse bool, change func(int, []byte) ([]byte, bool)) {
	t.Helper()
	a, b := net.Pipe()
	if reverse {
		b = &mutant{Conn: b, change: change}
	} else {
		a = &mutant{Conn: a, change: change}
	}
	dst := &dest{pages: src.N}
	limited, cancel := context.WithTimeout(ctx, 20*time.Second) // a hang is a failure, not a wait
	defer cancel()
	sent, got := transfer(limited, a, b, src, dst, migrate.Options{Codec: snapshot.S2})
	require.NoError(t, limited.Err(), "hangs")
	require.Equal(t, before, src.Root(), "source unharmed")
	var doubt *migrate.InDoubt
	switch {
	case dst.running == 0:
		require.Error(t, got.err)
		require.Error(t, sent.err)
	case sent.err != nil:
		require.ErrorAs(t, sent.err, &doubt, "the destination runs: the source must not")
		fallthrough
	default:
		require.NoError(t, got.err)
		require.Equal(t, 1, dst.running)
		require.Equal(t, before, dst.Root(dst.state))
	}
}

func TestLostAckLeavesTheSourceInDoubt(t *testing.T) {
	a, b := net.Pipe()
	dst := &dest{pages: 10}
	src := newSource(10, 1)
	clean, _ := transfer(ctx, a, b, src, dst, migrate.Options{})
	require.NoError(t, clean.err)

	a, b = net.Pipe()
	sent, got := transfer(ctx, a, &mutant{Conn: b, change: cutAt(int(clean.st.Received) - 30)}, src, dst, migrate.Options{})
	var doubt *migrate.InDoubt
	require.ErrorAs(t, sent.err, &doubt)
	require.ErrorContains(t, sent.err, "this side stays stopped")
	require.NoError(t, got.err, "the destination runs")
	assert.True(t, got.st.AckLost)
	assert.Equal(t, 2, dst.running)
}

func TestCutCommitIsInDoubtAndNotRun(t *testing.T) {
	a, b := net.Pipe()
	src := newSource(10, 1)
	clean, _ := transfer(ctx, a, b, src, &dest{pages: 10}, migrate.Options{})
	a, b = net.Pipe()
	dst := &dest{pages: 10}
	sent, got := transfer(ctx, &mutant{Conn: a, change: cutAt(int(clean.st.Sent) - 5)}, b, src, dst, migrate.Options{})
	var doubt *migrate.InDoubt
	require.ErrorAs(t, sent.err, &doubt)
	require.ErrorContains(t, got.err, "the connection ended in frame #")
	assert.Equal(t, migrate.Truncated, migrate.CodeOf(got.err))
	assert.Zero(t, dst.running)
}

func TestDamageIsNamed(t *testing.T) {
	src := newSource(3000, 1)
	for _, tt := range []struct {
		name, want string
		at         int
	}{
		{"preface", "the preface does not match its checksum", 20},
		{"capabilities", "the preface's capabilities do not match", 45},
		{"pages", "(PAGES) does not match its checksum", 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			sent, got := transfer(ctx, &mutant{Conn: a, change: flipAt(tt.at, 3)}, b, src, &dest{pages: 3000}, migrate.Options{})
			require.ErrorContains(t, got.err, tt.want)
			require.ErrorContains(t, sent.err, "the other side reports: ")
			require.ErrorContains(t, sent.err, tt.want)
			assert.Equal(t, migrate.Damaged, migrate.CodeOf(got.err))
			assert.Equal(t, migrate.Damaged, migrate.CodeOf(sent.err))
			assert.Regexp(t, strings.ReplaceAll(tt.want, "(PAGES)", `frame #\d+ \(PAGES\)`), got.err.Error())
		})
	}
}
