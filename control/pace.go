package control

import (
	"time"

	"godwit/devices"
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
}

func (p *pace) stop() { p.running = false }

// now is what guest time should be.
func (p *pace) now(guest devices.Nanos) devices.Nanos {
	if !p.running {
		p.running, p.host, p.guest = true, time.Now(), guest
	}
	return p.guest + devices.Nanos(time.Since(p.host))
}

// ahead is how far guest time is before the host's; negative when it lags.
func (p *pace) ahead(guest devices.Nanos) time.Duration {
	return time.Duration(guest - p.now(guest))
}
