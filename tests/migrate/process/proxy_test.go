package process

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Frame types at which something happens [docs/format/migrate.md].
const (
	frVerdict   = 6
	frReserve   = 9
	frStart     = 10
	frPassBegin = 12
	frPages     = 13
	frPassEnd   = 14
	frDevState  = 17
	frRoot      = 19
	frReady     = 20
	frCommit    = 23
	frAck       = 24
	frEnd       = 27
	frDone      = 28
	frBlocks    = 32
)

// trip is what a proxy does at a frame, once.
type trip struct {
	typ    uint16
	before bool // the frame does not arrive
	do     func()
}

// proxy is a link between source and destination that understands what goes by,
// where it is not encrypted.
type proxy struct {
	addr string
	to   string
	l    net.Listener

	mu    sync.Mutex
	trip  *trip            // guarded by mu
	dark  bool             // guarded by mu; nobody gets through
	conns map[net.Conn]int // guarded by mu
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String(), to: to, l: l, conns: map[net.Conn]int{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.link(c)
		}
	}()
	return p
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// setDark has all connections fail, or work again.
func (p *proxy) setDark(on bool) {
	p.mu.Lock()
	p.dark = on
	p.mu.Unlock()
	if on {
		p.cut()
	}
}

func (p *proxy) link(a net.Conn) {
	defer a.Close()
	p.mu.Lock()
	dark := p.dark
	p.mu.Unlock()
	if dark {
		return
	}
	b, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer b.Close()
	p.mu.Lock()
	p.conns[a], p.conns[b] = 1, 1
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(a, b) })
	both.Go(func() { p.pass(b, a) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, a)
	delete(p.conns, b)
	p.mu.Unlock()
}

// pass copies what one side says, frame by frame.
func (p *proxy) pass(from, to net.Conn) {
	defer to.(*net.TCPConn).CloseWrite()
	r := bufio.NewReaderSize(from, 1<<21)
	head, err := r.Peek(40)
	if err != nil {
		return
	}
	if _, err := io.CopyN(to, r, 40+int64(binary.LittleEndian.Uint32(head[32:]))+8); err != nil {
		return
	}
	for {
		head, err := r.Peek(20)
		if err != nil {
			return
		}
		n, typ := int64(binary.LittleEndian.Uint32(head)), binary.LittleEndian.Uint16(head[4:])
		p.mu.Lock()
		t := p.trip
		if t != nil && t.typ == typ {
			p.trip = nil
		} else {
			t = nil
		}
		p.mu.Unlock()
		if t != nil && t.before {
			t.do()
			return
		}
		if _, err := io.CopyN(to, r, 20+n+8); err != nil {
			return
		}
		if t != nil && !t.before {
			t.do()
		}
	}
}
