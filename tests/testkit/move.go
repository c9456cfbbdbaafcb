package testkit

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/migrate"
)

// Move moves a machine that stands still through a pipe, to the host of the next one.
// Modes after which pages follow need a machine that runs.
func Move(t testing.TB, m *machine.Machine, host machine.Host, mode migrate.Mode) (next *machine.Machine) {
	t.Helper()
	here := func(f func() error) error { return f() } // nobody else uses it
	in := make(chan net.Conn, 4)
	dep := &machine.Departing{M: m, Do: here, Now: func() time.Duration { return 0 }}
	arr := &machine.Arriving{Host: host, Do: here, Started: func(m *machine.Machine) error { next = m; return nil }}
	done := make(chan error, 1)
	go func() {
		_, err := migrate.Receive(t.Context(), in, arr, migrate.Options{})
		done <- err
	}()
	_, err := migrate.Send(t.Context(), func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		in <- b
		return a, nil
	}, dep, migrate.Options{Mode: mode, Observe: -1})
	require.NoError(t, err)
	require.NoError(t, <-done)
	return next
}
