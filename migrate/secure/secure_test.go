package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secret is what the source would send: no peer without the token may see it.
var secret = bytes.Repeat([]byte("guest memory "), 100)

// port is a Listener under test with what it turned away.
type port struct {
	*Listener
	refused chan error
	got     chan []byte // what accepted connections brought
	now     atomic.Int64
}

func open(t *testing.T, tok Token) *port {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &port{refused: make(chan error, 100), got: make(chan []byte, 100)}
	p.Listener = tok.Derive().Listen(l, ListenOptions{
		Refused: func(_ net.Addr, err error) { p.refused <- err },
		Now:     func() time.Time { return time.Unix(p.now.Load(), 0) },
	})
	t.Cleanup(func() { p.Close() })
	go func() {
		for {
			c, err := p.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c) // an error shows in what is missing
				p.got <- b
			}()
		}
	}()
	return p
}

func dial(t *testing.T, p *port) net.Conn {
	c, err := net.Dial("tcp", p.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	t.Cleanup(func() { c.Close() })
	return c
}

// arrives checks that a peer with the token gets through.
func (p *port) arrives(t *testing.T, tok Token) {
	t.Helper()
	c, err := tok.Derive().Client(context.Background(), dial(t, p))
	require.NoError(t, err)
	_, err = c.Write(secret)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, secret, <-p.got)
}

func reason(t *testing.T, err error) Reason {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	return e.Reason
}

func TestTokenText(t *testing.T) {
	for range 100 {
		tok := New()
		s := tok.String()
		require.Len(t, strings.ReplaceAll(s, "-", ""), Chars)
		for _, as := range []string{s, strings.ToLower(s), strings.ReplaceAll(s, "-", ""), " " + strings.ReplaceAll(s, "-", " ") + "\n"} {
			got, err := Parse(as)
			require.NoError(t, err)
			require.Equal(t, tok, got)
		}
	}
	require.Equal(t, "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AA", Token{}.String())
	for _, tt := range []struct{ in, want string }{
		{"", "has 26 letters and digits, this has 0"},
		{"K5D3-7QXA", "this has 8"},
		{"9AAA-AAAA-AAAA-AAAA-AAAA-AAAA-AA", "character 1 is neither"},
		{"AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AB", "last character is mistyped"},
		{"AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-A=", "character 26 is neither"},
	} {
		_, err := Parse(tt.in)
		require.ErrorContains(t, err, tt.want)
	}
	a, err := Parse("oiba-aaaa-aaaa-aaaa-aaaa-aaaa-aa")
	require.NoError(t, err)
	b, err := Parse("018A-AAAA-AAAA-AAAA-AAAA-AAAA-AA")
	require.NoError(t, err)
	require.Equal(t, a, b, "what is often misread")
}

// TestKeysAreForever pins the derivation: two versions of godwit must make the
// same keys of one token.
func TestKeysAreForever(t *testing.T) {
	k := Token{1, 2, 3}.Derive()
	require.Equal(t, "302a300506032b6570032100d006c44492e24b7b76ba3c82072afe44f2377e9f4d1e8cab4f7c7d8e23d9b700", hex.EncodeToString(k.source.spki))
	require.Equal(t, "302a300506032b6570032100d11ca82dc0b2816b425be488f636f8b1d94107dc2947a679ce97760587c7e555", hex.EncodeToString(k.dest.spki))
}

func TestPeersWithTheToken(t *testing.T) {
	tok := New()
	p := open(t, tok)
	for range 3 { // a move may need several connections
		p.arrives(t, tok)
	}
	require.Empty(t, p.refused)
}

func TestWrongToken(t *testing.T) {
	tok := New()
	p := open(t, tok)
	_, err := New().Derive().Client(context.Background(), dial(t, p))
	require.Equal(t, WrongToken, reason(t, err), "%v", err)
	require.Equal(t, WrongToken, reason(t, <-p.refused))
	p.arrives(t, tok)
	require.Empty(t, p.got)
}

// TestOwnKeyIsNotThePeers: a side that shows the other side's certificate back is
// not trusted, nor is one with its own side's key.
func TestOwnKeyIsNotThePeers(t *testing.T) {
	tok := New()
	k := tok.Derive()
	p := open(t, tok)
	swapped := &Keys{source: k.dest, dest: k.source}
	_, err := swapped.Client(context.Background(), dial(t, p))
	require.Equal(t, WrongToken, reason(t, err))
	<-p.refused
	// A client that takes any server but has only the destination's key.
	c := tls.Client(dial(t, p), config(&k.dest, &k.dest, protoMigrate))
	require.NoError(t, c.Handshake(), "in TLS 1.3 the client is done first")
	require.Equal(t, WrongToken, reason(t, <-p.refused))
	_, err = c.Read(make([]byte, 1))
	require.ErrorContains(t, err, "bad certificate")
	p.arrives(t, tok)
}

func TestExpired(t *testing.T) {
	tok := New()
	p := open(t, tok)
	p.now.Store(int64(Lifetime/time.Second) - 1)
	p.arrives(t, tok)
	p.now.Add(1)
	_, err := tok.Derive().Client(context.Background(), dial(t, p))
	require.Equal(t, Expired, reason(t, err))
	require.Equal(t, Expired, reason(t, <-p.refused))
	// Only who knows the token learns that.
	_, err = New().Derive().Client(context.Background(), dial(t, p))
	require.Equal(t, WrongToken, reason(t, err))
	<-p.refused
	p.Hold(true) // a move is under way: it may connect again
	p.arrives(t, tok)
	p.Hold(false)
	_, err = tok.Derive().Client(context.Background(), dial(t, p))
	require.Equal(t, Expired, reason(t, err))
}

// TestStrangers are peers that have no token at all.
func TestStrangers(t *testing.T) {
	tok := New()
	k := tok.Derive()
	for _, tt := range []struct {
		name string
		do   func(c net.Conn) error
		want Reason
	}{
		{"godwit, not encrypted", func(c net.Conn) error {
			if _, err := io.WriteString(c, "GODWITmg\x02\x00\x00\x00\x01"+strings.Repeat("\x00", 1000)); err != nil {
				return err
			}
			return c.(*net.TCPConn).CloseWrite()
		}, Plain},
		{"a browser", func(c net.Conn) error { _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); return err }, NotTLS},
		{"one that hangs up", func(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() }, Closed},
		{"a TLS client without a certificate", func(c net.Conn) error {
			return tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protoMigrate}}).Handshake()
		}, NoCertificate},
		{"a TLS client for another purpose", func(c net.Conn) error {
			err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake()
			if err == nil || !strings.Contains(err.Error(), "no application protocol") {
				return err
			}
			return nil
		}, NotGodwit},
		{"one with the right key and no protocol", func(c net.Conn) error {
			cfg := config(&k.source, &k.dest)
			cfg.VerifyConnection = nil
			return tls.Client(c, cfg).Handshake()
		}, NotGodwit},
		{"TLS 1.2", func(c net.Conn) error {
			cfg := config(&k.source, &k.dest, protoMigrate)
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			err := tls.Client(c, cfg).Handshake()
			if err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
				return err
			}
			return nil
		}, OldTLS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := open(t, tok)
			c := dial(t, p)
			require.NoError(t, tt.do(c))
			got := <-p.refused
			require.Equal(t, tt.want, reason(t, got), "%v", got)
			b, _ := io.ReadAll(c) // it is hung up on
			if tt.want == Plain {
				require.Equal(t, []byte{0x15, 3, 3, 0, 2, 2, 10}, b, "it is told that this is TLS")
			}
			require.Empty(t, p.got)
			p.arrives(t, tok)
		})
	}
}

// TestStrangeServers are what a source may meet that has the token: it must say
// nothing to them.
func TestStrangeServers(t *testing.T) {
	k := New().Derive()
	for _, tt := range []struct {
		name string
		do   func(c net.Conn)
		want Reason
	}{
		{"godwit, not encrypted", func(c net.Conn) { _, _ = io.WriteString(c, "GODWITmg\x02\x00\x00\x00\x02") }, Plain},
		{"a web server", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, NotTLS},
		{"one that hangs up", func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 8)) }, Closed},
		{"another key", func(c net.Conn) {
			other := New().Derive()
			_ = tls.Server(c, config(&other.dest, &k.source, protoMigrate)).Handshake()
		}, WrongToken},
		{"TLS 1.2", func(c net.Conn) {
			cfg := config(&k.dest, &k.source, protoMigrate)
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			_ = tls.Server(c, cfg).Handshake()
		}, OldTLS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			said := make(chan []byte, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				var b bytes.Buffer
				rec := &recorder{Conn: c, b: &b}
				tt.do(rec)
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(&b, c) // the rest
				c.Close()
				said <- b.Bytes()
			}()
			c, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			_, err = k.Client(context.Background(), c)
			require.Equal(t, tt.want, reason(t, err), "%v", err)
			_, err = c.Write(secret)
			require.Error(t, err, "the connection is closed")
			require.NotContains(t, string(<-said), string(k.source.spki), "who we are is for the right peer only")
		})
	}
}

// recorder keeps what is read from a connection.
type recorder struct {
	net.Conn
	b *bytes.Buffer
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.b.Write(b[:n])
	return n, err
}

// TestReplay says again, byte for byte, what a good peer said.
func TestReplay(t *testing.T) {
	tok := New()
	p := open(t, tok)
	ours, theirs := net.Pipe()
	raw := dial(t, p)
	var said bytes.Buffer
	go func() {
		_, _ = io.Copy(io.MultiWriter(raw, &said), theirs)
		_ = raw.(*net.TCPConn).CloseWrite()
	}()
	go func() { _, _ = io.Copy(theirs, raw) }()
	c, err := tok.Derive().Client(context.Background(), ours)
	require.NoError(t, err)
	_, err = c.Write(secret)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, secret, <-p.got)
	require.NotContains(t, said.String(), string(secret), "it is encrypted")

	again := dial(t, p)
	_, err = again.Write(said.Bytes())
	require.NoError(t, err)
	require.Equal(t, Failed, reason(t, <-p.refused))
	require.Empty(t, p.got)
	p.arrives(t, tok)
}

// TestSilentPeersKeepNobodyOut holds connections open that never say a word.
func TestSilentPeersKeepNobodyOut(t *testing.T) {
	tok := New()
	p := open(t, tok)
	for range shakeMost - 2 {
		dial(t, p)
	}
	p.arrives(t, tok)
}

func TestCancelDial(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New().Derive().Client(ctx, a)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCloseEndsAccept(t *testing.T) {
	p := open(t, New())
	require.NoError(t, p.Close())
	_, err := p.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// BenchmarkThroughput is one connection over loopback, written in batches.
func BenchmarkThroughput(b *testing.B) {
	tok := New()
	k := tok.Derive()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s := k.Listen(l, ListenOptions{})
	defer s.Close()
	done := make(chan error, 1)
	go func() {
		c, err := s.Accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	c, err := k.Client(context.Background(), raw)
	require.NoError(b, err)
	batch := make([]byte, 256<<10)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if _, err := c.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	require.NoError(b, <-done)
}
