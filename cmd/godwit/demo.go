package main

import (
	"github.com/spf13/cobra"

	"godwit/control"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", GroupID: "Learn", Short: "move a running machine to another process, and prove that nothing was lost",
		Example: "  godwit demo\n  godwit demo --json\n  go run ./cmd/godwit demo",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			log := a.out
			if a.json {
				log = nil
			}
			r, err := control.Demo(a.exe, log)
			if err != nil {
				return err
			}
			return a.print(r, r.Show)
		},
	}
}
