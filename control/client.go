package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// consoleProtocol is what a console connection is upgraded to.
const consoleProtocol = "godwit-console"

// Client speaks to the process of one VM.
type Client struct {
	home  Home
	name  string
	sock  string
	token string // of a VM that was launched to receive one
	http  http.Client
}

// Client is a client for the named VM.
func (h Home) Client(name string) *Client {
	c := &Client{home: h, name: name, sock: h.sock(name)}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.sock)
		},
		DisableKeepAlives: true,
	}
	return c
}

// Connect is Client for a VM that must be alive.
func (h Home) Connect(name string) (*Client, error) {
	name, err := h.resolveLive(name)
	if err != nil {
		return nil, err
	}
	if h.Alive(name) {
		return h.Client(name), nil
	}
	s := h.Look(name)
	hint := "godwit run -n " + name + " ..."
	switch s.State {
	case StateSuspended:
		hint = "godwit resume " + name
	case StateOff, StateGone:
		hint = "godwit logs " + name
	}
	e := Fail("state", fmt.Sprintf("%q is %s", name, s.State), "no process runs it", hint)
	e.Exit = ExitNotFound
	return nil, e
}

// Context is for requests that nothing interrupts.
func (c *Client) Context() context.Context { return context.Background() }

// Name is the VM's name.
func (c *Client) Name() string { return c.name }

// Token is what the other side needs to send a machine; empty where everybody may.
// Only the client that launched the receiving VM knows it.
func (c *Client) Token() string { return c.token }

func (c *Client) do(ctx context.Context, method, path string, in any, header ...string) (*http.Response, error) {
	var rd io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		rd = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://vm"+path, rd)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	p, err := c.http.Do(q)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if p.StatusCode < 400 {
		return p, nil
	}
	defer p.Body.Close()
	var b errorBody
	if err := json.NewDecoder(p.Body).Decode(&b); err != nil || b.Error == nil {
		return nil, Fail("failed", fmt.Sprintf("%q answers %s", c.name, p.Status), "", "")
	}
	return nil, b.Error
}

func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op
	}
	return Fail("failed", fmt.Sprintf("%q does not answer", c.name), err.Error(), "godwit ls")
}

// Get asks for something.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, nil, out)
}

// Post has something done; out may be nil.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.call(ctx, http.MethodPost, path, in, out)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	p, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer p.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(p.Body).Decode(out)
}

// Status asks how the VM is.
func (c *Client) Status() (Status, error) {
	var s Status
	err := c.Get(context.Background(), "/v1/vm", &s)
	return s, err
}

// Gone waits until the VM's process, which has ended its work, is no more: its
// name and files are then free.
func (c *Client) Gone() {
	for end := time.Now().Add(2 * lingering); c.home.Alive(c.name) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
}

// Waiter waits for the VM's end.
type Waiter struct {
	c    *Client
	done chan struct{}
	s    Status
	err  error
}

// Wait begins to wait: from its return on, the VM cannot end unnoticed. As owner,
// leaving before Detach means something to the VM.
func (c *Client) Wait(ctx context.Context, owner bool) (*Waiter, error) {
	w := &Waiter{c: c, done: make(chan struct{})}
	path := "/v1/wait"
	if owner {
		path += "?owner=1"
	}
	p, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(w.done)
		defer p.Body.Close()
		if w.err = json.NewDecoder(p.Body).Decode(&w.s); w.err != nil {
			w.err = Fail("bug", fmt.Sprintf("the process of %q died", c.name), w.err.Error(), "godwit logs --process "+c.name)
		}
	}()
	return w, nil
}

// Done is closed when the VM has ended.
func (w *Waiter) Done() <-chan struct{} { return w.done }

// Result waits for the end.
func (w *Waiter) Result() (Status, error) {
	<-w.done
	return w.s, w.err
}

// Console is a connection to the serial port.
type ConsoleConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *ConsoleConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// CloseWrite ends the typing, not the console.
func (c *ConsoleConn) CloseWrite() error {
	if u, ok := c.Conn.(*net.UnixConn); ok {
		return u.CloseWrite()
	}
	return nil
}

// Console connects to the serial port. take makes another writer a reader.
func (c *Client) Console(write, take bool, replay int) (*ConsoleConn, error) {
	v := url.Values{"replay": {fmt.Sprint(replay)}}
	if write {
		v.Set("mode", "rw")
	}
	if take {
		v.Set("take", "1")
	}
	conn, err := net.Dial("unix", c.sock)
	if err != nil {
		return nil, c.unreachable(err)
	}
	fmt.Fprintf(conn, "GET /v1/console?%s HTTP/1.1\r\nHost: vm\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", v.Encode(), consoleProtocol)
	rd := bufio.NewReader(conn)
	p, err := http.ReadResponse(rd, nil)
	if err != nil {
		conn.Close()
		return nil, c.unreachable(err)
	}
	if p.StatusCode == http.StatusSwitchingProtocols {
		return &ConsoleConn{conn, rd}, nil
	}
	defer conn.Close()
	var b errorBody
	if err := json.NewDecoder(p.Body).Decode(&b); err != nil || b.Error == nil {
		return nil, Fail("failed", fmt.Sprintf("%q answers %s", c.name, p.Status), "", "")
	}
	return nil, b.Error
}

// Begin starts a long operation and follows it to its end. Cancelling ctx
// cancels the operation, which is then still followed to its end.
func (c *Client) Begin(ctx context.Context, path string, in any, progress func(Event)) (Op, error) {
	var o Op
	if err := c.Post(context.WithoutCancel(ctx), path, in, &o); err != nil {
		return o, err
	}
	return c.Follow(ctx, o.ID, progress)
}

// Cancel cancels an operation, where that is still possible.
func (c *Client) Cancel(id string) error {
	return c.call(context.Background(), http.MethodDelete, "/v1/ops/"+id, nil, nil)
}

// Follow follows an operation to its end.
func (c *Client) Follow(ctx context.Context, id string, progress func(Event)) (Op, error) {
	return c.follow(ctx, context.Background(), id, progress)
}

// follow is Follow that a second context, look, ends without cancelling anything.
func (c *Client) follow(ctx, look context.Context, id string, progress func(Event)) (Op, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Cancel(id) }) // it may have ended meanwhile
	defer stop()
	last := 0
	for {
		o, err := c.stream(look, id, &last, progress)
		if err != nil {
			return o, err
		}
		if look.Err() != nil {
			return o, look.Err()
		}
		if o.State != OpRunning {
			if o.Error != nil {
				return o, o.Error
			}
			if o.Verb == "suspend" || o.Verb == "migrate" {
				c.Gone()
			}
			return o, nil
		}
	}
}

// stream reads events until the operation ends or the connection does.
func (c *Client) stream(ctx context.Context, id string, last *int, progress func(Event)) (o Op, err error) {
	p, err := c.do(ctx, http.MethodGet, "/v1/ops/"+id+"/events", nil, "Last-Event-ID", fmt.Sprint(*last))
	if err != nil {
		return o, err
	}
	defer p.Body.Close()
	sc := bufio.NewScanner(p.Body)
	sc.Buffer(nil, 1<<20)
	var e Event
	o.State = OpRunning
	for sc.Scan() {
		k, v, _ := strings.Cut(sc.Text(), ": ")
		switch k {
		case "id":
			if _, err := fmt.Sscan(v, last); err != nil {
				return o, err
			}
		case "event":
			e.Name = v
		case "data":
			e.Op = Op{}
			if err := json.Unmarshal([]byte(v), &e.Op); err != nil {
				return o, err
			}
			o = e.Op
			if progress != nil {
				progress(e)
			}
			if e.final() {
				return o, nil
			}
		}
	}
	return o, sc.Err()
}
