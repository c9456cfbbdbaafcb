package migrate_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/migrate"
	"godwit/migrate/sim"
)

type wall struct{ start time.Time }

func (w wall) Now() time.Duration { return time.Since(w.start) }

// pipe is a dialler and what it connects to.
func loop(t testing.TB) (func(context.Context) (net.Conn, error), <-chan net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conns := make(chan net.Conn)
	go func() {
		defer close(conns)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() { l.Close() })
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}, conns
}

func logger(t testing.TB, who string) func(migrate.Event) {
	var mu sync.Mutex
	return func(e migrate.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.What != migrate.EventProgress && testing.Verbose() {
			t.Logf("%s %v %s %s %s %s %+v %+v", who, e.T, e.Stage, e.What, e.Mode, e.Reason, e.Verdict, e.Pass)
		}
	}
}

func TestSendReceive(t *testing.T) {
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto} {
		t.Run(string(mode), func(t *testing.T) {
			prog := sim.Program{Pages: 5000, Filled: 3000, Area: 1000, Rate: 20e6, Pattern: "seq", Content: "random", State: 20000}
			w := wall{time.Now()}
			g, b := sim.NewGuest(prog, w, sim.Costs{}), sim.NewBuilder(prog, w, sim.Costs{})
			dial, conns := loop(t)
			done := make(chan error)
			var got migrate.Report
			go func() {
				var err error
				got, err = migrate.Receive(context.Background(), conns, b, migrate.Options{Agent: "receiver", Event: logger(t, "dst")})
				done <- err
			}()
			r, err := migrate.Send(context.Background(), dial, g, migrate.Options{Mode: mode, Observe: 50 * time.Millisecond, Event: logger(t, "src")})
			require.NoError(t, err)
			require.NoError(t, <-done)
			t.Logf("%+v", r)
			assert.False(t, g.Running())
			assert.True(t, b.Running())
			assert.Equal(t, "receiver", r.Peer)
			assert.Equal(t, r.Root, got.Root)
			b.Stop()
			root, count := b.Root(), b.Count()
			assert.Equal(t, sim.RootAt(prog, count), root)
		})
	}
}
