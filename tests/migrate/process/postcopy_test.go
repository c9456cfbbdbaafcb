package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/control"
	"godwit/migrate"
)

// slow is a post-copy that takes a while, so that something can happen in it.
func slow(to string) *control.MigrateRequest {
	q := request(to, migrate.ModePost)
	q.Bandwidth = 1 << 20
	return q
}

// postCopy begins one and returns once the guest runs on the other side with pages
// missing.
func (w *world) postCopy(p *proxy) (src *control.Client, done chan error) {
	src = w.run("here", writer)
	w.until(src, "hog: ")
	pages := make(chan struct{})
	p.trip = &trip{frAck, false, func() { close(pages) }}
	done = make(chan error, 1)
	go func() {
		_, err := src.Migrate(context.Background(), slow(p.addr), nil)
		done <- err
	}()
	select {
	case <-pages:
	case err := <-done:
		w.t.Fatalf("it ended too early: %v", err)
	case <-time.After(limit):
		w.t.Fatal("no ACK")
	}
	w.state("there", control.StateRunning)
	return src, done
}

// TestPostCopyCut: the connection breaks while pages are missing; both sides keep
// what they have, connect again and go on.
func TestPostCopyCut(t *testing.T) {
	w := newWorld(t)
	_, addr := w.receive("there")
	p := newProxy(t, addr)
	src, done := w.postCopy(p)
	p.setDark(true)
	require.Regexp(t, "connection|EOF|reset|closed", w.recovering("here"))
	require.Regexp(t, "connection|EOF|reset|closed", w.recovering("there"))
	require.NoError(t, src.Post(context.Background(), "/v1/recover", map[string]string{"to": addr}, nil), "another way there")
	require.NoError(t, <-done)
	w.state("here", control.StateGone)
	w.works(w.home.Client("there"))
}

// TestPostCopyIsNotCancelled: the guest runs there, and needs the pages.
func TestPostCopyIsNotCancelled(t *testing.T) {
	w := newWorld(t)
	_, addr := w.receive("there")
	p := newProxy(t, addr)
	src, done := w.postCopy(p)
	st := w.home.Look("here")
	require.NotNil(t, st.Move)
	require.NoError(t, src.Get(context.Background(), "/v1/ops/"+st.Move.Op, &control.Op{}))
	require.NoError(t, src.Cancel(st.Move.Op))
	require.NoError(t, src.Cancel(st.Move.Op), "twice")
	require.NoError(t, <-done)
	w.works(w.home.Client("there"))
}

// TestPostCopySourceKilled: the guest there keeps what it has and waits for the
// rest; what never came is told.
func TestPostCopySourceKilled(t *testing.T) {
	w := newWorld(t)
	_, addr := w.receive("there")
	p := newProxy(t, addr)
	_, done := w.postCopy(p)
	kill(t, w.home, "here")
	require.Error(t, <-done)
	dst := w.home.Client("there")
	require.NotEmpty(t, w.recovering("there"), "it still waits")
	require.NoError(t, dst.Cancel("receive"), "whoever knows that nobody will come")
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		st, err := dst.Status()
		require.NoError(t, err)
		if st.Note != "" {
			require.Contains(t, st.Note, "pages missing")
			b, err := os.ReadFile(filepath.Join(w.home.Dir("there"), "vm.log"))
			require.NoError(t, err)
			require.Regexp(t, `pages that never came:( \d+(-\d+)?)+\n`, string(b), "which")
			break
		}
		require.True(t, time.Now().Before(end))
	}
}

// TestSteered: pre-copy that would not end is asked for another way once its first
// pages are there.
func TestSteered(t *testing.T) {
	for _, to := range []migrate.Steer{migrate.SteerPost, migrate.SteerBudget} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t)
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			src := w.run("here", writer)
			w.until(src, "hog: ")
			steer := func(to string) error {
				return src.Post(context.Background(), "/v1/steer", map[string]string{"to": to}, nil)
			}
			require.Equal(t, "state", codeOf(steer(string(to))), "nothing goes on")
			require.Equal(t, "usage", codeOf(steer("rest")))
			asked := make(chan error, 1)
			p.trip = &trip{frPages, false, func() { asked <- steer(string(to)) }}
			q := slow(p.addr)
			q.Mode, q.OnStall = string(migrate.ModePre), string(migrate.StallCancel)
			o, err := src.Migrate(context.Background(), q, nil)
			require.NoError(t, err)
			require.NoError(t, <-asked)
			require.Contains(t, o.Report.Why, "asked for")
			if to == migrate.SteerPost {
				require.Equal(t, migrate.ModeHybrid, o.Report.Chosen)
			} else {
				require.Equal(t, migrate.ModePre, o.Report.Chosen)
				require.Positive(t, o.Report.Budget)
			}
			w.state("here", control.StateGone)
			w.works(w.home.Client("there"))
		})
	}
}

// TestCancelBeforeTheStop: the guest runs on here as if nothing had been, and the
// next attempt succeeds.
func TestCancelBeforeTheStop(t *testing.T) {
	for _, mode := range []migrate.Mode{migrate.ModePre, migrate.ModeStop, migrate.ModeAuto} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t)
			_, addr := w.receive("there")
			p := newProxy(t, addr)
			src := w.run("here", writer)
			w.until(src, "hog: ")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			p.trip = &trip{frPages, false, cancel}
			q := slow(p.addr)
			q.Mode = string(mode)
			_, err := src.Migrate(ctx, q, nil)
			require.Equal(t, "cancelled", codeOf(err), "%v", err)
			w.state("here", control.StateRunning)
			_, err = src.Migrate(context.Background(), request(p.addr, migrate.ModePre), nil)
			require.NoError(t, err)
			w.works(w.home.Client("there"))
		})
	}
}

// recovering waits until a side makes its connection again, and returns why it was lost.
func (w *world) recovering(name string) string {
	w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		st, err := w.home.Client(name).Status()
		require.NoError(w.t, err)
		require.NotNil(w.t, st.Move, "pages are missing")
		if st.Move.Stage == migrate.StageRecovery {
			return st.Move.Reason
		}
		require.True(w.t, time.Now().Before(end))
	}
}

// TestPostCopyDestinationKilled: the guest was there and is lost with it. It never goes
// on here, where its memory is older than its disks: neither by itself nor by cont.
func TestPostCopyDestinationKilled(t *testing.T) {
	w := newWorld(t)
	_, addr := w.receive("there")
	p := newProxy(t, addr)
	src, done := w.postCopy(p)
	kill(t, w.home, "there")
	require.NotEmpty(t, w.recovering("here"))
	require.Equal(t, "busy", codeOf(src.Post(context.Background(), "/v1/cont", nil, nil)))
	require.NoError(t, src.Cancel(w.home.Look("here").Move.Op))
	w.state("here", control.StateMigrating)
	kill(t, w.home, "here")
	require.Error(t, <-done)
	w.owns("")
}
