package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"godwit/control"
)

// verb is a command that does one thing to a VM.
func (a *app) verb(name, short string, do func(args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " [VM]", GroupID: "Run", Short: short,
		Example:           fmt.Sprintf("  godwit %[1]s\n  godwit %[1]s plover\n  godwit %[1]s plover --json", name),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE:              func(_ *cobra.Command, args []string) error { return do(args) },
	}
}

func (a *app) pauseCommand() *cobra.Command {
	return a.verb("pause", "let a VM stand still", func(args []string) error { return a.change(args, "/v1/pause", nil) })
}

func (a *app) contCommand() *cobra.Command {
	return a.verb("cont", "let a paused VM go on", func(args []string) error { return a.change(args, "/v1/cont", nil) })
}

func (a *app) wakeCommand() *cobra.Command {
	c := a.verb("wake", "wake a VM whose guest has put itself to sleep", func(args []string) error { return a.change(args, "/v1/wake", nil) })
	c.Long = `Wake a VM whose guest has put itself to sleep (ACPI S3), as a key at its console, its power button and an alarm of
its clock do as well. ls shows it as sleeping.`
	return c
}

func (a *app) resetCommand() *cobra.Command {
	return a.verb("reset", "press a VM's reset button", func(args []string) error { return a.stop(args, "reset") })
}

func (a *app) stopCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "stop [VM]", GroupID: "Run", Short: "press a VM's power button",
		Example:           "  godwit stop\n  godwit stop plover\n  godwit stop plover --force",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			if force {
				return a.stop(args, "force")
			}
			return a.stop(args, "power")
		},
	}
	c.Flags().BoolVar(&force, "force", false, "end it now; what is in its memory is lost")
	return c
}

// stop stops a VM, or starts it anew.
func (a *app) stop(args []string, how string) error {
	return a.change(args, "/v1/stop", map[string]string{"how": how})
}

// change does something to a VM that answers with its status.
func (a *app) change(args []string, path string, in any) error {
	c, err := a.vm(args)
	if err != nil {
		return err
	}
	var st control.Status
	if err := c.Post(c.Context(), path, in, &st); err != nil {
		return err
	}
	if st.End != nil {
		c.Gone()
	}
	return a.print(st, func(w io.Writer) { fmt.Fprintf(w, "%s %s #%d\n", st.Name, st.State, st.Count) })
}
