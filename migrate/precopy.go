package migrate

import (
	"fmt"
	"time"
)

// interval is the time between two harvests.
type interval struct {
	began   time.Duration
	info    PassInfo
	harvest time.Duration
	budget  int
	stats   *PassStats // complete but for what the next harvest tells
}

// margin is kept between a predicted downtime and the one asked for.
const margin = 1.1

// allowed is the downtime to aim for: what was asked, or where no strategy gets
// there, somewhat more than what is possible.
func (s *Source) allowed() time.Duration {
	return max(s.o.MaxDowntime, s.floor()*3/2)
}

func (s *Source) fits(d time.Duration) bool {
	return float64(d)*margin <= float64(s.allowed())
}

// room is how many pages may be left for the stop.
func (s *Source) room(ran time.Duration, left float64) int {
	d := float64(s.allowed())/margin*0.95 - float64(s.floor()+s.diskTime(s.disks.dirty()))
	return max(int(d/1e9*s.link.carries()/s.costOf(ran, left)), 8)
}

// verdict predicts how pre-copy goes on if the next pass sends so many pages.
func (s *Source) verdict(c Curve, first float64, writers []Writer) *Verdict {
	m := model{
		pages: s.pages, curve: c, first: first, cost: s.costOf,
		speed: s.link.carries(), floor: s.floor(), pass: s.link.rtt + s.cost.harvest, asked: s.o.MaxDowntime,
		disk: s.disks.wireRate(),
	}
	m.firstCost = s.costOf(c.end().T, first)
	if s.number == 0 && s.cost.first > 0 {
		m.firstCost = s.cost.first
	}
	m.sure = s.cost.again.known()
	v := m.verdict()
	v.Writers, v.Disks = writers, s.disks.rate
	s.cost.verdict = v
	s.emit(Event{What: EventVerdict, Round: s.number, Verdict: v})
	return v
}

// startPass harvests and begins to send.
func (s *Source) startPass() error {
	now := s.host.Now()
	p, err := s.g.Pass()
	if err != nil {
		return &Error{Code: Failed, Text: "harvest the guest's pages", Err: err}
	}
	info := p.Info()
	took := s.host.Now() - now
	s.endInterval(info)
	s.disks.harvest(s.host.Now())
	s.cost.harvested(info, took)
	if s.number++; info.Number <= 1 {
		s.report.Present, s.cost.present = info.Dirty, info.Dirty
	}
	s.in = interval{began: now, info: info, harvest: took, budget: s.budget}
	s.pager.begin(p, s.number, s.have)
	s.images.begin(s.mode != ModePost)
	if info.Number <= 1 {
		s.pager.codec.value(bytePrice)
	}
	s.have = nil
	s.ctl.say(frPassBegin, &passMark{Pass: s.number})
	s.ph = phPass
	s.enter(StagePreCopy)
	return nil
}

// pullPass returns the next batch, or ends the pass.
func (s *Source) pullPass(c *Conn) []byte {
	if s.disks.bulk || s.ph == phFinal { // then pages can refer to them
		if b := s.pullBlocks(c); b != nil || s.over {
			return b
		}
	}
	if s.disks.bulk {
		c.say(frPassEnd, &passMark{Pass: s.number})
		s.ph = phPassed
		return nil
	}
	if s.out.on && s.ph == phFinal && s.fin.repairs == 0 {
		s.pullAbsent(c)
		return nil
	}
	if s.mode == ModePost {
		s.pullPromise(c)
		return nil
	}
	if b := s.pager.next(c.seq, s.link.chunk()); b != nil {
		c.seq++
		s.advance(s.number, uint64(s.pager.pages), uint64(s.in.info.Dirty))
		return b
	}
	if b := s.pullBlocks(c); b != nil || s.over {
		return b
	}
	c.say(frPassEnd, &passMark{Pass: s.number, Pages: s.pager.pages})
	if s.ph == phFinal {
		s.lastPage(c)
	} else {
		s.ph = phPassed
	}
	return nil
}

// passed measures a pass that has arrived, and decides what is next.
func (s *Source) passed(m *passMark) error {
	if m.Pass != s.number {
		return errorf(Protocol, "PASSED names pass %d, not %d", m.Pass, s.number)
	}
	took := s.host.Now() - s.in.began
	s.link.rtt = min(s.link.rtt, took)
	s.disks.arrived()
	s.confirmed()
	if s.disks.bulk {
		return s.passedBulk(took)
	}
	s.link.measured(s.pager.sent+s.disks.stats.Wire, took-s.in.harvest)
	g := &s.pager
	st := PassStats{
		Number: s.number, Dirty: s.in.info.Dirty, New: s.in.info.New, Kinds: g.table, Sent: g.sent + s.disks.stats.Wire, Took: took, Disks: s.disks.stats,
		Speed: s.link.carries(), Budget: s.in.budget, Codec: g.codec.most(), Harvest: s.in.harvest,
	}
	if g.sent > 0 {
		st.Ratio = float64(g.pages) * PageSize / float64(g.sent)
	}
	s.in.stats = &st
	s.count(&s.pager, &KindTable{})
	if g.pages > 0 {
		cost := float64(g.sent) / float64(g.pages)
		if s.in.info.Number <= 1 {
			s.cost.first = cost
		} else {
			s.cost.again.add(pageCost{cost, s.in.info.Ran, float64(g.pages)})
		}
	}
	return s.decide()
}

// endInterval completes the figures of the pass before with what its end tells.
func (s *Source) endInterval(next PassInfo) {
	st := s.in.stats
	if st == nil {
		return
	}
	st.Dirtied, st.Stalled = next.Dirty, next.Stalled
	if next.Ran > 0 {
		st.Rate = float64(next.Dirty) * PageSize / next.Ran.Seconds()
	}
	if next.Since > 0 {
		st.Slowdown = float64(next.Stalled) / float64(next.Since)
	}
	s.report.Stalled += next.Stalled
	if s.budgeted {
		s.cost.held += next.Since
		s.report.Slowdown = float64(s.report.Stalled) / float64(max(s.cost.held, 1))
	}
	s.report.Passes = append(s.report.Passes, *st)
	s.emit(Event{What: EventPass, Round: st.Number, Pass: st})
	s.in.stats = nil
}

// decide is called at the end of each pass: stop now, go on, or something else.
func (s *Source) decide() error {
	if s.mode == ModePost || s.mode == ModeHybrid {
		return s.toPost()
	}
	curve := s.g.Curve()
	ran, left := curve.end().T, float64(curve.end().Pages)
	if !s.budgeted {
		s.cost.free = curve
	}
	s.learn(s.g.Changes(changesMost), ran, left)
	est := s.downtime(ran, left) + s.diskTime(s.disks.dirty())
	v := s.verdict(curve, left, s.g.Writers(topWriters))
	stalled := s.stall.sample(s.host.Now(), left*s.costOf(ran, left)+s.disks.cost(s.disks.dirty()))
	switch {
	case s.mode == ModeStop || s.fits(est) && (est <= s.o.MaxDowntime || s.budgeted || s.o.OnStall != StallCancel):
		return s.stop()
	case s.budgeted:
		return s.tighten(ran, left)
	case v.Answer == Hopeless && s.cost.again.known() && s.number > 1:
		return s.turn(hopeless(v), ran, left)
	case stalled:
		return s.turn(fmt.Sprintf("pre-copy has stalled: passes no longer shrink, a stop now would take %v", round(est)), ran, left)
	}
	return s.startPass()
}

// turn leaves plain pre-copy.
func (s *Source) turn(why string, ran time.Duration, left float64) error {
	if err := s.rescue(why); err != nil {
		return err
	}
	switch {
	case s.budgeted:
		return s.tighten(ran, left)
	case s.mode == ModeStop:
		return s.stop()
	}
	return s.toPost()
}

// shrink is the share of one budget that the next one is.
const shrink = 0.5

// tighten bounds the pages that the next pass may leave: half as many as the one
// before, but no fewer than may be left for the stop, nor so few that the guest
// would be held up longer than allowed.
func (s *Source) tighten(ran time.Duration, left float64) error {
	t := s.link.rtt + seconds(left*s.costOf(ran, left)/s.link.carries())
	helps, err := s.tightenDisks(t + s.diskTime(s.disks.dirty()))
	if err != nil {
		return err
	}
	before := float64(s.budget)
	if s.budget < 0 {
		before = max(left, 2)
	}
	b := max(before*shrink, float64(s.room(ran, left)))
	if s.o.MaxSlowdown > 0 {
		m := model{pages: s.pages, curve: s.cost.free}
		b = max(b, m.dirtied(time.Duration((1-s.o.MaxSlowdown)*float64(t)), false))
	}
	if s.blocked++; b < 0.97*left || helps {
		s.blocked = 0
	}
	if s.blocked >= 3 {
		why := fmt.Sprintf("a budget does not get below %d pages", int(left))
		if s.o.MaxSlowdown > 0 {
			why = fmt.Sprintf("a budget that slows the guest by at most %.0f %% does not get below %d pages", 100*s.o.MaxSlowdown, int(left))
		}
		if s.o.Mode != ModeAuto {
			return &Error{Code: Stalled, Text: why, Verdict: s.cost.verdict}
		}
		s.budgeted, s.budget = false, -1
		s.g.Budget(-1)
		s.switched(ModeHybrid, why+"; the rest follows once the guest runs there")
		return s.toPost()
	}
	s.hold(int(b), s.number+1)
	return s.startPass()
}
