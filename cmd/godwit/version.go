package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/migrate"
	"godwit/snapshot"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: "Manage", Short: "print version and formats",
		Example: "  godwit version\n  godwit version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Host     string `json:"host"`
				Go       string `json:"go"`
				API      int    `json:"api"`
				Snapshot int    `json:"snapshot"`
				Migrate  string `json:"migrate"`
			}{control.Version, runtime.GOOS + "/" + runtime.GOARCH, runtime.Version(), 1, snapshot.Format, fmt.Sprintf("%d.%d", migrate.Major, migrate.Minor)}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "godwit %s  %s  %s  api v%d  snapshot format %d  migration protocol %s\n", v.Version, v.Host, v.Go, v.API, v.Snapshot, v.Migrate)
			})
		},
	}
}
