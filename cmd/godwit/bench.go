package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/control/bench"
)

func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", GroupID: "Learn", Short: "measure", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.benchMigrateCommand())
	return c
}

func (a *app) benchMigrateCommand() *cobra.Command {
	o := bench.Options{Memory: 512 << 20}
	var memory string
	var links []string
	c := &cobra.Command{
		Use: "migrate [GUESTS]", Short: "measure migrations, side by side with QEMU's where that is installed",
		Long: `Measure migrations between two processes on this machine, side by side with those of qemu-system-x86_64 (TCG) where that is installed.

Both run the same Debian kernel and initrd, of the folder GUESTS that  godwit guest debian  makes (default: $GODWIT_GUESTS), in the
same memory: once idle, and with the lecture's program, which writes an array of integers for ever. It is built with gcc.`,
		Example: "  godwit bench migrate DIR\n  godwit bench migrate DIR --writer 64 --link 128M\n  godwit bench migrate DIR --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			o.Exe, o.Guests = a.exe, os.Getenv("GODWIT_GUESTS")
			if len(args) > 0 {
				o.Guests = args[0]
			}
			if o.Guests == "" {
				return control.Fail("usage", "bench migrate needs a folder with a guest", "", "godwit guest debian DIR  and  godwit bench migrate DIR")
			}
			if o.Guests, err = filepath.Abs(o.Guests); err != nil {
				return err
			}
			if o.Memory, err = control.ParseBytes(memory); err != nil {
				return err
			}
			for _, l := range links {
				n, err := control.ParseBytes(l)
				if err != nil {
					return err
				}
				o.Bandwidths = append(o.Bandwidths, n)
			}
			o.Say = func(s string) { fmt.Fprintln(a.err, s) }
			ctx, stop := interruptible()
			defer stop()
			t, err := bench.Migrate(ctx, o)
			if err != nil {
				return control.AsError("the measurement failed", err)
			}
			return a.print(t, t.Show)
		},
	}
	f := c.Flags()
	f.StringVarP(&memory, "memory", "m", "512M", "memory of the guest")
	f.IntSliceVar(&o.Writers, "writer", []int{0, 64, 128, 256}, "MiB that the guest writes again and again; 0: it is idle")
	f.StringSliceVar(&links, "link", []string{"0", "128M"}, "bytes a second that the link carries; 0: as fast as it goes")
	f.DurationVar(&o.Limit, "limit", 30*time.Second, "a migration that takes longer never ends")
	return c
}
