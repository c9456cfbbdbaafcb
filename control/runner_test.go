package control

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
)

func newTiny(t *testing.T, cmd string) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = 16<<20, cmd
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m
}

const work = "run=selftest; hog 2 0 rand"

// Requests of all kinds, at whatever counts they happen to be served, change
// nothing of what the guest does.
func TestRequestsLeaveNoTrace(t *testing.T) {
	until := uint64(40_000_000)
	ref := newTiny(t, work)
	require.Equal(t, machine.Reached, ref.Run(until))
	want, err := ref.Hash()
	require.NoError(t, err)

	r := newRunner(&Spec{Name: "x", Until: &until, Hash: true}, nil, t.TempDir())
	m := newTiny(t, work)
	m.SetPoll(1 << 14)
	r.Start(m, true)
	s := newServer(r)
	ask := func(method, path string) int {
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code
	}
	require.Equal(t, 200, ask("POST", "/v1/cont"))
	served := 0
	for running := true; running; {
		for _, q := range []string{
			"GET /v1/vm", "GET /v1/inspect/cpu", "POST /v1/pause", "GET /v1/inspect/regs", "GET /v1/inspect/dev", "GET /v1/inspect/irq",
			"POST /v1/cont", "GET /v1/inspect/mem?addr=0x100000&len=8192", "GET /v1/inspect/pt?addr=0x400000000000", "GET /v1/inspect/map", "GET /v1/hash",
		} {
			method, path, _ := strings.Cut(q, " ")
			if code := ask(method, path); code == 200 {
				served++
			} else {
				require.Equal(t, 409, code, "%s: only because the VM has ended", q)
			}
		}
		select {
		case <-r.done:
			running = false
		default:
		}
	}
	assert.Greater(t, served, 11)
	assert.Equal(t, fmt.Sprintf("%x", want), r.Status().End.Hash)
	assert.Equal(t, until, r.Status().Count)
}

// A wall-clock run, recorded, replays to the same hash in virtual time.
func TestRecordReplay(t *testing.T) {
	m := newTiny(t, "run=sleep 30; spin 1; poweroff")
	cfg := m.Config()
	cfg.Clock = machine.ClockWall
	wall, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	defer wall.Close()
	require.NoError(t, wall.Boot())
	var log []machine.Input
	wall.SetLog(func(in machine.Input) { log = append(log, in) })
	r := newRunner(&Spec{Name: "x", Hash: true}, nil, t.TempDir())
	r.Start(wall, false)
	<-r.done
	require.Equal(t, "powered off", r.Status().End.Reason)
	require.NotEmpty(t, log, "sleeping lets the wall clock in")

	m.Replay(log)
	r2 := newRunner(&Spec{Name: "y", Hash: true, Replay: "log"}, nil, t.TempDir())
	r2.Start(m, false)
	<-r2.done
	assert.Equal(t, r.Status().Count, r2.Status().Count)
	assert.Equal(t, r.Status().End.Hash, r2.Status().End.Hash)
}

func TestInDoubt(t *testing.T) {
	r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
	r.Start(newTiny(t, work), false)
	s := newServer(r)
	v := &outgoing{to: "hostb:1", doubt: true, taken: make(chan error, 1), guest: idleGuest{}}
	v.giveUp = func() { v.taken <- r.own(v, 7) } // as when the engine has ended
	r.mu.Lock()
	r.busy, r.out = "migrated", v
	r.mu.Unlock()
	post := func(path, body string) (int, string) {
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	code, text := post("/v1/cont", "")
	assert.Equal(t, 409, code)
	assert.Contains(t, text, `"code":"in-doubt","what":"\"x\" may be running on hostb:1"`)
	code, text = post("/v1/take-back", `{"name": "y"}`)
	assert.Equal(t, 400, code, "who takes it back knows what")
	assert.Contains(t, text, `"field":"name","have":"y","want":"x"`)
	code, _ = post("/v1/take-back", `{"nome": "x"}`)
	assert.Equal(t, 400, code)
	dir := r.dir
	r.dir = filepath.Join(dir, "nowhere")
	code, _ = post("/v1/take-back", `{"name": "x"}`)
	assert.NotEqual(t, 200, code, "without a durable record it stays stopped")
	code, _ = post("/v1/cont", "")
	assert.Equal(t, 409, code)
	r.dir = dir
	code, _ = post("/v1/take-back", `{"name": "x"}`)
	assert.Equal(t, 200, code)
	o, err := readOwner(r.home())
	require.NoError(t, err)
	assert.Equal(t, Owner{Epoch: 8}, o)
	code, _ = post("/v1/take-back", `{"name": "x"}`)
	assert.Equal(t, 409, code, "once")
	code, text = post("/v1/cont", "")
	assert.Equal(t, 200, code)
	assert.Contains(t, text, `"state":"running"`)
	require.NoError(t, r.enqueue(func() { r.end = &End{Reason: "stopped"} }))
	<-r.done
	code, _ = post("/v1/pause", "")
	assert.Equal(t, 409, code)
}

// idleGuest is a guest that is only resumed.
type idleGuest struct{ migrate.Guest }

func (idleGuest) Resume() {}

// A bug of ours is an end like others, with traces.
func TestCrash(t *testing.T) {
	r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
	r.Start(newTiny(t, work), false)
	require.NoError(t, r.enqueue(func() { panic("godwit bug: for a test") }))
	<-r.done
	st := r.Status()
	assert.Equal(t, StateCrashed, st.State)
	assert.Equal(t, ExitBug, st.End.Exit)
	assert.FileExists(t, st.End.Bundle)
	assert.ErrorContains(t, st.Failure(), "for a test")
}

func TestEventsResume(t *testing.T) {
	r := newRunner(&Spec{Name: "x"}, nil, t.TempDir())
	s := newServer(r)
	p, ctx := s.ops.start("suspend", "pages")
	for i := range uint64(5) {
		p.progress(i, 5)
	}
	srv := httptest.NewServer(s.http.Handler)
	defer srv.Close()
	q, err := http.NewRequest("GET", srv.URL+"/v1/ops/1/events", nil)
	require.NoError(t, err)
	q.Header.Set("Last-Event-ID", "3")
	resp, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer resp.Body.Close()

	del, err := http.NewRequest("DELETE", srv.URL+"/v1/ops/1", nil)
	require.NoError(t, err)
	d, err := http.DefaultClient.Do(del)
	require.NoError(t, err)
	d.Body.Close()
	<-ctx.Done()
	p.finish(AsError("suspend", ctx.Err()), nil)

	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var ids, names []string
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, v)
		}
		if v, ok := strings.CutPrefix(line, "event: "); ok {
			names = append(names, v)
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			var o Op
			require.NoError(t, json.Unmarshal([]byte(v), &o))
			assert.Equal(t, "suspend", o.Verb)
		}
	}
	assert.Equal(t, []string{"4", "5", "6"}, ids)
	assert.Equal(t, []string{"progress", "progress", "cancelled"}, names)
}
