package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"godwit/machine"
	"godwit/migrate"
)

// Server answers the API of one VM.
type Server struct {
	r        *Runner
	ops      ops
	http     http.Server
	consoles sync.WaitGroup
	detached atomic.Bool   // the owner let go
	ended    chan struct{} // closed when the VM has ended
	stop     func()        // ends a VM that has no machine yet
}

// route is one line of the API.
type route struct {
	pattern string
	handle  func(*Server, http.ResponseWriter, *http.Request) error
}

// routes is the API, as in docs/format/api.md.
var routes = []route{
	{"GET /v1/vm", (*Server).vm},
	{"GET /v1/wait", (*Server).wait},
	{"POST /v1/pause", (*Server).pause},
	{"POST /v1/cont", (*Server).cont},
	{"POST /v1/stop", (*Server).stopVM},
	{"POST /v1/wake", (*Server).wake},
	{"POST /v1/suspend", (*Server).suspend},
	{"POST /v1/copy", (*Server).copyMachine},
	{"POST /v1/snap", (*Server).snap},
	{"POST /v1/snap/restore", (*Server).restore},
	{"POST /v1/snaps", (*Server).snaps},
	{"POST /v1/migrate", (*Server).migrate},
	{"POST /v1/steer", (*Server).steer},
	{"POST /v1/recover", (*Server).recover},
	{"POST /v1/take-back", (*Server).takeBack},
	{"POST /v1/detach", (*Server).detach},
	{"GET /v1/ops/{id}", (*Server).op},
	{"GET /v1/ops/{id}/events", (*Server).events},
	{"DELETE /v1/ops/{id}", (*Server).cancel},
	{"GET /v1/console", (*Server).console},
	{"GET /v1/logs", (*Server).logs},
	{"GET /v1/hash", (*Server).hash},
	{"GET /v1/inspect/cpu", (*Server).inspectCPU},
	{"GET /v1/inspect/regs", (*Server).inspectRegs},
	{"GET /v1/inspect/mem", (*Server).inspectMem},
	{"GET /v1/inspect/pt", (*Server).inspectPT},
	{"GET /v1/inspect/map", (*Server).inspectMap},
	{"GET /v1/inspect/irq", (*Server).inspectIRQ},
	{"GET /v1/inspect/dev", (*Server).inspectDev},
}

func newServer(r *Runner) *Server {
	s := &Server{r: r, ended: make(chan struct{}), stop: func() {}}
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, q *http.Request) {
			if err := rt.handle(s, w, q); err != nil {
				reply(w, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		reply(w, Fail("not-found", fmt.Sprintf("%s %s is not in the API", q.Method, q.URL.Path), "", "docs/format/api.md"))
	})
	s.http.Handler = mux
	s.http.ReadHeaderTimeout = 10 * time.Second
	return s
}

type errorBody struct {
	Error *Error `json:"error"`
}

func reply(w http.ResponseWriter, err error) {
	e := AsError("the request failed", err)
	code := kinds[e.Code].http
	if code == 0 {
		code = http.StatusInternalServerError
	}
	writeBody(w, code, errorBody{e})
}

func writeBody(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that left does not matter
}

func answer(w http.ResponseWriter, v any) error {
	writeBody(w, http.StatusOK, v)
	return nil
}

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 16

// body decodes a request's body; none leaves v as it is.
func body(q *http.Request, v any) error {
	d := json.NewDecoder(io.LimitReader(q.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && err != io.EOF {
		return Fail("usage", "the request's body makes no sense", err.Error(), "")
	}
	return nil
}

func (s *Server) vm(w http.ResponseWriter, _ *http.Request) error { return answer(w, s.r.Status()) }

// wait answers when the VM has ended. The owner's leaving means something.
func (s *Server) wait(w http.ResponseWriter, q *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // from here on the caller will be told
	select {
	case <-s.ended:
		_ = json.NewEncoder(w).Encode(s.r.Status())
		return nil
	case <-q.Context().Done():
	}
	if q.URL.Query().Get("owner") != "" && !s.detached.Load() {
		s.orphaned(s.r.spec.Orphan)
	}
	return nil
}

// orphaned does what the VM is to do without its owner.
func (s *Server) orphaned(what Orphan) {
	switch {
	case what == OrphanStop || !s.live():
		s.force()
	case what == OrphanSuspend:
		s.save()
	}
}

// save suspends a VM that would otherwise be lost.
func (s *Server) save() {
	if s.r.spec.Ephemeral || !s.live() {
		s.force()
		return
	}
	p, err := s.r.suspend(&s.ops, "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	p.known() // nobody asked
}

func (s *Server) live() bool {
	st := s.r.Status()
	return st.Live()
}

// force ends the VM now.
func (s *Server) force() {
	s.stop()
	_ = s.r.enqueue(func() { s.r.end = &End{Reason: "stopped"} }) // fails where it has ended
}

func (s *Server) detach(w http.ResponseWriter, _ *http.Request) error {
	s.detached.Store(true)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// change does something on the machine goroutine and answers with the status.
func (s *Server) change(w http.ResponseWriter, q *http.Request, f func() error) error {
	if err := s.r.Do(q.Context(), func() error {
		err := f()
		if s.r.end == nil {
			s.r.publish()
		}
		return err
	}); err != nil {
		return err
	}
	return answer(w, s.r.Status())
}

func (s *Server) pause(w http.ResponseWriter, q *http.Request) error {
	return s.change(w, q, func() error { s.r.paused = true; return nil })
}

func (s *Server) cont(w http.ResponseWriter, q *http.Request) error {
	return s.change(w, q, func() error {
		if err := s.r.reclaim(); err != nil {
			return err
		}
		s.r.paused = false
		s.r.untroubled()
		return nil
	})
}

func (s *Server) wake(w http.ResponseWriter, q *http.Request) error {
	return s.change(w, q, func() error {
		if !s.r.m.Asleep() {
			return Fail("state", fmt.Sprintf("%q is not sleeping", s.r.Status().Name), "", "godwit ls")
		}
		s.r.m.Input(machine.InputWake, nil)
		return nil
	})
}

func (s *Server) stopVM(w http.ResponseWriter, q *http.Request) error {
	b := struct {
		How string `json:"how"`
	}{"power"}
	if err := body(q, &b); err != nil {
		return err
	}
	switch b.How {
	case "power":
		return s.change(w, q, func() error { s.r.m.Input(machine.InputPower, nil); return nil })
	case "reset":
		return s.change(w, q, func() error { s.r.reset = true; return nil })
	case "force":
		s.force()
		select {
		case <-s.ended:
		case <-q.Context().Done():
		}
		return answer(w, s.r.Status())
	}
	return Fail("usage", fmt.Sprintf("cannot stop by %q", b.How), "there are power, reset and force", "")
}

func (s *Server) suspend(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		File string `json:"file"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	p, err := s.r.suspend(&s.ops, b.File)
	return accepted(w, p, err)
}

func (s *Server) migrate(w http.ResponseWriter, q *http.Request) error {
	var b MigrateRequest
	if err := body(q, &b); err != nil {
		return err
	}
	p, err := s.r.migrate(&s.ops, &b)
	return accepted(w, p, err)
}

// steer changes the strategy of a migration under way.
func (s *Server) steer(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		To string `json:"to"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	to, err := migrate.ParseSteer(b.To)
	if err != nil {
		return Fail("usage", err.Error(), "", "")
	}
	if err := s.r.steer(to); err != nil {
		return err
	}
	return answer(w, s.r.Status())
}

// recover connects again, now and where it is told to.
func (s *Server) recover(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		To string `json:"to"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	if err := s.r.recover(b.To); err != nil {
		return err
	}
	return answer(w, s.r.Status())
}

// takeBack makes this host the owner of a machine that may run on another.
func (s *Server) takeBack(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		Name string `json:"name"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	if err := s.r.takeBack(q.Context(), b.Name); err != nil {
		return err
	}
	return answer(w, s.r.Status())
}

func (s *Server) copyMachine(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		File string `json:"file"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	p, err := s.r.copyMachine(&s.ops, b.File)
	return accepted(w, p, err)
}

// snap takes a snapshot.
func (s *Server) snap(w http.ResponseWriter, q *http.Request) error {
	var b SnapRequest
	if err := body(q, &b); err != nil {
		return err
	}
	p, err := s.r.snap(&s.ops, b)
	return accepted(w, p, err)
}

func (s *Server) restore(w http.ResponseWriter, q *http.Request) error {
	var b struct {
		Tag string `json:"tag"`
	}
	if err := body(q, &b); err != nil {
		return err
	}
	p, err := s.r.restore(&s.ops, b.Tag)
	return accepted(w, p, err)
}

// snaps changes the tree of snapshots.
func (s *Server) snaps(w http.ResponseWriter, q *http.Request) error {
	var b SnapChange
	if err := body(q, &b); err != nil {
		return err
	}
	res, err := s.r.changeSnaps(q.Context(), b)
	if err != nil {
		return err
	}
	return answer(w, res)
}

func accepted(w http.ResponseWriter, p *op, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/ops/"+p.now().ID)
	writeBody(w, http.StatusAccepted, p.now())
	return nil
}

func (s *Server) op(w http.ResponseWriter, q *http.Request) error {
	p, err := s.ops.find(q.PathValue("id"))
	if err != nil {
		return err
	}
	now := p.now()
	if now.State != OpRunning {
		defer p.known()
	}
	return answer(w, now)
}

func (s *Server) cancel(w http.ResponseWriter, q *http.Request) error {
	p, err := s.ops.find(q.PathValue("id"))
	if err != nil {
		return err
	}
	p.cancel()
	return answer(w, p.now())
}

// events streams an operation's steps.
func (s *Server) events(w http.ResponseWriter, q *http.Request) error {
	p, err := s.ops.find(q.PathValue("id"))
	if err != nil {
		return err
	}
	last, _ := strconv.Atoi(q.Header.Get("Last-Event-ID")) // none: from the start
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for {
		es, more := p.since(last)
		for _, e := range es {
			data, err := json.Marshal(e.Op)
			if err != nil {
				return nil // our own struct
			}
			fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Name, data)
			last = e.ID
		}
		_ = http.NewResponseController(w).Flush()
		if len(es) > 0 && es[len(es)-1].final() {
			p.known()
			return nil
		}
		select {
		case <-more:
		case <-q.Context().Done():
			return nil
		}
	}
}

// console turns the connection into the serial port.
func (s *Server) console(w http.ResponseWriter, q *http.Request) error {
	v := q.URL.Query()
	if q.Header.Get("Upgrade") != consoleProtocol {
		return Fail("usage", "the console needs an Upgrade to "+consoleProtocol, "", "docs/format/api.md")
	}
	replay := scrollback
	if n, err := strconv.Atoi(v.Get("replay")); err == nil && n >= 0 {
		replay = n
	}
	rd, err := s.r.con.attach(replay, v.Get("mode") == "rw", v.Get("take") != "")
	if err != nil {
		return err
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		rd.detach()
		return err
	}
	s.consoles.Add(1)
	go func() {
		defer s.consoles.Done()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", consoleProtocol)
		go typing(rd, buf)
		deliver(rd, conn)
		rd.detach()
		conn.Close()
	}()
	return nil
}

// typing reads what a client types; its end is no reason to close.
func typing(rd *reader, from io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if n > 0 && !rd.Type(b[:n]) {
			rd.hold(from, b)
			return
		}
		if err == io.EOF {
			rd.end()
			return
		}
		if err != nil {
			rd.detach()
			return
		}
	}
}

// deliver writes what the guest prints.
func deliver(rd *reader, to net.Conn) {
	for {
		b, err := rd.next()
		if err != nil {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

func (s *Server) logs(w http.ResponseWriter, q *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	http.ServeFile(w, q, s.r.file(fileConsole))
	return nil
}

// close waits for the clients to have read the end, then closes.
func (s *Server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), lingering)
	defer cancel()
	s.ops.told(ctx)
	left := make(chan struct{})
	go func() { s.consoles.Wait(); close(left) }()
	select {
	case <-left:
	case <-ctx.Done():
	}
	_ = s.http.Shutdown(ctx) // those still there have had their time
}

// lingering is how long an ended VM waits for its clients to read the rest.
const lingering = 10 * time.Second
