// Package process moves machines between processes as users have them, and kills
// these at every point.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/control"
	"godwit/machine"
	"godwit/migrate"
	"godwit/tests/testkit"
)

// godwit is the program under test, built once.
var godwit string

func TestMain(m *testing.M) { os.Exit(testkit.WithProgram(m, &godwit)) }

// limit bounds every wait: it is for hangs, not a measure.
const limit = time.Minute

// world is a folder of VMs of its own.
type world struct {
	t     *testing.T
	home  control.Home
	disks []string // of the VM that run starts
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, home: control.Home(t.TempDir())}
	t.Cleanup(func() {
		for _, s := range w.home.List() {
			if w.home.Alive(s.Name) {
				_ = w.home.Client(s.Name).Post(context.Background(), "/v1/stop", map[string]string{"how": "force"}, nil)
				w.home.Client(s.Name).Gone()
			}
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(string(w.home), "vm", "*", "vm.log"))
			for _, l := range logs {
				b, _ := os.ReadFile(l)
				t.Logf("%s:\n%s", l, b)
			}
		}
	})
	return w
}

// prepare makes two disks, if there are none.
func (w *world) prepare() {
	for i, format := range []string{disk.Raw, disk.Qcow2} {
		path := filepath.Join(string(w.home), fmt.Sprint("disk", i))
		if len(w.disks) > i {
			return
		}
		require.NoError(w.t, disk.Create(path, disk.CreateOptions{Format: format, Size: 1 << 20}))
		w.disks = append(w.disks, path)
	}
}

// run starts tiny with a command, and two disks.
func (w *world) run(name, cmd string) *control.Client {
	w.prepare()
	return w.launch(name, cmd, w.disks...)
}

func (w *world) launch(name, cmd string, disks ...string) *control.Client {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = 16<<20, cmd
	for i, path := range disks {
		cfg.Disks = append(cfg.Disks, machine.DiskConfig{ID: fmt.Sprint("disk", i), File: path})
	}
	c, err := w.home.Launch(godwit, &control.Spec{Name: name, Machine: cfg, Kernel: control.TinyName, Source: "tiny"})
	require.NoError(w.t, err)
	return c
}

// receive starts a process that waits for a machine, and returns where.
func (w *world) receive(name string) (*control.Client, string) {
	c, err := w.home.Launch(godwit, &control.Spec{Name: name, Listen: "127.0.0.1:0", Insecure: true, Source: "elsewhere"})
	require.NoError(w.t, err)
	st, err := c.Status()
	require.NoError(w.t, err)
	return c, st.Listen
}

// until waits until the guest has printed something.
func (w *world) until(c *control.Client, text string) string {
	con, err := c.Console(false, false, 1<<16)
	require.NoError(w.t, err)
	defer con.Close()
	require.NoError(w.t, con.SetDeadline(time.Now().Add(limit)))
	var seen strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := con.Read(b)
		require.NoError(w.t, err, "%s", seen.String())
		seen.Write(b[:n])
	}
	return seen.String()
}

// works checks that the guest runs and has lost nothing: it ends its writer and
// verifies itself.
func (w *world) works(c *control.Client) {
	w.t.Helper()
	con, err := c.Console(true, true, 0)
	require.NoError(w.t, err)
	defer con.Close()
	require.NoError(w.t, con.SetDeadline(time.Now().Add(limit)))
	for _, step := range []struct{ say, want string }{{" ", "hog: stopped"}, {"check\r", "check: ok"}} {
		_, err = io.WriteString(con, step.say)
		require.NoError(w.t, err)
		var seen strings.Builder
		b := make([]byte, 4096)
		for !strings.Contains(seen.String(), step.want) {
			n, err := con.Read(b)
			require.NoError(w.t, err, "%s", seen.String())
			seen.Write(b[:n])
			require.NotContains(w.t, seen.String(), "CORRUPT")
		}
	}
}

// owns demands that a VM holds all disks, or nobody any.
func (w *world) owns(name string) {
	w.t.Helper()
	for _, path := range w.disks {
		locked, err := disk.Locked(path)
		for end := time.Now().Add(limit); err == nil && name == "" && locked && time.Now().Before(end); { // a process that was killed lets go of one file after the other
			locked, err = disk.Locked(path)
		}
		require.NoError(w.t, err)
		require.Equal(w.t, name != "", locked, path)
		if name != "" {
			o, err := disk.ReadOwner(path)
			require.NoError(w.t, err)
			require.Equal(w.t, name, o.Name, path)
			require.Equal(w.t, w.home.Look(name).PID, o.PID, path)
		}
	}
}

// state waits until a VM is in a state.
func (w *world) state(name, want string) control.Status {
	w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		st := w.home.Look(name)
		if st.State == want {
			return st
		}
		require.True(w.t, time.Now().Before(end), "%s is %s, want %s", name, st.State, want)
	}
}

// kill ends a VM's process as a power cut would.
func kill(t *testing.T, h control.Home, name string) {
	st := h.Look(name)
	p, err := os.FindProcess(st.PID)
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	for end := time.Now().Add(limit); h.Alive(name); time.Sleep(2 * time.Millisecond) {
		require.True(t, time.Now().Before(end))
	}
}

const writer = "run=hog 1 0 rand"

// request is a migration that does not wait for anything.
func request(to string, m migrate.Mode) *control.MigrateRequest {
	return &control.MigrateRequest{To: to, Insecure: true, Mode: string(m), ObserveNS: -1, ReconnectNS: int64(200 * time.Millisecond)}
}

func codeOf(err error) string {
	var e *control.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// points are where a victim is killed: at frames of a stop-and-copy, in order.
var points = []struct {
	name   string
	typ    uint16
	before bool
	given  bool // COMMIT has been said
	taken  bool // and has arrived
}{
	{"VERDICT lost", frVerdict, true, false, false},
	{"RESERVE lost", frReserve, true, false, false},
	{"START came", frStart, false, false, false},
	{"first pages lost", frPages, true, false, false},
	{"DEV_STATE came", frDevState, false, false, false},
	{"ROOT lost", frRoot, true, false, false},
	{"READY lost", frReady, true, false, false},
	{"COMMIT lost", frCommit, true, true, false},
	{"COMMIT came", frCommit, false, true, true},
	{"ACK lost", frAck, true, true, true},
}

// modes take turns at the points.
var modes = []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModeHybrid}

// TestDestinationKilled: before COMMIT the source runs on; after it the guest is in
// doubt, stopped, until somebody who has looked takes it back.
func TestDestinationKilled(t *testing.T) {
	for i, at := range points {
		if at.taken && !at.before {
			continue // its ACK may come before its end; "ACK lost" is that end for certain
		}
		t.Run(at.name, func(t *testing.T) {
			w := newWorld(t)
			src := w.run("here", writer)
			w.until(src, "hog: ")
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			victim := "there.incoming"
			p.trip = &trip{at.typ, at.before, func() {
				if !w.home.Alive(victim) {
					victim = "there"
				}
				kill(t, w.home, victim)
			}}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := src.Migrate(ctx, request(p.addr, modes[i%3]), nil)
				done <- err
			}()
			if at.given {
				w.state("here", control.StateInDoubt)
				require.Equal(t, "in-doubt", codeOf(src.Post(ctx, "/v1/cont", nil, nil)), "it stays stopped")
				w.owns("")
				require.NoError(t, src.Post(ctx, "/v1/take-back", map[string]string{"name": "here"}, nil))
				require.Equal(t, "in-doubt", codeOf(<-done))
			} else {
				err := <-done
				require.Error(t, err)
				require.NotEqual(t, "in-doubt", codeOf(err), "%v", err)
			}
			w.state("here", control.StateRunning)
			w.state(victim, control.StateLost)
			w.owns("here")
			w.works(src)

			_, addr = w.receive("again") // and the next attempt succeeds
			_, err := src.Migrate(ctx, request(addr, migrate.ModeStop), nil)
			require.NoError(t, err)
			w.state("again", control.StateRunning)
			w.owns("again")
		})
	}
}

// TestSourceKilled: until COMMIT has come the destination does not run the guest;
// from then on it does.
func TestSourceKilled(t *testing.T) {
	for i, at := range points {
		t.Run(at.name, func(t *testing.T) {
			w := newWorld(t)
			src := w.run("here", writer)
			w.until(src, "hog: ")
			dst, addr := w.receive("there")
			p := newProxy(t, addr)
			p.trip = &trip{at.typ, at.before, func() { kill(t, w.home, "here"); p.cut() }}
			_, err := src.Migrate(context.Background(), request(p.addr, modes[i%2]), nil)
			require.Error(t, err, "its process is gone")
			w.state("here", control.StateLost)
			if at.taken {
				w.state("there", control.StateRunning)
				w.owns("there")
				w.works(w.home.Client("there"))
				return
			}
			require.NoError(t, dst.Post(context.Background(), "/v1/stop", map[string]string{"how": "force"}, nil))
			dst.Gone()
			require.False(t, w.home.Alive("there"), "it never ran there")
			w.owns("")
		})
	}
}

// TestLinkCut: a lost connection is made again, and the guest arrives once.
func TestLinkCut(t *testing.T) {
	for i, at := range points {
		t.Run(at.name, func(t *testing.T) {
			w := newWorld(t)
			src := w.run("here", writer)
			w.until(src, "hog: ")
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			p.trip = &trip{at.typ, at.before, p.cut}
			q := request(p.addr, modes[i%3])
			q.ReconnectNS = int64(limit)
			_, err := src.Migrate(context.Background(), q, nil)
			if at.given && !at.taken { // it may be told that it never ran there
				if err != nil {
					w.state("here", control.StateRunning)
					w.owns("here")
					w.works(src)
					return
				}
			}
			require.NoError(t, err)
			w.state("here", control.StateGone)
			w.state("there", control.StateRunning)
			w.owns("there")
			w.works(w.home.Client("there"))
		})
	}
}

// doubt is a source in doubt: the answer is lost, and all connections while link is dark.
type doubt struct {
	*world
	src, dst *control.Client
	addr     string // of the destination
	link     *proxy
	done     chan error // how the source's migration ends
}

func inDoubt(t *testing.T) *doubt {
	d := &doubt{world: newWorld(t), done: make(chan error, 1)}
	d.src = d.run("here", writer)
	d.until(d.src, "hog: ")
	d.dst, d.addr = d.receive("there")
	d.link = newProxy(t, d.addr)
	d.link.trip = &trip{frAck, true, func() { d.link.setDark(true) }}
	go func() {
		_, err := d.src.Migrate(context.Background(), request(d.link.addr, migrate.ModeStop), nil)
		d.done <- err
	}()
	d.state("here", control.StateInDoubt)
	return d
}

// TestDoubtResolves: the destination says that it runs the guest, also where it was told
// to stop waiting.
func TestDoubtResolves(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancelled=%v", cancelled), func(t *testing.T) {
			d := inDoubt(t)
			d.state("there", control.StateRunning)
			if cancelled {
				require.NoError(t, d.dst.Cancel("receive"))
			}
			d.link.setDark(false)
			require.NoError(t, <-d.done)
			d.state("here", control.StateGone)
			d.works(d.dst)
			_, err := d.dst.Follow(context.Background(), "receive", nil)
			require.NoError(t, err, "it waits for nobody any more")
		})
	}
}

// TestDoubtIsLeft: told twice, the destination waits for nobody; the source stays in
// doubt.
func TestDoubtIsLeft(t *testing.T) {
	d := inDoubt(t)
	d.state("there", control.StateRunning)
	require.NoError(t, d.dst.Cancel("receive"))
	require.NoError(t, d.dst.Cancel("receive"))
	_, err := d.dst.Follow(context.Background(), "receive", nil)
	require.NoError(t, err)
	d.state("here", control.StateInDoubt)
	d.works(d.dst)
}

// TestDoubtAtAnotherAddress: the destination is reached another way.
func TestDoubtAtAnotherAddress(t *testing.T) {
	d := inDoubt(t)
	require.NoError(t, d.src.Post(context.Background(), "/v1/recover", map[string]string{"to": d.addr}, nil))
	require.NoError(t, <-d.done)
	d.state("here", control.StateGone)
	d.state("there", control.StateRunning)
}
