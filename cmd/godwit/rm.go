package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) rmCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "rm VM...", GroupID: "Manage", Short: "forget VMs that do not run",
		Example:           "  godwit rm plover\n  godwit rm --all\n  godwit stop --force plover && godwit rm plover",
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			names, err := a.doomed(args, all)
			if err != nil {
				return err
			}
			for _, n := range names {
				if err := a.home.Remove(n); err != nil {
					return err
				}
			}
			return a.print(map[string]any{"removed": names}, func(w io.Writer) {
				for _, n := range names {
					fmt.Fprintln(w, n)
				}
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all that have ended; not those that are suspended")
	return c
}

// doomed are the VMs to be removed.
func (a *app) doomed(args []string, all bool) ([]string, error) {
	if len(args) == 0 && !all {
		return nil, control.Fail("usage", "rm needs the name of a VM", "", "godwit ls -a")
	}
	names := []string{}
	for _, arg := range args {
		n, err := a.home.Resolve(arg)
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	if all {
		for _, s := range a.home.List() {
			if s.Ended() {
				names = append(names, s.Name)
			}
		}
	}
	return names, nil
}
