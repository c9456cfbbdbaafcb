package main

import (
	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) attachCommand() *cobra.Command {
	var o control.AttachOptions
	var escape string
	c := &cobra.Command{
		Use:     "attach [VM]",
		GroupID: "Run",
		Short:   "attach to a VM's console",
		Example: `  godwit attach
  godwit attach plover
  godwit attach plover --read-only | tee log`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if o.Escape, err = control.ParseKey(escape); err != nil {
				return err
			}
			c, err := a.vm(args)
			if err != nil {
				return err
			}
			a.home.Remember(c.Name())
			t := a.terminal()
			left, err := c.Attach(t, o)
			if err != nil {
				return err
			}
			return a.leave(c, t, left, false)
		},
	}
	c.Flags().BoolVar(&o.ReadOnly, "read-only", false, "only look")
	c.Flags().BoolVar(&o.Take, "take", false, "type in place of whoever types there now")
	c.Flags().IntVar(&o.Replay, "replay", 65536, "bytes of what was printed before to see first")
	c.Flags().StringVar(&escape, "escape", "ctrl-a", "prefix of the console's keys")
	return c
}
