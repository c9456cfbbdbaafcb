package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/migrate"
)

func (a *app) receiveCommand() *cobra.Command {
	var l limits
	var once, insecure bool
	var token string
	c := &cobra.Command{
		Use: "receive [ADDR]", GroupID: "Move", Short: "wait for VMs that are migrated here, and run them",
		Long: `Wait for VMs that are migrated here, and run them in the background. ADDR is [HOST]:PORT, by default 127.0.0.1:4444; port 0 means any.

The token that is printed is for one VM, within ten minutes; after each VM there is a new one. With --once, the first VM is the only
one, and its console is shown. With -d the waiting is done in the background, for one VM.`,
		Example: "  godwit receive :4444\n  godwit receive :4444 --once -n plover\n  godwit receive 127.0.0.1:0 --json -d",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := l.spec()
			if err != nil {
				return err
			}
			s.Listen, s.Source, s.Insecure = "127.0.0.1:4444", "elsewhere", insecure
			if len(args) > 0 {
				s.Listen = args[0]
			}
			if token != "" { // the VM's process reads it there
				fmt.Fprintln(a.err, "godwit: --token shows in lists of processes; "+control.TokenVariable+" does not")
				if err := os.Setenv(control.TokenVariable, token); err != nil {
					return err
				}
			}
			switch {
			case l.detach:
				return a.receiveDetached(s)
			case once:
				return a.receiveOnce(s, &l)
			}
			return a.receiveAll(s)
		},
	}
	l.register(c)
	l.registerFiles(c)
	f := c.Flags()
	f.BoolVar(&once, "once", false, "wait for one VM and attach to it")
	f.BoolVar(&insecure, "insecure", false, "from whoever can reach the port, and not encrypted: on trusted networks only")
	f.StringVar(&token, "token", "", "use this token (shows in lists of processes: rather "+control.TokenVariable+")")
	return c
}

// invitation is what receive -d tells.
type invitation struct {
	control.Status
	Token string `json:"token,omitempty"`
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
	return a.print(invitation{st, c.Token()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s listens on %s\n", st.Name, st.Listen)
		if c.Token() != "" {
			fmt.Fprintf(w, "token  %s\n", c.Token())
		}
	})
}

func (a *app) receiveOnce(s *control.Spec, l *limits) error {
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

// receiveAll takes one VM after the other until it is interrupted.
func (a *app) receiveAll(s *control.Spec) error {
	ctx, stop := interruptible()
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends it as it ends anything

	for ; ; s.Name = "" { // a name that was chosen is the first one's
		one := *s
		one.Orphan = control.OrphanStop // while it waits
		c, err := a.home.Launch(a.exe, &one)
		if err != nil {
			return err
		}
		if _, err := c.Wait(c.Context(), true); err != nil {
			return err
		}
		if err := c.Invite(a.err); err != nil {
			return err
		}
		st, err := c.Arrived(ctx, a.err)
		if err != nil {
			return err
		}
		if err := c.Post(c.Context(), "/v1/detach", nil, nil); err != nil {
			return err
		}
		if err := a.print(st, func(w io.Writer) { fmt.Fprintf(w, "%s runs here.  godwit attach %[1]s\n", st.Name) }); err != nil {
			return err
		}
		if _, err := a.home.Client(st.Name).Follow(ctx, "receive", a.warned); err != nil { // all of it, and the port is free
			fmt.Fprint(a.err, control.AsError("receiving "+st.Name, err).Text())
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// warned prints what an operation warns of.
func (a *app) warned(e control.Event) {
	if e.Name == migrate.EventWarning {
		fmt.Fprintln(a.err, "godwit: "+e.Op.Event.Reason)
	}
}
