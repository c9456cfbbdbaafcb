package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"godwit/control"
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

func (a *app) labMigrateCommand() *cobra.Command {
	var s lab.Setup
	var memory, writer, rate, bandwidth string
	var rtt, downtime time.Duration
	c := &cobra.Command{
		Use: "migrate", Short: "move the same guest by every strategy, over a link that is modelled",
		Long: `Move the same guest by every strategy, over a link that is modelled.

Source, link and destination are in this process, in virtual time; strategies, estimates and protocol are those of real migrations.
Equal flags give equal results, on every host. "pre" is pre-copy alone: it gives up where it does not converge.`,
		Example: "  godwit lab migrate\n  godwit lab migrate --writer 256M --memory 512M --rate 500M --bandwidth 128M\n" +
			"  godwit lab migrate --pattern byte --rate 1M --rtt 200ms --loss 0.01 --json",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, p := range []struct {
				text string
				to   func(uint64)
			}{
				{memory, func(n uint64) { s.Memory = n }},
				{writer, func(n uint64) { s.Writer = n }},
				{rate, func(n uint64) { s.Rate = float64(n) }},
				{bandwidth, func(n uint64) { s.Bandwidth = float64(n) }},
			} {
				n, err := control.ParseBytes(p.text)
				if err != nil {
					return err
				}
				p.to(n)
			}
			s.RTTNS, s.MaxDowntimeNS = int64(rtt), int64(downtime)
			if err := s.Check(); err != nil {
				return control.Fail("usage", err.Error(), "", "godwit lab migrate --help")
			}
			t, err := lab.Compare(s)
			if err != nil {
				return control.AsError("the lab failed", err)
			}
			return a.print(t, func(w io.Writer) { showLab(w, t) })
		},
	}
	f := c.Flags()
	f.StringVarP(&memory, "memory", "m", "32M", "memory of the guest")
	f.StringVar(&writer, "writer", "8M", "how much of it the guest writes to, again and again")
	f.StringVar(&rate, "rate", "25M", "bytes a second that it stores")
	f.StringVar(&s.Pattern, "pattern", "seq", "seq, random, byte (one of each page) or alternating (two contents in turn)")
	f.StringVar(&s.Content, "content", "random", "random, zero or text")
	f.Uint64Var(&s.Seed, "seed", 1, "of everything random")
	f.StringVar(&bandwidth, "bandwidth", "8M", "bytes a second that the link carries")
	f.DurationVar(&rtt, "rtt", time.Millisecond, "round trip time of the link")
	f.Float64Var(&s.Loss, "loss", 0, "share of packets that the link loses, 0 to 0.5")
	f.DurationVar(&downtime, "max-downtime", 300*time.Millisecond, "the guest may stand still so long")
	f.StringSliceVar(&s.Modes, "mode", []string{"stop", "pre", "post", "hybrid", "auto"}, "strategies to compare")
	return c
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
