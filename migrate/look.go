package migrate

import (
	"fmt"
	"time"

	"godwit/snapshot"
)

// linkStats is what is known of the connection.
type linkStats struct {
	cap     float64       // bytes a second allowed; 0: any
	free    time.Duration // when the next bytes may go, under cap
	rtt     time.Duration // the least seen
	speed   float64       // wire bytes a second, smoothed
	blocked float64       // seconds that writing a byte blocks, smoothed: what the connection takes however slowly it is fed
}

// spend holds the next bytes back as long as cap wants.
func (l *linkStats) spend(now time.Duration, n int) {
	if l.cap > 0 {
		l.free = max(l.free, now-10*time.Millisecond) + seconds(float64(n)/l.cap)
	}
}

func (l *linkStats) wrote(n int, took time.Duration) {
	l.blocked += 0.2 * (took.Seconds()/float64(n) - l.blocked)
}

// measured notes bytes that arrived within a time that includes one round trip.
func (l *linkStats) measured(n uint64, took time.Duration) {
	net := took - l.rtt
	if n < 16<<10 || net <= 0 || net < l.rtt/4 {
		return // mostly round trip
	}
	v := float64(n) / net.Seconds()
	if l.speed == 0 {
		l.speed = v
	}
	l.speed += 0.5 * (v - l.speed)
}

// carries is the speed to count with.
func (l *linkStats) carries() float64 {
	v := l.speed
	if v == 0 {
		v = 100 << 20
	}
	if l.cap > 0 {
		v = min(v, l.cap)
	}
	return v
}

// codecSpeed is what the connection takes however slowly we fill it.
func (l *linkStats) codecSpeed() float64 {
	v := l.speed
	if l.blocked > 0 {
		v = max(v, 1/l.blocked)
	}
	if l.cap > 0 {
		v = min(v, l.cap)
	}
	return v
}

// chunk bounds a batch, in bytes, to about 50 ms of the connection.
func (l *linkStats) chunk() int { return int(min(l.carries()/20, maxBatchBytes)) }

// Bounds of looking.
const (
	probePings = 3                     // round trips measured
	probeFirst = 32 << 10              // bytes
	probeMost  = 1 << 20               // and no larger one follows
	probeLong  = 20 * time.Millisecond // a probe that took so long will do
	surveyMost = 1 << 20               // pages; a larger guest is not surveyed
	surveyStep = 2048                  // pages at a time
	sampleMost = 512                   // pages whose cost is tried out
)

// survey looks at the connection and the guest before the first page is sent:
// round trip and speed, how fast which pages are dirtied, what pages cost.
type survey struct {
	sent    time.Duration // when the probe left
	size    int
	left    int // bytes of it not acknowledged
	probing bool
	pings   int
	since   time.Duration // of tracking
	pass    Pass          // being read; nil: not, or done
	at      uint32
	sample  bitmap
}

// begin starts to look, anew where the connection was lost meanwhile. Once a
// strategy was chosen there is nothing to look for.
func (l *survey) begin(s *Source) error {
	if s.settled {
		s.reserve()
		return nil
	}
	*l = survey{}
	l.probe(s, 0)
	if s.o.Observe < 0 || s.mode == ModeStop && !s.o.CheckOnly {
		return nil
	}
	if err := s.g.Track(); err != nil {
		return err
	}
	p, err := s.g.Pass()
	if err != nil {
		return err
	}
	l.since = s.host.Now()
	n := p.Info().Dirty
	s.report.Present, s.cost.present = n, n
	if n > surveyMost {
		return s.g.Track() // and keeps no epoch
	}
	l.pass, l.sample = p, sampled(p.Dirty(), n)
	return nil
}

// sampled picks some of the pages evenly.
func sampled(dirty bitmap, n uint32) bitmap {
	out := make(bitmap, len(dirty))
	step, i := max(1, n/sampleMost), uint32(0)
	for p, ok := dirty.next(0); ok; p, ok = dirty.next(p + 1) {
		if i%step == 0 {
			out.set(p)
		}
		i++
	}
	return out
}

// probe sends bytes to be acknowledged.
func (l *survey) probe(s *Source, size int) {
	l.sent, l.size, l.left, l.probing = s.host.Now(), size, size, true
	pad := make([]byte, min(size, maxBatchBytes))
	for n := size; ; n -= len(pad) {
		s.ctl.put(frProbe, 0, pad[:min(n, len(pad))])
		if n <= len(pad) {
			break
		}
	}
}

// probed hears that a probe arrived.
func (s *Source) probed(m *probed) error {
	l := &s.look
	if !l.probing || int(m.Bytes) > l.left {
		return errorf(Protocol, "PROBED acknowledges %d bytes of %d", m.Bytes, l.left)
	}
	if l.left -= int(m.Bytes); l.left > 0 {
		return nil
	}
	took := max(s.host.Now()-l.sent, 1)
	next := 0
	switch {
	case l.size == 0:
		if s.link.rtt == 0 || took < s.link.rtt {
			s.link.rtt = took
		}
		if l.pings++; l.pings < probePings {
			l.probe(s, 0)
			return nil
		}
		next = probeFirst
	default:
		if net := took - s.link.rtt; net > 0 {
			s.link.speed = float64(l.size) / net.Seconds()
		}
		if took < s.link.rtt+probeLong && l.size < probeMost {
			next = 4 * l.size
		}
	}
	if s.link.cap > 0 && float64(next) > s.link.cap/4 {
		next = 0
	}
	if l.probing = next > 0; l.probing {
		l.probe(s, next)
	}
	return l.step(s)
}

func (l *survey) wake(s *Source) time.Duration {
	switch {
	case l.pass != nil && !l.probing:
		return s.host.Now()
	case l.probing || s.ctl == nil || !s.ctl.peer:
		return -1
	}
	return l.since + s.o.Observe
}

// step goes on looking, and ends it.
func (l *survey) step(s *Source) error {
	if l.pass != nil && !l.probing { // one after the other, or the one falsifies the other
		l.read(s)
	}
	watching := l.since != 0
	if l.pass != nil || l.probing || watching && s.host.Now() < l.since+s.o.Observe {
		return nil
	}
	if c := s.pager.codec; c != nil {
		c.speed = s.link.codecSpeed()
	}
	if watching {
		if err := l.conclude(s); err != nil {
			s.fail(err)
			return nil
		}
	}
	if s.o.CheckOnly {
		s.g.Resume()
		s.ctl.say(frDone, &empty{})
		s.end(nil)
		return nil
	}
	if err := s.choose(); err != nil {
		s.fail(err)
		return nil
	}
	s.settled = true
	s.reserve()
	return nil
}

// read goes through some pages of the first epoch: a few are tried out, the rest
// only hashed, so that none of them has to be kept.
func (l *survey) read(s *Source) {
	var b [PageSize]byte
	dirty := bitmap(l.pass.Dirty())
	for range surveyStep {
		p, ok := dirty.next(l.at)
		if !ok {
			s.cost.first = s.tryOut(l.pass, l.sample)
			l.pass = nil
			return
		}
		l.at = p + 1
		if !l.sample.has(p) {
			l.pass.Read(p, &b)
			l.pass.Sent(p, snapshot.LeafOf(&b))
		}
	}
}

// tryOut encodes pages for nothing and returns what one costs, in wire bytes; 0
// without pages.
func (s *Source) tryOut(p Pass, pages bitmap) float64 {
	g := &s.pager
	g.begin(p, 0, nil)
	g.dirty = pages
	for g.next(0, maxBatchBytes) != nil {
	}
	cost := 0.0
	if g.pages > 0 {
		cost = float64(g.sent) / float64(g.pages)
	}
	return cost
}

// conclude ends the watch with a verdict.
func (l *survey) conclude(s *Source) error {
	curve, writers := s.g.Curve(), s.g.Writers(topWriters)
	began := s.host.Now()
	p, err := s.g.Pass()
	if err != nil {
		return err
	}
	info := p.Info()
	s.cost.harvested(info, s.host.Now()-began)
	s.cost.free = curve
	if s.cost.first > 0 {
		s.cost.again = nil
		if c := s.tryOut(p, sampled(p.Dirty(), info.Dirty)); c > 0 {
			s.cost.again.add(pageCost{c, info.Ran, float64(info.Dirty)})
		}
	}
	s.verdict(curve, float64(s.cost.present), writers)
	return nil
}

const topWriters = 5

// choose settles on a strategy before the first page.
func (s *Source) choose() error {
	v := s.cost.verdict
	s.report.Chosen = s.mode
	if s.mode != ModeAuto {
		return nil
	}
	if s.mode = ModePre; s.wish != "" {
		s.heed(s.wish)
		return nil
	}
	why := "pre-copy, watching how it goes"
	switch {
	case v == nil:
	case v.Answer == Converges:
		why = fmt.Sprintf("pre-copy converges: predicted downtime %v in %v", round(v.Downtime), round(v.Total))
	case v.Answer == Hopeless:
		return s.rescue("before the first page: " + hopeless(v))
	}
	s.switched(ModePre, why)
	return nil
}

// switched tells which strategy it is from now on.
func (s *Source) switched(m Mode, why string) {
	s.mode, s.report.Chosen, s.report.Why = m, m, why
	s.emit(Event{What: EventSwitch, Mode: m, Reason: why})
}

// rescue does what was asked for where pre-copy alone does not end.
func (s *Source) rescue(why string) error {
	switch s.o.OnStall {
	case StallBudget:
		s.budgeted = true
		s.switched(ModePre, why+"; the guest is held to a budget of pages")
	case StallPost:
		s.switched(ModeHybrid, why+"; the rest follows once the guest runs there")
	case StallStop:
		s.switched(ModeStop, why+"; the guest is stopped")
	default:
		return &Error{Code: Stalled, Text: why, Verdict: s.cost.verdict}
	}
	return nil
}

func hopeless(v *Verdict) string {
	if v.Floor > v.Asked {
		return fmt.Sprintf("pre-copy cannot reach a downtime of %v: round trips and devices alone take %v", v.Asked, round(v.Floor))
	}
	s := fmt.Sprintf("pre-copy does not converge: it gets down to %v, asked is %v", round(v.Downtime), v.Asked)
	if v.NeedBPS > 0 {
		s += fmt.Sprintf("; it would with %.0f MB/s instead of %.0f", v.NeedBPS/1e6, v.Speed/1e6)
	}
	if v.NeedRate > 0 {
		s += fmt.Sprintf(", or with the guest writing at %.0f %% of its rate", 100*v.NeedRate)
	}
	return s
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Second:
		return d.Round(time.Second)
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
