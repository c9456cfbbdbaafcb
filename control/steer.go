package control

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"

	"godwit/internal/host"
	"godwit/migrate"
)

// steer changes the strategy of the migration that goes on. What came of it its
// events tell.
func (r *Runner) steer(w migrate.Steer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out == nil {
		return Fail("state", fmt.Sprintf("%q is not being migrated", r.status.Name), "", "godwit migrate "+r.status.Name+" HOST:PORT")
	}
	select {
	case r.out.steer <- w:
	default: // it was asked for often enough
	}
	return nil
}

// steerKeys is what the keys mean.
var steerKeys = map[byte]migrate.Steer{'t': migrate.SteerBudget, 'p': migrate.SteerPost}

// Steering has keys of a terminal steer the VM's migration: t and p ask for what
// steerKeys says, q and Ctrl-C give it up. show gets lines ready for a terminal that
// does nothing of its own. The terminal is as before after end, once it is given up,
// and when a signal has the command leave, the migration going on without it.
func (c *Client) Steering(t *Terminal, show *Rounds, giveUp func(), leave func(os.Signal)) (end func(), err error) {
	raw, err := host.MakeRaw(t.In, t.Out.(*os.File))
	if err != nil {
		return nil, AsError("cannot use the terminal", err)
	}
	show.raw()
	var given atomic.Bool
	quit := func() {
		if !given.Swap(true) {
			raw.Restore()
			giveUp()
		}
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, host.Terminations()...)
	go func() {
		for s := range sig {
			if s == os.Interrupt && !given.Load() {
				quit()
				continue
			}
			raw.Restore()
			leave(s)
		}
	}()
	go func() {
		b := make([]byte, 1)
		for !given.Load() {
			if _, err := t.In.Read(b); err != nil {
				return
			}
			c.steerBy(b[0], quit)
		}
	}()
	return func() {
		signal.Stop(sig)
		close(sig)
		raw.Restore()
	}, nil
}

// steerBy does what a key means.
func (c *Client) steerBy(key byte, quit func()) {
	if w, ok := steerKeys[key]; ok {
		_ = c.Post(context.Background(), "/v1/steer", map[string]string{"to": string(w)}, nil) // it may have ended
	} else if key == 'q' || key == ctrlC {
		quit()
	}
}
