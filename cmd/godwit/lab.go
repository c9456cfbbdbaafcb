package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/control/rehearse"
	"godwit/migrate/lab"
)

func (a *app) labCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "lab", GroupID: "Learn", Short: "try things out in virtual time", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.labMigrateCommand())
	return c
}

// labFlags are the flags of lab migrate.
type labFlags struct {
	lab.Setup
	memory, writer, rate, bandwidth string
	rtt, downtime                   time.Duration
}

// ofWriter are the flags that describe a writer.
var ofWriter = []string{"memory", "writer", "rate", "pattern", "content"}

// linkToVM is the bandwidth that a VM is moved over where no other is given.
const linkToVM = "125M"

func (a *app) labMigrateCommand() *cobra.Command {
	var l labFlags
	c := &cobra.Command{
		Use: "migrate [VM]", Short: "move the same guest by every strategy, over a link that is modelled",
		Long: `Move the same guest by every strategy, over a link that is modelled: a running VM, or else a writer that flags describe.

Source, link and destination are in this process, in virtual time; strategies, estimates and protocol are those of real migrations.
Equal flags give equal results: with --codec none on every host, else on hosts of one architecture, for s2 may make
something else of the same bytes on another. "pre" is pre-copy alone: it gives up where it does not converge.

A VM stands still only while it is copied, and is not touched otherwise. Each strategy moves a copy, which goes on from that moment
as the VM would if nobody typed, and is compared with one that was never moved. It executes what its clock says in a second, not
what this host manages. What its disks hold is copied to TMPDIR too, while it runs on; what the copies write goes to overlays there, which
change hands as disks do that both sides reach. A guest with disks goes on in virtual time.`,
		Example: "  godwit lab migrate plover\n  godwit lab migrate plover --bandwidth 1G --mode auto,post\n" +
			"  godwit lab migrate --writer 256M --memory 512M --rate 500M --bandwidth 128M\n" +
			"  godwit lab migrate --pattern byte --rate 1M --rtt 200ms --loss 0.01 --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.names,
		RunE: func(c *cobra.Command, args []string) error {
			l.RTTNS, l.MaxDowntimeNS = int64(l.rtt), int64(l.downtime)
			if len(args) == 0 {
				return a.labWriter(&l)
			}
			for _, f := range ofWriter {
				if c.Flags().Changed(f) {
					return control.Fail("usage", "--"+f+" describes a writer, and excludes a VM", "", "godwit lab migrate "+args[0])
				}
			}
			if !c.Flags().Changed("bandwidth") {
				l.bandwidth = linkToVM
			}
			return a.labVM(&l, args)
		},
	}
	f := c.Flags()
	f.StringVarP(&l.memory, "memory", "m", "32M", "memory of the guest")
	f.StringVar(&l.writer, "writer", "8M", "how much of it the guest writes to, again and again")
	f.StringVar(&l.rate, "rate", "25M", "bytes a second that it stores")
	f.StringVar(&l.Pattern, "pattern", "seq", "seq, random, byte (one of each page) or alternating (two contents in turn)")
	f.StringVar(&l.Content, "content", "random", "random, zero or text")
	f.Uint64Var(&l.Seed, "seed", 1, "of everything random")
	f.StringVar(&l.bandwidth, "bandwidth", "8M", "bytes a second that the link carries; "+linkToVM+" for a VM")
	f.DurationVar(&l.rtt, "rtt", time.Millisecond, "round trip time of the link")
	f.Float64Var(&l.Loss, "loss", 0, "share of packets that the link loses, 0 to 0.5")
	f.DurationVar(&l.downtime, "max-downtime", 300*time.Millisecond, "the guest may stand still so long")
	f.StringVar(&l.Codec, "codec", "", "none, s2 or zstd (default: as it pays, at the speeds that the lab takes them to have)")
	f.StringSliceVar(&l.Modes, "mode", []string{"stop", "pre", "post", "hybrid", "auto"}, "strategies to compare")
	return c
}

// labWriter compares the strategies for a writer that is described.
func (a *app) labWriter(l *labFlags) error {
	for _, p := range []struct {
		text string
		to   *uint64
	}{{l.memory, &l.Memory}, {l.writer, &l.Writer}} {
		var err error
		if *p.to, err = control.ParseBytes(p.text); err != nil {
			return err
		}
	}
	rate, err := control.ParseBytes(l.rate)
	if err != nil {
		return err
	}
	l.Rate = float64(rate)
	return a.compare(l)
}

// labVM compares them for a running VM.
func (a *app) labVM(l *labFlags, args []string) error {
	c, err := a.vm(args)
	if err != nil {
		return err
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "godwit-lab-")
	if err != nil {
		return control.AsError("the VM cannot be copied", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "machine.gwsnap")
	ctx, stop := interruptible()
	defer context.AfterFunc(ctx, stop)() // a second Ctrl-C does not wait for the strategy under way
	defer stop()
	o, err := c.Begin(ctx, "/v1/copy", map[string]string{"file": file}, a.progress())
	if err != nil {
		return err
	}
	f, err := rehearse.Open(file, func(id string) string { return control.CopiedDisk(file, id) })
	if err != nil {
		return control.AsError("the copy cannot be read", err)
	}
	defer f.Close()
	l.VM, l.Count, l.Memory, l.Bodies = st.Name, f.Count(), f.Memory(), f.Bodies
	l.Events = func(mode string) error {
		if !a.json {
			fmt.Fprintf(a.err, "moving a copy of %s by %s\n", st.Name, mode)
		}
		return ctx.Err()
	}
	if !a.json {
		fmt.Fprintf(a.err, "copied at #%d; the guest stood still for %.1f ms\n", l.Count, float64(o.Saved.TookNS)/1e6)
	}
	return a.compare(l)
}

// compare runs the comparison and prints it.
func (a *app) compare(l *labFlags) error {
	n, err := control.ParseBytes(l.bandwidth)
	if err != nil {
		return err
	}
	l.Bandwidth = float64(n)
	if err := l.Check(); err != nil {
		return control.Fail("usage", err.Error(), "", "godwit lab migrate --help")
	}
	t, err := lab.Compare(l.Setup)
	if err != nil {
		return control.AsError("the lab failed", err)
	}
	return a.print(t, func(w io.Writer) { showLab(w, t) })
}

func showLab(w io.Writer, t *lab.Table) {
	fmt.Fprintf(w, "%-7s %-10s %-12s %10s %12s %12s %10s %7s %9s\n", "MODE", "VERDICT", "END", "TOTAL", "DOWNTIME", "PREDICTED", "SENT MB", "ROUNDS", "SLOWED")
	ms := func(ns int64) string {
		if ns == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f ms", float64(ns)/1e6)
	}
	for _, r := range t.Rows {
		end, downtime := "moved", ms(r.DowntimeNS)
		switch {
		case r.Error != "":
			end, downtime = r.Error, "-"
		case r.Chosen != "" && r.Chosen != r.Mode:
			end = "by " + string(r.Chosen)
		}
		held := fmt.Sprintf("%.0f %%", 100*r.Slowdown)
		if r.WaitedNS > 0 {
			held = ms(r.WaitedNS)
		}
		fmt.Fprintf(w, "%-7s %-10s %-12s %10s %12s %12s %10.1f %7d %9s\n", r.Mode, r.Verdict, end, fmt.Sprintf("%.2f s", float64(r.TotalNS)/1e9), downtime, ms(r.Predicted), float64(r.Sent)/1e6, r.Passes, held)
	}
	fmt.Fprintln(w, "\nSLOWED: share of the time that a budget held the guest up, or how long it waited for pages that had not come.")
}
