package control

import (
	"io"
	"os"
	"sync"
)

// Sizes of the console, in bytes.
const (
	scrollback = 64 << 10
	maxLag     = 256 << 10 // that may wait for one client
	maxTyped   = 64 << 10  // that may wait for the guest
)

// Console holds what the guest printed and who listens, and what was typed.
type Console struct {
	mu      sync.Mutex
	log     *os.File   // guarded by mu; may be nil
	ring    []byte     // guarded by mu; the last bytes printed
	readers []*reader  // guarded by mu
	writer  *reader    // guarded by mu; may type
	typed   []byte     // guarded by mu; not yet given to the guest
	room    *sync.Cond // typed was taken, or the console closed
	eof     bool       // guarded by mu; nobody will type any more
	closed  bool       // guarded by mu
	wake    func()     // tells the machine goroutine that there is something
}

// reader is one client. Its queue is only as long as the client is slow.
type reader struct {
	con      *Console
	queue    []byte     // guarded by con.mu
	more     *sync.Cond // queue grew, or the console closed
	gone     bool       // guarded by con.mu
	lossless bool       // guarded by con.mu
}

func newConsole(log *os.File, wake func()) *Console {
	c := &Console{log: log, wake: wake}
	c.room = sync.NewCond(&c.mu)
	return c
}

// print delivers what the guest printed. crowded tells that the writer has too
// much waiting already.
func (c *Console) print(b []byte) (crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) > 0 {
		if c.log != nil {
			_, _ = c.log.Write(b) // a full disk must not stop the guest
		}
		c.ring = append(c.ring, b...)
		if n := len(c.ring); n > 2*scrollback {
			c.ring = append(c.ring[:0], c.ring[n-scrollback:]...)
		}
	}
	for _, r := range c.readers {
		if len(b) > 0 && (r.lossless || len(r.queue) < maxLag) {
			r.queue = append(r.queue, b...)
			r.more.Signal()
		}
		crowded = crowded || r.lossless && len(r.queue) > maxLag
	}
	return crowded
}

// attach adds a client that first gets the last replay bytes.
func (c *Console) attach(replay int, write, take bool) (*reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if write && c.writer != nil && !take && !c.eof {
		return nil, Fail("busy", "the console is in use", "someone else is typing there", "godwit attach --take, or  --read-only")
	}
	r := &reader{con: c, lossless: write}
	r.more = sync.NewCond(&c.mu)
	tail := c.ring[max(0, len(c.ring)-min(replay, scrollback)):]
	r.queue = append(r.queue, tail...)
	if write {
		if c.writer != nil {
			c.writer.lossless = false
		}
		c.writer, c.eof = r, false
	}
	c.readers = append(c.readers, r)
	return r, nil
}

// tail gives up to n bytes of what was printed last.
func (c *Console) tail(n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.ring[max(0, len(c.ring)-n):]...)
}

// detach removes a client.
func (r *reader) detach() {
	c := r.con
	c.mu.Lock()
	defer c.mu.Unlock()
	r.gone = true
	r.more.Signal()
	for i, o := range c.readers {
		if o == r {
			c.readers = append(c.readers[:i:i], c.readers[i+1:]...)
		}
	}
	if c.writer == r {
		c.writer = nil
		c.room.Broadcast()
	}
	c.wake() // the guest may have been waiting for this client
}

// next waits for bytes; io.EOF after the last.
func (r *reader) next() ([]byte, error) {
	r.con.mu.Lock()
	defer r.con.mu.Unlock()
	for len(r.queue) == 0 {
		if r.con.closed || r.gone {
			return nil, io.EOF
		}
		r.more.Wait()
	}
	b := r.queue
	r.queue = nil
	if r.lossless && len(b) > maxLag {
		r.con.wake()
	}
	return b, nil
}

// Type passes on what the writer typed; it waits while the guest does not take
// it. false: it is not the writer any more.
func (r *reader) Type(b []byte) bool {
	c := r.con
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.typed) >= maxTyped && c.writer == r && !c.closed {
		c.room.Wait()
	}
	if c.writer != r || c.closed {
		return false
	}
	c.typed = append(c.typed, b...)
	c.wake()
	return true
}

// end says that the writer will type no more.
func (r *reader) end() {
	r.con.mu.Lock()
	defer r.con.mu.Unlock()
	if r.con.writer == r {
		r.con.eof = true
		r.con.wake()
	}
}

// take removes up to n typed bytes. The machine goroutine calls it.
func (c *Console) take(n int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.typed))
	if n <= 0 {
		return nil
	}
	b := append([]byte(nil), c.typed[:n]...)
	c.typed = append(c.typed[:0], c.typed[n:]...)
	c.room.Broadcast()
	return b
}

// silent tells that no byte is waiting and none can come from the present
// writer.
func (c *Console) silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eof && len(c.typed) == 0
}

// close lets every client read to the end.
func (c *Console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, r := range c.readers {
		r.more.Broadcast()
	}
	c.room.Broadcast()
	if c.log != nil {
		c.log.Close()
		c.log = nil
	}
}

// hold reads and drops what a client types that may not type, until it leaves:
// only so is its leaving noticed.
func (r *reader) hold(from io.Reader, b []byte) {
	for {
		if _, err := from.Read(b); err != nil {
			if err != io.EOF {
				r.detach()
			}
			return
		}
	}
}
