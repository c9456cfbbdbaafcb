// Command godwit runs x86-64 machines in software and moves them about.
package main

import (
	"os"

	"godwit/control"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == control.ProcessVerb {
		os.Exit(control.Serve(os.Args[2], os.Stdout))
	}
	os.Exit(execute())
}
