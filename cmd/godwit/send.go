package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"godwit/control"
)

// interruptible gives a context that Ctrl-C cancels.
func interruptible() (context.Context, func()) {
	return signal.NotifyContext(context.Background(), os.Interrupt)
}

func (a *app) sendCommand() *cobra.Command {
	return &cobra.Command{
		Use: "send [VM] HOST:PORT", GroupID: "Move", Short: "move a VM to another godwit",
		Example:           "  godwit send hostb:4444\n  godwit send plover hostb:4444\n  godwit send plover localhost:4444 --json",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			to := args[len(args)-1]
			c, err := a.vm(args[:len(args)-1])
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			o, err := c.Begin(ctx, "/v1/send", map[string]string{"to": to}, a.progress())
			if err != nil {
				return err
			}
			return a.print(o.Moved, func(w io.Writer) {
				o.Moved.Show(w)
				fmt.Fprintf(w, "%s now lives at %s\n", c.Name(), to)
			})
		},
	}
}

func (a *app) receiveCommand() *cobra.Command {
	var l limits
	c := &cobra.Command{
		Use: "receive [ADDR]", GroupID: "Move", Short: "wait for a VM that is sent",
		Long:    "Wait for a VM that is sent, and run it here. ADDR is [HOST]:PORT, by default 127.0.0.1:4444; port 0 means any.\nWho can reach the port can send a machine: listen on trusted networks only.",
		Example: "  godwit receive :4444\n  godwit receive -n plover -d\n  godwit receive 127.0.0.1:0 --json -d",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := l.spec()
			if err != nil {
				return err
			}
			s.Listen, s.Source = "127.0.0.1:4444", "elsewhere"
			if len(args) > 0 {
				s.Listen = args[0]
			}
			if l.detach {
				return a.receiveDetached(s)
			}
			return a.receive(s, &l)
		},
	}
	l.register(c)
	l.registerFiles(c)
	return c
}

func (a *app) receiveDetached(s *control.Spec) error {
	c, err := a.home.Launch(a.exe, s)
	if err != nil {
		return err
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	return a.print(st, func(w io.Writer) { fmt.Fprintf(w, "%s listens on %s\n", st.Name, st.Listen) })
}

func (a *app) receive(s *control.Spec, l *limits) error {
	esc, err := control.ParseKey(l.escape)
	if err != nil {
		return err
	}
	t := a.terminal()
	c, left, err := a.home.Receive(a.exe, s, t, control.AttachOptions{Escape: esc})
	if err != nil {
		return err
	}
	return a.leave(c, t, left, s.Hash)
}
