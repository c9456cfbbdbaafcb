package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/machine"
)

func (a *app) suspendCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "suspend [VM]", GroupID: "Save", Short: "save a VM and end its process",
		Example:           "  godwit suspend\n  godwit suspend plover\n  godwit suspend plover -o plover.gwsnap",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.vm(args)
			if err != nil {
				return err
			}
			a.home.Remember(c.Name())
			if file != "" {
				if file, err = filepath.Abs(file); err != nil {
					return err
				}
			}
			ctx, stop := interruptible()
			defer stop()
			o, err := c.Begin(ctx, "/v1/suspend", map[string]string{"file": file}, a.progress())
			if err != nil {
				return err
			}
			r := o.Saved
			return a.print(r, func(w io.Writer) {
				arg := c.Name()
				if file != "" {
					arg = file
				}
				fmt.Fprintf(w, "%s suspended at #%d: %d pages, %d zero, %d bytes.  godwit resume %s\n", c.Name(), r.Count, r.Pages, r.Zero, r.Bytes, arg)
			})
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "file to write (default: one in the VM's directory)")
	return c
}

// resumeFlags are the flags of all commands by which a machine goes on from a file.
type resumeFlags struct {
	limits
	memory, clock string
}

func (r *resumeFlags) register(c *cobra.Command) {
	r.limits.register(c)
	f := c.Flags()
	f.StringVar(&r.memory, "memory", "all", "what of memory comes before the guest goes on: all, active (what it used last), none; the rest follows")
	f.StringVar(&r.clock, "guest-clock", string(machine.ClockFreeze), "what the guest's clock does about the time since it was saved: freeze (late from then on), jump, or slew (5 % faster until it has caught up)")
	offer(c, "memory", "all", string(control.LoadActive), string(control.LoadNone))
	offer(c, "guest-clock", string(machine.ClockFreeze), string(machine.ClockJump), string(machine.ClockSlew))
}

// spec fills in what the flags say.
func (r *resumeFlags) spec() (*control.Spec, error) {
	s, err := r.limits.spec()
	if err != nil {
		return nil, err
	}
	if s.Load, err = control.ParseLoad(r.memory); err != nil {
		return nil, err
	}
	s.GuestClock, err = control.ParseGuestClock(r.clock)
	return s, err
}

func (a *app) resumeCommand() *cobra.Command {
	var r resumeFlags
	c := &cobra.Command{
		Use: "resume [NAME|FILE]", GroupID: "Save", Short: "let a suspended VM go on",
		Example: "  godwit resume plover\n  godwit resume plover.gwsnap -n copy\n  godwit resume plover --paused -d",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			names, _ := a.names(c, args, word)
			return names, cobra.ShellCompDirectiveDefault // a file will do, too
		},
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := r.spec()
			if err != nil {
				return err
			}
			arg := ""
			if len(args) > 0 {
				arg = args[0]
			}
			if err := a.home.ToResume(s, arg); err != nil {
				return err
			}
			return a.start(s, &r.limits)
		},
	}
	r.register(c)
	r.registerFiles(c)
	return c
}

// progress shows how far an operation is, once a second at most and only to a
// terminal.
func (a *app) progress() func(control.Event) {
	if a.json {
		return nil
	}
	return control.ShowProgress(a.err)
}
