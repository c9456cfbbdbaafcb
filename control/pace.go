package control

import (
	"time"

	"godwit/devices"
	"godwit/machine"
)

// How closely guest time follows the wall clock.
const (
	minSleep   = time.Millisecond      // shorter sleeps are not worth their wake-up
	maxLagTime = 10 * time.Millisecond // a guest that is later gets its clock moved
)

// pace ties guest time to the host's clock. While it is stopped, guest time
// stands still: a guest that was paused or moved has not aged.
type pace struct {
	running bool
	host    time.Time     // at this moment
	guest   devices.Nanos // guest time was this

	busy     bool      // the guest has not idled since the last poll
	polled   time.Time // when that was
	count    uint64    // and at which count
	perCount float64   // host nanoseconds, smoothed

	slew time.Duration // the guest's clock goes faster until this is made up for
}

func (p *pace) stop() {
	if p.running {
		p.slew -= p.slewed()
	}
	p.running, p.busy = false, false
}

// slewBy is how much faster a clock goes that catches up: one part in so many.
const slewBy = 20

// slewed is what a clock that goes faster has made up since it runs.
func (p *pace) slewed() time.Duration { return min(time.Since(p.host)/slewBy, p.slew) }

// rateDen is the denominator of the rates that pace asks for.
const rateDen = 16

// rate suggests how many nanoseconds of guest time a count should be, so that a
// busy guest's clock keeps up with the host's and does not make it wait: what a
// count takes the host. It is measured from one poll to the next without idling
// between; ok is false where the present rate of the machine is near enough.
func (p *pace) rate(m *machine.Machine) (n uint32, ok bool) {
	now, count := time.Now(), m.Count()
	num, den := m.Rate()
	was, at, busy := p.count, p.polled, p.busy
	p.count, p.polled, p.busy = count, now, true
	if !busy || count-was < 100_000 {
		return 0, false
	}
	ns := float64(now.Sub(at)) / float64(count-was)
	p.perCount += (ns - p.perCount) / 4
	n = uint32(min(max(p.perCount*rateDen, rateDen/2), 1000*rateDen))
	have := float64(num) / float64(den) * rateDen
	return n, float64(n) < have*3/4 || float64(n) > have*4/3
}

// now is what guest time should be.
func (p *pace) now(guest devices.Nanos) devices.Nanos {
	if !p.running {
		p.running, p.host, p.guest = true, time.Now(), guest
	}
	return p.guest + devices.Nanos(time.Since(p.host)+p.slewed())
}

// ahead is how far guest time is before the host's; negative when it lags.
func (p *pace) ahead(guest devices.Nanos) time.Duration {
	return time.Duration(guest - p.now(guest))
}
