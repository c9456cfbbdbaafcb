package process

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/control"
	"godwit/migrate"
)

// TestTokenIsForOneMachine: who has the token too comes too late, while a machine
// arrives and afterwards; after an attempt that failed it is still good.
func TestTokenIsForOneMachine(t *testing.T) {
	w := newWorld(t)
	dst, err := w.home.Launch(godwit, &control.Spec{Name: "there", Listen: "127.0.0.1:0", Source: "elsewhere"})
	require.NoError(t, err)
	st, err := dst.Status()
	require.NoError(t, err)
	next, err := w.home.Launch(godwit, &control.Spec{Name: "next", Listen: "127.0.0.1:0", Source: "elsewhere"})
	require.NoError(t, err)
	nextStatus, err := next.Status()
	require.NoError(t, err)
	require.NotEqual(t, dst.Token(), next.Token(), "each has its own")
	first := w.run("first", writer)
	second := w.launch("second", writer)
	w.until(first, "hog: ")
	ask := func(to string, m migrate.Mode) *control.MigrateRequest {
		q := request(to, m)
		q.Insecure, q.Token = false, dst.Token()
		return q
	}
	bg := context.Background()

	q := ask(st.Listen, migrate.ModePre) // an attempt that is given up
	q.Bandwidth = 1 << 19
	ctx, cancel := context.WithCancel(bg)
	_, err = first.Migrate(ctx, q, func(e *migrate.Event) {
		if e.What == migrate.EventProgress {
			cancel()
		}
	})
	require.Equal(t, "cancelled", codeOf(err), "%v", err)

	q = ask(st.Listen, migrate.ModePost)
	q.Bandwidth = 1 << 20
	there := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := first.Migrate(bg, q, func(e *migrate.Event) {
			if e.What == migrate.EventStage && e.Stage == migrate.StagePostCopy {
				close(there)
			}
		})
		done <- err
	}()
	select {
	case <-there:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(limit):
		t.Fatal("it does not get there")
	}
	_, err = second.Migrate(bg, ask(st.Listen, migrate.ModeStop), nil)
	require.Equal(t, "busy", codeOf(err), "while pages arrive: %v", err)
	w.state("second", control.StateRunning)
	require.NoError(t, <-done, "which is not disturbed")
	w.works(w.home.Client("there"))

	for _, to := range []struct{ addr, code string }{{st.Listen, "unreachable"}, {nextStatus.Listen, "token"}} {
		_, err = second.Migrate(bg, ask(to.addr, migrate.ModeStop), nil)
		require.Equal(t, to.code, codeOf(err), "%v", err)
	}
	w.state("second", control.StateRunning)
}
