package control

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit/internal/host"
	"godwit/migrate"
)

// Rounds shows a migration to people as it goes: a line for each thing that
// happened, and at a terminal one more that is written again while pages travel.
type Rounds struct {
	w     io.Writer
	tty   bool
	every time.Duration    // between two lines of progress
	now   func() time.Time // the host's clock, for that only
	shown time.Time

	first  uint64         // pages of the first round
	held   string         // a round's line, until what it led to is known
	answer migrate.Answer // last told
	about  string         // what was checked
	keys   bool           // say which there are
}

// NewRounds shows on w. about says what the check looks at.
func NewRounds(w io.Writer, about string) *Rounds {
	f, _ := w.(*os.File)
	r := &Rounds{w: w, tty: f != nil && host.IsTerminal(f), every: time.Second, now: time.Now, shown: time.Now(), about: about}
	if r.tty {
		r.every = 100 * time.Millisecond
	}
	return r
}

// raw has lines end as a terminal needs that is in raw mode, and tells of the keys
// that steer.
func (r *Rounds) raw() { r.w, r.keys = crlf{r.w}, true }

// crlf returns to the beginning of the line at each end of one.
type crlf struct{ w io.Writer }

func (c crlf) Write(b []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// line writes a line with its label.
func (r *Rounds) line(label, format string, args ...any) {
	r.clear()
	fmt.Fprintf(r.w, "%-8s %s\n", label, fmt.Sprintf(format, args...))
}

// clear takes the line of progress away and lets go of a round's.
func (r *Rounds) clear() {
	if r.tty {
		fmt.Fprint(r.w, "\r\x1b[K")
	}
	if r.held != "" {
		fmt.Fprintln(r.w, r.held)
		r.held = ""
	}
}

// Event shows one.
func (r *Rounds) Event(e *migrate.Event) {
	switch e.What {
	case migrate.EventStage:
		r.enter(e)
	case migrate.EventProgress:
		r.progress(e)
	case migrate.EventPass:
		r.pass(e.Pass)
	case migrate.EventVerdict:
		r.verdict(e.Verdict, e.Round)
	case migrate.EventSwitch:
		r.line("switch", "to %s: %s", title(e.Mode), e.Reason)
	case migrate.EventBudget:
		if e.Unit == "blocks" {
			r.line("budget", "the guest may write to %s of its disks until the next round; a request beyond waits", bytesSent(uint64(e.Budget)*migrate.BlockSize))
			return
		}
		r.line("budget", "the guest may dirty %s pages until the next round; a store beyond waits", count(uint64(e.Budget)))
	case migrate.EventCut:
		r.line("cut", "%s; connecting again", e.Reason)
	case migrate.EventResumed:
		r.line("again", "connected; what had arrived is not sent again")
	case migrate.EventRepair:
		r.line("repair", "the two sides differed; sending %s pages again", count(e.Total))
	case migrate.EventWarning:
		r.line("note", "%s", e.Reason)
	}
}

// enter tells of stages that have something to say.
func (r *Rounds) enter(e *migrate.Event) {
	if e.Stage != migrate.StageCheck && e.Stage != migrate.StageDone {
		r.checked()
	}
	switch e.Stage {
	case migrate.StagePreCopy:
		if r.keys {
			r.keys = false
			r.line("keys", "t throttle the guest · p post-copy when this round has arrived · q cancel, the guest runs on here")
		}
	case migrate.StagePostCopy:
		r.line("moved", "the guest runs there, its pages follow")
	case migrate.StageDoubt:
		r.line("in doubt", "the other side does not say whether it runs the guest; asking")
	}
}

// checked tells, once, that the other side would take it.
func (r *Rounds) checked() {
	if r.about != "" {
		r.line("check", "%s", r.about)
		r.about = ""
	}
}

// progress writes the line that is written again.
func (r *Rounds) progress(e *migrate.Event) {
	now := r.now()
	if now.Sub(r.shown) < r.every || e.Total == 0 {
		return
	}
	r.shown = now
	label := string(e.Stage)
	if e.Round > 0 {
		label = fmt.Sprintf("round %d", e.Round)
	}
	what, full := fmt.Sprintf("%s of %s pages", count(e.Done), count(e.Total)), max(r.first, e.Total)
	if e.Unit == "blocks" {
		what = fmt.Sprintf("%s of %s of disks", bytesSent(e.Done*migrate.BlockSize), bytesSent(e.Total*migrate.BlockSize))
		full = e.Total
	}
	if !r.tty {
		r.line(label, "%s", what)
		return
	}
	r.clear()
	fmt.Fprintf(r.w, "%-8s %s %s", label, bar(e.Done, e.Total, full), what)
}

// Width of bars, in characters.
const barWidth = 20

// bar draws done as filled and total as empty parts of full.
func bar(done, total, full uint64) string {
	eighths := func(n uint64) int {
		e := int(n * barWidth * 8 / max(full, 1))
		return max(e, int(min(n, 1))) // something is never nothing
	}
	have := eighths(done)
	s := strings.Repeat("█", have/8)
	if have%8 > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[have%8])
	}
	width := (have + 7) / 8
	if rest := (eighths(total)+7)/8 - width; rest > 0 {
		s += strings.Repeat("░", rest)
		width += rest
	}
	return s + strings.Repeat(" ", max(barWidth-width, 0))
}

// pass tells of a round that is over.
func (r *Rounds) pass(p *migrate.PassStats) {
	r.clear()
	if p.Sent == 0 { // of post-copy: it only says what is to come
		return
	}
	if p.Dirty == 0 && p.Disks.Blocks > 0 {
		r.line(fmt.Sprintf("round %d", p.Number), "%s of disks  zero %d %%  %s in %s  written %s/s", bytesSent(p.Disks.Raw), percent(p.Disks.Zero, p.Disks.Blocks),
			bytesSent(p.Disks.Wire), seconds(p.Took), bytesSent(uint64(p.Rate)))
		return
	}
	r.first = max(r.first, uint64(p.Dirty))
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %s %9s pages", fmt.Sprintf("round %d", p.Number), bar(uint64(p.Dirty), uint64(p.Dirty), r.first), count(uint64(p.Dirty)))
	for k := range p.Kinds {
		if n := p.Kinds[k].Pages; n > 0 && migrate.Kind(k) != migrate.Raw {
			fmt.Fprintf(&b, "  %s %d %%", migrate.Kind(k), percent(n, uint64(p.Dirty)))
		}
	}
	fmt.Fprintf(&b, "  %s in %s  dirty %s/s", bytesSent(p.Sent), seconds(p.Took), bytesSent(uint64(p.Rate)))
	if p.Slowdown > 0.005 {
		fmt.Fprintf(&b, "  slowed %.0f %%", 100*p.Slowdown)
	}
	r.held = b.String()
}

// verdict tells what is to be expected: in full where it is news.
func (r *Rounds) verdict(v *migrate.Verdict, round uint32) {
	r.checked()
	news := v.Answer != r.answer
	r.answer = v.Answer
	if r.held != "" { // it completes the round's line
		switch v.Answer {
		case migrate.Hopeless:
			r.held += fmt.Sprintf("  downtime would be %s", seconds(v.Downtime))
		default:
			r.held += fmt.Sprintf("  downtime %s", seconds(v.Downtime))
		}
		r.clear()
	}
	if !news && round > 0 {
		return
	}
	switch v.Answer {
	case migrate.Converges:
		r.line("verdict", "pre-copy converges: %s, %s, downtime %s of the %s asked for", rounds(v.Passes), seconds(v.Total), seconds(v.Downtime), seconds(v.Asked))
	case migrate.Unsure:
		r.line("verdict", "not sure yet: %s, %s, downtime %s of the %s asked for", rounds(v.Passes), seconds(v.Total), seconds(v.Downtime), seconds(v.Asked))
	case migrate.Hopeless:
		r.line("verdict", "pre-copy alone will not converge: downtime never comes below %s, asked for is %s", seconds(v.Downtime), seconds(v.Asked))
	}
	r.line("", "the guest dirties %s/s, %s/s of it on the wire; the link carries %s/s", bytesSent(uint64(v.Dirtied)), bytesSent(uint64(v.Wire)), bytesSent(uint64(v.Speed)))
	if v.Disks > 0 {
		r.line("", "it writes to disks that travel: blocks of %s/s", bytesSent(uint64(v.Disks)))
	}
	if v.Answer == migrate.Hopeless {
		r.line("", "%s", needs(v))
	}
	r.writers(v)
}

// needs says what would make it converge.
func needs(v *migrate.Verdict) string {
	s := "it would take  --max-downtime " + seconds(v.Downtime*11/10)
	s = strings.ReplaceAll(s, " ms", "ms")
	if v.Downtime >= time.Second {
		s = strings.TrimSuffix(s, " s") + "s"
	}
	if v.NeedBPS > 0 {
		s += fmt.Sprintf(", or a link of %s/s", bytesSent(uint64(v.NeedBPS)))
	}
	if v.NeedRate > 0 {
		s += fmt.Sprintf(", or a writer slowed down to %.2g %%", 100*v.NeedRate)
	}
	return s
}

// topWriters is how many writers are named.
const topWriters = 3

func (r *Rounds) writers(v *migrate.Verdict) {
	var all uint64
	for _, w := range v.Writers {
		all += w.Pages
	}
	if v.Answer == migrate.Converges || all == 0 {
		return
	}
	for i, w := range v.Writers[:min(len(v.Writers), topWriters)] {
		if percent(w.Pages, all) == 0 {
			break
		}
		label := ""
		if i == 0 {
			label = "writes"
		}
		r.line(label, "%3d %%  %s", percent(w.Pages, all), WriterText(w))
	}
}

// WriterText names who dirties pages.
func WriterText(w migrate.Writer) string {
	if w.Device != "" {
		return w.Device + " by DMA"
	}
	s := fmt.Sprintf("cpu%d, ring %d, at 0x%x", w.VCPU, w.CPL, w.RIP)
	if w.Symbol != "" {
		s += " " + w.Symbol
	}
	return s
}

// Report tells how a migration went that came to its end.
func (r *Rounds) Report(p *migrate.Report) {
	d := &p.Downtime
	var parts []string
	for _, x := range []struct {
		name string
		t    time.Duration
	}{{"stop", d.Stop}, {"last pages", d.Pages}, {"devices", d.Devices}, {"load", d.Load}, {"commit", d.Commit}, {"first instruction", d.Activate}} {
		if x.t > 0 {
			parts = append(parts, x.name+" "+seconds(x.t))
		}
	}
	line := fmt.Sprintf("downtime %s: %s", seconds(d.Total), strings.Join(parts, " · "))
	if p.Predicted > 0 {
		line += fmt.Sprintf("  (predicted %s)", seconds(p.Predicted))
	}
	r.line("paused", "%s", line)
	switch {
	case d.Fence > 0:
		r.line("", "and %s for the durable record of the new owner", seconds(d.Fence))
	case p.Unfenced:
		r.line("", "unfenced: nothing durable records the new owner")
	}
	if p.Faults > 0 {
		waits := "" // that the other side knows
		if p.FaultWait > 0 {
			waits = fmt.Sprintf(", %s on average, %s at most", seconds(p.FaultWait/time.Duration(p.Faults)), seconds(p.FaultMax))
		}
		r.line("faults", "%s pages were asked for%s", count(p.Faults), waits)
	}
	if p.Slowdown > 0.005 {
		r.line("slowed", "the budget held the guest up %.0f %% of the time, %s together", 100*p.Slowdown, seconds(p.Stalled))
	}
	if p.Disks.Blocks > 0 {
		r.line("disks", "%s travelled, %s on the wire", bytesSent(p.Disks.Raw), bytesSent(p.Disks.Wire))
	}
	r.line("done", "%s by %s, %s on the wire for %s of memory", seconds(p.Total), title(p.Chosen), bytesSent(p.Sent+p.Received), SizeText(uint64(p.Pages)*migrate.PageSize))
}

// End takes the line of progress away.
func (r *Rounds) End() { r.clear() }

func rounds(n int) string {
	if n == 1 {
		return "1 more round"
	}
	return fmt.Sprintf("%d more rounds", n)
}

func percent(n, of uint64) uint64 { return (100*n + of/2) / max(of, 1) }

// count writes a number with separators: 131,072.
func count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesSent writes bytes as links are measured: 182 MB.
func bytesSent(n uint64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 999.5 {
			break
		}
		f, unit = f/1000, u
	}
	return fmt.Sprintf("%s %s", three(f), unit)
}

// seconds writes a duration with the digits that matter: 21.3 ms.
func seconds(d time.Duration) string {
	f, unit := float64(d)/1e9, "s"
	switch {
	case d >= 999500*time.Microsecond:
	case d >= 999500*time.Nanosecond:
		f, unit = f*1e3, "ms"
	default:
		f, unit = f*1e6, "µs"
	}
	return fmt.Sprintf("%s %s", three(f), unit)
}

// three writes a number with up to three digits.
func three(f float64) string {
	switch {
	case f == 0 || f >= 99.95:
		return fmt.Sprintf("%.0f", f)
	case f >= 9.995:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
	}
	return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", f), "0"), ".0")
}

// title is a strategy's name for people.
func title(m migrate.Mode) string {
	switch m {
	case migrate.ModeStop:
		return "stop-and-copy"
	case migrate.ModePre:
		return "pre-copy"
	case migrate.ModePost:
		return "post-copy"
	}
	return string(m)
}
