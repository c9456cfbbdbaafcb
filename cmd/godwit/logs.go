package main

import (
	"github.com/spf13/cobra"
)

func (a *app) logsCommand() *cobra.Command {
	var follow, process bool
	c := &cobra.Command{
		Use: "logs [VM]", GroupID: "Look", Short: "show what a guest printed",
		Example:           "  godwit logs\n  godwit logs plover\n  godwit logs -f plover",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return a.home.Logs(name, a.out, follow, process)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the VM ends")
	c.Flags().BoolVar(&process, "process", false, "what the VM's process had to say instead")
	return c
}
