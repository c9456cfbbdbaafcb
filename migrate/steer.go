package migrate

import "fmt"

// Steer is what a person asks of a migration that is under way.
type Steer string

// Steers.
const (
	SteerBudget Steer = "budget" // hold the guest to a budget of pages, from now on
	SteerPost   Steer = "post"   // go on as post-copy once this round has arrived
)

// ParseSteer reads a Steer.
func ParseSteer(s string) (Steer, error) {
	switch w := Steer(s); w {
	case SteerBudget, SteerPost:
		return w, nil
	}
	return "", fmt.Errorf("a migration is not steered to %q, want budget or post", s)
}

// Steer changes the strategy while the guest runs here. What comes too late, or is
// so already, changes nothing and is told in a warning.
func (s *Source) Steer(w Steer) {
	no := func(format string, a ...any) {
		s.emit(Event{What: EventWarning, Reason: fmt.Sprintf(format, a...)})
	}
	switch {
	case s.over:
	case s.out.running:
		no("too late to change the strategy: the guest runs on the other side")
	case s.ph >= phFinal:
		no("too late to change the strategy: the guest is being handed over")
	case s.mode == ModeStop:
		no("there is nothing to change: the guest will stand still from the first page on")
	case s.mode == ModePost || s.mode == ModeHybrid:
		no("it is post-copy already: the guest goes there when this round has arrived")
	case s.budgeted && w == SteerBudget:
		no("the guest is held to a budget already, which is halved every round")
	case s.mode == ModeAuto:
		s.wish = w // what it chooses is this
	default:
		s.heed(w)
	}
}

// heed does what was asked for.
func (s *Source) heed(w Steer) {
	if w == SteerPost {
		s.budgeted, s.budget = false, -1
		s.g.Budget(-1) // a store that waits would wait for a round that does not come
		s.switched(ModeHybrid, "asked for; the rest follows once the guest runs there")
		return
	}
	s.budgeted = true
	s.switched(ModePre, "asked for; the guest is held to a budget of pages")
	if s.ph != phPass && s.ph != phPassed || s.disks.bulk {
		return // the first round's end sets one
	}
	// Half of what this round sends, unless more is dirty already.
	s.cost.free = s.g.Curve()
	at := s.cost.free.end()
	ran, left := at.T, float64(at.Pages)
	s.hold(int(max(shrink*float64(s.in.info.Dirty), left, float64(s.room(ran, left)))), s.number)
	s.in.budget = s.budget
}

// hold bounds the pages of a round, and of those that follow.
func (s *Source) hold(pages int, round uint32) {
	s.budget = pages
	if n := uint32(pages); s.report.Budget == 0 || n < s.report.Budget {
		s.report.Budget = n
	}
	s.g.Budget(pages)
	s.emit(Event{What: EventBudget, Round: round, Budget: uint32(pages)})
}
