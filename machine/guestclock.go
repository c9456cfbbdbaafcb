package machine

import (
	"fmt"

	"godwit/devices"
	"godwit/snapshot"
)

// ClockPolicy says what becomes of the guest's clock when the guest stood still.
type ClockPolicy string

// Policies.
const (
	ClockFreeze ClockPolicy = "freeze" // goes on where it stood: for the guest no time has passed
	ClockJump   ClockPolicy = "jump"   // shows at once what it would show
	ClockSlew   ClockPolicy = "slew"   // runs faster until it shows what it would show
)

// ParseClockPolicy reads a ClockPolicy.
func ParseClockPolicy(s string) (ClockPolicy, error) {
	switch p := ClockPolicy(s); p {
	case ClockFreeze, ClockJump, ClockSlew:
		return p, nil
	}
	return "", fmt.Errorf("guest clock %q is unknown, want freeze, jump or slew", s)
}

// slewPercent is by how much a clock that catches up runs faster.
const slewPercent = 5

// CatchUp does to the guest's clock what a policy says about gap nanoseconds that
// it stood still. It is an input, and guest time never goes back. A machine in
// wall-clock time that slews is its host's to slew: see Lag. The guest is told by its
// VMClock that what it knows of its counter is void, except in virtual time where
// nothing is caught up: there is no other time then than the guest's, which went on.
func (m *Machine) CatchUp(p ClockPolicy, gap int64) {
	still := gap <= 0 || p == ClockFreeze || p == ""
	if m.cfg.Clock == ClockWall || !still {
		m.Input(InputDisrupt, nil)
	}
	switch {
	case still:
	case p == ClockJump:
		m.Wall(m.Now() + devices.Nanos(min(gap, maxGap)))
	case m.cfg.Clock == ClockWall:
		m.lag += devices.Nanos(min(gap, maxGap))
	default:
		m.slew(uint64(min(gap, maxGap)))
	}
}

// maxGap bounds what is caught up: a hundred years.
const maxGap = 100 * 365 * 86400 * 1e9

// slew sets a faster rate, and postpones the event that sets the present one again.
func (m *Machine) slew(gap uint64) {
	num, den := uint64(m.st.Clock.Num)*(100+slewPercent), uint64(m.st.Clock.Den)*100
	for a, b := num, den; ; a, b = b, a%b {
		if b == 0 {
			num, den = num/a, den/a
			break
		}
	}
	for ; num > maxRate || den > maxRate; num, den = num/2, den/2 {
		if den < 2 {
			return // a rate that cannot be told; the clock stays behind
		}
	}
	gained := Segment{Num: m.st.Clock.Num * slewPercent, Den: m.st.Clock.Den * 100}
	end := m.count() + gained.count(devices.Nanos(gap))
	in := Input{Count: end, Kind: InputWall, Num: m.st.Clock.Num, Den: m.st.Clock.Den}
	m.SetRate(uint32(num), uint32(den))
	if end > m.count() {
		m.postpone(in)
	}
}

// Lag is how far a wall-clock guest's time is to be behind what its host would
// make it, to be caught up by and by; asking takes it.
func (m *Machine) Lag() devices.Nanos {
	l := m.lag
	m.lag = 0
	return l
}

// clocks are two clocks read at once, of a machine in wall-clock time. They travel
// with it and are no part of it.
type clocks struct {
	Wall  int64 `cbor:"1,keyasint"` // the host's, in Unix nanoseconds
	Guest int64 `cbor:"2,keyasint"`
}

const secClocks = "clocks"

func (m *Machine) clocksAt(wall int64) snapshot.Section {
	return snapshot.Section{Name: secClocks, Version: 1, Data: must(encode(clocks{wall, int64(m.Now())}))}
}

// gap is how far the guest's clock is behind, by what a section says of it; 0
// without.
func (m *Machine) gap(secs []snapshot.Section, wall int64) int64 {
	var c clocks
	if m.cfg.Clock != ClockWall || section(secs, secClocks, "", &c) != nil || c.Wall > wall {
		return 0
	}
	return max(c.Guest, 0) + min(wall-max(c.Wall, 0), maxGap) - int64(m.Now())
}
