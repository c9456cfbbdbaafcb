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
	c.AddCommand(a.benchMigrateCommand(), a.benchSnapshotCommand())
	return c
}

// guests finds the folder of guests to measure with.
func guests(verb string, args []string) (string, error) {
	dir := os.Getenv("GODWIT_GUESTS")
	if len(args) > 0 {
		dir = args[0]
	}
	if dir == "" {
		return "", control.Fail("usage", "bench "+verb+" needs a folder with a guest", "", "godwit guest debian DIR  and  godwit bench "+verb+" DIR")
	}
	return filepath.Abs(dir)
}

func (a *app) benchSnapshotCommand() *cobra.Command {
	var o bench.Options
	var memory, large string
	c := &cobra.Command{
		Use: "snapshot [GUESTS]", Short: "measure snapshots, suspend and resume, side by side with QEMU's where that is installed",
		Long: `Measure live snapshots, suspend and resume, side by side with savevm and migration to a file of qemu-system-x86_64 (TCG) where that
is installed.

Both run the same Debian kernel and initrd, of the folder GUESTS that  godwit guest debian  makes (default: $GODWIT_GUESTS), with a qcow2
disk: idle, with a program that writes an array for ever, and with this host's programs in its page cache. A guest's pause is host
time; "first" is from opening the file to where the guest goes on: its first instruction, or waiting as before. All files lie in the
host's folder for temporary ones.`,
		Example: "  godwit bench snapshot DIR\n  godwit bench snapshot DIR --writer 0 --cached 0\n  godwit bench snapshot DIR --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			o.Exe = a.exe
			if o.Guests, err = guests("snapshot", args); err != nil {
				return err
			}
			if o.Memory, err = control.ParseBytes(memory); err != nil {
				return err
			}
			if o.Large, err = control.ParseBytes(large); err != nil {
				return err
			}
			o.Say = func(s string) { fmt.Fprintln(a.err, s) }
			ctx, stop := interruptible()
			defer stop()
			t, err := bench.Snapshot(ctx, o)
			if err != nil {
				return control.AsError("the measurement failed", err)
			}
			return a.print(t, t.Show)
		},
	}
	f := c.Flags()
	f.StringVarP(&memory, "memory", "m", "1G", "memory of the guests")
	f.IntSliceVar(&o.Writers, "writer", []int{0, 64}, "MiB that the guest writes again and again; 0: it is idle")
	f.IntVar(&o.Cached, "cached", 512, "MiB of programs in the page cache of one more guest; 0: without it")
	f.StringVar(&large, "large", "4G", "memory of the guest that is resumed without it; 0: none is")
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
			o.Exe = a.exe
			if o.Guests, err = guests("migrate", args); err != nil {
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
	f.StringSliceVar(&o.Modes, "mode", bench.OurModes, "strategies, one after the other; again for another run")
	f.BoolVar(&o.Alone, "alone", false, "without QEMU")
	f.DurationVar(&o.Limit, "limit", 30*time.Second, "a migration that takes longer never ends")
	return c
}
