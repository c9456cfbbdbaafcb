package secure

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// What the connection speaks, in TLS's words (ALPN). A side whose token is no
// longer good says so by choosing the second, to a peer that has proved to know
// the token and to nobody else.
const (
	protoMigrate = "godwit-migrate/1"
	protoExpired = "godwit-expired"
)

// Reason says why two sides do not trust each other.
type Reason int

// Reasons.
const (
	Failed        Reason = iota // the connection broke in the middle of it
	WrongToken                  // the other side has another token
	Expired                     // the token is no longer good
	Plain                       // the other side is godwit and does not encrypt
	NotTLS                      // the other side is something else
	OldTLS                      // the other side cannot speak TLS 1.3
	NoCertificate               // the other side shows no key
	NotGodwit                   // the other side speaks TLS, for another purpose
	Closed                      // the other side hung up instead of proving itself
)

var reasons = [...]string{
	Failed:        "the connection broke before both sides had proved themselves",
	WrongToken:    "the other side has another token",
	Expired:       "the token is no longer good: it is older than 10 minutes, or was used",
	Plain:         "the other side does not encrypt: it was started with --insecure",
	NotTLS:        "the other side speaks no TLS: it is not a godwit that waits for a token",
	OldTLS:        "the other side cannot speak TLS 1.3",
	NoCertificate: "the other side shows no key",
	NotGodwit:     "the other side speaks TLS, but not godwit's",
	Closed:        "the other side hung up instead of proving itself: it is no godwit, or one started with --insecure",
}

// Error is why a peer was not trusted, or does not trust us.
type Error struct {
	Reason Reason
	Err    error // cause; may be nil
}

func (e *Error) Error() string {
	if e.Reason == Failed && e.Err != nil {
		return reasons[e.Reason] + ": " + e.Err.Error()
	}
	return reasons[e.Reason]
}

func (e *Error) Unwrap() error { return e.Err }

// turnAway tells a godwit that does not encrypt that this side does, by an alert
// (fatal, unexpected message) (RFC 8446, 6). What it said is read first, for a
// while: to hang up with it unread could take the alert back.
func turnAway(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte{0x15, 3, 3, 0, 2, 2, 10}); err != nil {
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite() // it is gone else
	}
	_, _ = io.CopyN(io.Discard, c, 1<<20)
}

// What our own checks end a handshake with.
var (
	errKey   = errors.New("the peer's key is another one")
	errProto = errors.New("the peer speaks another protocol")
)

// config is TLS between self and other.
func config(self, other *identity, protos ...string) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{self.cert}, PrivateKey: self.key}},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protos,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // Why: the key is compared instead, below; there is nobody to vouch for names
		SessionTicketsDisabled: true, // no resumption: each connection proves the token anew
		// Records are full from the start: this is bulk, not a page load.
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			switch {
			case len(cs.PeerCertificates) != 1 || subtle.ConstantTimeCompare(cs.PeerCertificates[0].RawSubjectPublicKeyInfo, other.spki) != 1:
				return errKey
			case cs.Version < tls.VersionTLS13 || cs.NegotiatedProtocol == "":
				return errProto
			}
			return nil
		},
	}
}

// Client secures a connection that the source opened. On error, the connection is
// closed.
func (k *Keys) Client(ctx context.Context, c net.Conn) (net.Conn, error) {
	t := tls.Client(c, config(&k.source, &k.dest, protoMigrate, protoExpired))
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{why(err), err}
	}
	if t.ConnectionState().NegotiatedProtocol != protoMigrate {
		t.Close()
		return nil, &Error{Reason: Expired}
	}
	return t, nil
}

// server secures a connection that came in. A peer that knows the token is told
// if it is no longer good.
func (k *Keys) server(ctx context.Context, c net.Conn, good bool) (net.Conn, error) {
	proto := protoMigrate
	if !good {
		proto = protoExpired
	}
	t := tls.Server(c, config(&k.dest, &k.source, proto))
	if err := t.HandshakeContext(ctx); err != nil {
		reason := why(err)
		if reason == Plain {
			turnAway(c)
		}
		c.Close()
		return nil, &Error{reason, err}
	}
	if !good {
		t.Close()
		return nil, &Error{Reason: Expired}
	}
	return t, nil
}

// byText knows alerts of the other side and errors of crypto/tls, which have no
// types; one that is not known leaves the reason open.
var byText = []struct {
	text   string
	reason Reason
}{
	{"remote error: tls: bad certificate", WrongToken},
	{"remote error: tls: protocol version not supported", OldTLS},
	{"unsupported versions", OldTLS}, // a client's
	{"selected unsupported protocol version", OldTLS},
	{"didn't provide a certificate", NoCertificate},
	{"remote error: tls: certificate required", NotGodwit},
	{"no application protocol", NotGodwit},
	{"unsupported application protocols", NotGodwit},
}

// why tells people's reason of a failed handshake.
func why(err error) Reason {
	var head tls.RecordHeaderError
	switch {
	case errors.Is(err, errKey):
		return WrongToken
	case errors.Is(err, errProto):
		return NotGodwit
	case errors.As(err, &head) && string(head.RecordHeader[:]) == "GODWI": // [docs/format/migrate.md, Preface]
		return Plain
	case errors.As(err, &head):
		return NotTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "reset by peer"):
		return Closed
	}
	for _, k := range byText {
		if strings.Contains(err.Error(), k.text) {
			return k.reason
		}
	}
	return Failed
}

// Handshakes are bounded: by this time, and to so many at once.
const (
	shakeTime = 10 * time.Second
	shakeMost = 32
)

// Lifetime is how long a token is good for a first connection.
const Lifetime = 10 * time.Minute

// ListenOptions are what a Listener may be told.
type ListenOptions struct {
	Refused func(net.Addr, error) // a peer was turned away; may be nil; concurrent
	Now     func() time.Time      // nil: time.Now
}

// Listener accepts connections of peers that have the token.
type Listener struct {
	net.Listener // what lies below
	keys         *Keys
	opts         ListenOptions
	until        time.Time // of the token

	held  atomic.Bool // a move is under way: time does not count
	conns chan net.Conn
	ended chan struct{}
	err   error // why; set before ended is closed
}

// Listen secures a listener, which it takes over. The token's time begins now.
func (k *Keys) Listen(l net.Listener, o ListenOptions) *Listener {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Listener{
		Listener: l, keys: k, opts: o, until: o.Now().Add(Lifetime),
		conns: make(chan net.Conn), ended: make(chan struct{}),
	}
	go s.serve()
	return s
}

// Hold says whether a move is under way: its connections are let in however old
// the token has become.
func (s *Listener) Hold(on bool) { s.held.Store(on) }

// good tells whether the token still is.
func (s *Listener) good() bool { return s.held.Load() || s.opts.Now().Before(s.until) }

// Until is when the token stops being good for a first connection.
func (s *Listener) Until() time.Time { return s.until }

// serve takes connections and secures them, several at a time: one that says
// nothing does not keep others out.
func (s *Listener) serve() {
	room := make(chan struct{}, shakeMost)
	for {
		room <- struct{}{}
		c, err := s.Listener.Accept()
		if err != nil {
			s.err = err
			close(s.ended)
			return
		}
		go func() {
			defer func() { <-room }()
			s.shake(c)
		}()
	}
}

func (s *Listener) shake(c net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), shakeTime)
	defer cancel()
	t, err := s.keys.server(ctx, c, s.good())
	if err != nil {
		if s.opts.Refused != nil {
			s.opts.Refused(c.RemoteAddr(), err)
		}
		return
	}
	select {
	case s.conns <- t:
	case <-s.ended:
		t.Close()
	}
}

// Accept waits for a peer that has the token.
func (s *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ended:
		return nil, fmt.Errorf("accept: %w", s.err)
	}
}
