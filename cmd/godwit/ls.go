package main

import (
	"io"

	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) lsCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "ls", GroupID: "Look", Short: "list VMs",
		Example: "  godwit ls\n  godwit ls -a\n  godwit ls --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list := []control.Status{}
			for _, s := range a.home.List() {
				if all || s.Live() || s.State == control.StateSuspended || s.State == control.StateIncoming {
					list = append(list, s)
				}
			}
			return a.print(map[string]any{"vms": list}, func(w io.Writer) { control.WriteList(w, list) })
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "those that have ended, too")
	return c
}
