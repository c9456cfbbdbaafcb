package control

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

const mb = 1_000_000

// story is a migration of a guest that writes too fast: hopeless at first, then
// by a budget.
func story() []migrate.Event {
	hopeless := &migrate.Verdict{
		Answer: migrate.Hopeless, Downtime: 2100 * time.Millisecond, Asked: 300 * time.Millisecond, Dirtied: 900 * mb,
		Wire: 610 * mb, Speed: 134 * mb, NeedBPS: 940 * mb, NeedRate: 0.14, Passes: 1,
		Writers: []migrate.Writer{{RIP: 0x401186, CPL: 3, Pages: 930}, {Device: "virtio-blk0", Pages: 70}},
	}
	pass := func(n, dirty uint32, kinds migrate.KindTable, sent uint64, took time.Duration) migrate.Event {
		return migrate.Event{
			What: migrate.EventPass, Stage: migrate.StagePreCopy, Round: n,
			Pass: &migrate.PassStats{Number: n, Dirty: dirty, Kinds: kinds, Sent: sent, Took: took, Rate: 900 * mb, Speed: 134 * mb},
		}
	}
	verdict := func(n uint32, v *migrate.Verdict) migrate.Event {
		return migrate.Event{What: migrate.EventVerdict, Stage: migrate.StagePreCopy, Round: n, Verdict: v}
	}
	good := &migrate.Verdict{
		Answer: migrate.Converges, Passes: 1, Total: 400 * time.Millisecond, Downtime: 18 * time.Millisecond, Asked: 300 * time.Millisecond,
		Dirtied: 900 * mb, Wire: 100 * mb, Speed: 134 * mb,
	}
	last := pass(3, 312, migrate.KindTable{migrate.Raw: {Pages: 12}, migrate.Lines: {Pages: 300}}, mb, 9*time.Millisecond)
	last.Pass.Slowdown = 0.41
	return []migrate.Event{
		{What: migrate.EventStage, Stage: migrate.StageCheck},
		{What: migrate.EventStage, Stage: migrate.StageReserve},
		{What: migrate.EventStage, Stage: migrate.StagePreCopy},
		verdict(0, hopeless),
		{What: migrate.EventProgress, Stage: migrate.StagePreCopy, Round: 1, Done: 41000, Total: 131072},
		pass(1, 131072, migrate.KindTable{migrate.Zero: {Pages: 79954}, migrate.Raw: {Pages: 45875}, migrate.Dup: {Pages: 5243}}, 182*mb, 1400*time.Millisecond),
		verdict(1, hopeless),
		{What: migrate.EventSwitch, Stage: migrate.StagePreCopy, Mode: migrate.ModePost, Reason: "it would not end"},
		{What: migrate.EventBudget, Stage: migrate.StagePreCopy, Budget: 8192},
		pass(2, 8114, migrate.KindTable{migrate.Raw: {Pages: 8114}}, 33*mb, 250*time.Millisecond),
		verdict(2, good),
		{What: migrate.EventCut, Stage: migrate.StagePreCopy, Reason: "connection reset"},
		{What: migrate.EventResumed, Stage: migrate.StagePreCopy},
		last,
		verdict(3, good),
		{What: migrate.EventStage, Stage: migrate.StageStop},
		{What: migrate.EventStage, Stage: migrate.StageCommit},
		{What: migrate.EventReport, Stage: migrate.StageDone, Report: &migrate.Report{
			Chosen: migrate.ModePre, Pages: 131072, Total: 2600 * time.Millisecond, Sent: 196 * mb,
			Predicted: 18 * time.Millisecond, Slowdown: 0.41, Stalled: 700 * time.Millisecond,
			Downtime: migrate.Downtime{
				Total: 21 * time.Millisecond, Stop: 900 * time.Microsecond, Pages: 9 * time.Millisecond, Devices: time.Millisecond,
				Load: 6 * time.Millisecond, Commit: 4 * time.Millisecond, Activate: 100 * time.Microsecond, Fence: 7 * time.Millisecond,
			},
		}},
	}
}

func told(t *testing.T, tty bool, events []migrate.Event) string {
	var b bytes.Buffer
	r := NewRounds(&b, "hostb would take it")
	r.tty, r.every = tty, 0
	for i := range events {
		r.Event(&events[i])
		if p := events[i].Report; p != nil {
			r.Report(p)
		}
	}
	r.End()
	return b.String()
}

func TestRoundsAsLines(t *testing.T) {
	require.Equal(t, strings.TrimLeft(`
check    hostb would take it
verdict  pre-copy alone will not converge: downtime never comes below 2.1 s, asked for is 300 ms
         the guest dirties 900 MB/s, 610 MB/s of it on the wire; the link carries 134 MB/s
         it would take  --max-downtime 2.31s, or a link of 940 MB/s, or a writer slowed down to 14 %
writes    93 %  cpu0, ring 3, at 0x401186
           7 %  virtio-blk0 by DMA
round 1  41,000 of 131,072 pages
round 1  ████████████████████   131,072 pages  zero 61 %  dup 4 %  182 MB in 1.4 s  dirty 900 MB/s  downtime would be 2.1 s
switch   to post-copy: it would not end
budget   the guest may dirty 8,192 pages until the next round; a store beyond waits
round 2  █▏                       8,114 pages  33 MB in 250 ms  dirty 900 MB/s  downtime 18 ms
verdict  pre-copy converges: 1 more round, 400 ms, downtime 18 ms of the 300 ms asked for
         the guest dirties 900 MB/s, 100 MB/s of it on the wire; the link carries 134 MB/s
cut      connection reset; connecting again
again    connected; what had arrived is not sent again
round 3  ▏                          312 pages  lines 96 %  1 MB in 9 ms  dirty 900 MB/s  slowed 41 %  downtime 18 ms
paused   downtime 21 ms: stop 900 µs · last pages 9 ms · devices 1 ms · load 6 ms · commit 4 ms · first instruction 100 µs  (predicted 18 ms)
         and 7 ms for the durable record of the new owner
slowed   the budget held the guest up 41 % of the time, 700 ms together
done     2.6 s by pre-copy, 196 MB on the wire for 512 MiB of memory
`, "\n"), told(t, false, story()))
}

func TestRoundsAtATerminal(t *testing.T) {
	got := told(t, true, story())
	require.Contains(t, got, "\r\x1b[Kround 1  ██████▎░░░░░░░░░░░░░ 41,000 of 131,072 pages\r\x1b[K\r\x1b[Kround 1  ████████████████████ ")
}

// TestRoundsWithKeys: the keys are told of once, and lines end as a raw terminal needs.
func TestRoundsWithKeys(t *testing.T) {
	var b bytes.Buffer
	r := NewRounds(&b, "")
	r.raw()
	for range 2 {
		r.Event(&migrate.Event{Stage: migrate.StagePreCopy, What: migrate.EventStage})
	}
	r.Event(&migrate.Event{What: migrate.EventSwitch, Mode: migrate.ModeHybrid, Reason: "asked for"})
	require.Equal(t, "keys     t throttle the guest · p post-copy when this round has arrived · q cancel, the guest runs on here\r\n"+
		"switch   to hybrid: asked for\r\n", b.String())
}

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		done, total, full uint64
		want              string
	}{
		{0, 0, 0, "                    "},
		{1, 1, 1 << 40, "▏                   "},
		{5, 10, 10, "██████████░░░░░░░░░░"},
		{1, 4, 20, "█░░░                "},
		{20, 20, 20, "████████████████████"},
	} {
		require.Equal(t, tt.want, bar(tt.done, tt.total, tt.full))
	}
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999), "999"},
		{count(1000), "1,000"},
		{count(1234567), "1,234,567"},
		{bytesSent(0), "0 B"},
		{bytesSent(999), "999 B"},
		{bytesSent(1000), "1 kB"},
		{bytesSent(182_400_000), "182 MB"},
		{bytesSent(1_230_000_000), "1.23 GB"},
		{seconds(0), "0 µs"},
		{seconds(1500 * time.Microsecond), "1.5 ms"},
		{seconds(21 * time.Millisecond), "21 ms"},
		{seconds(9100 * time.Millisecond), "9.1 s"},
	} {
		require.Equal(t, tt.want, tt.got)
	}
}
