package sim

import (
	"time"

	"godwit/migrate"
)

// Clock is a host's time, which is virtual.
type Clock interface {
	Now() time.Duration
	// Idle spends time at work.
	Idle(d time.Duration)
}

// Origin is a guest at the source. It runs as its clock goes on: before anything is
// done to it, it has got to now.
type Origin interface {
	migrate.Guest
	Running() bool
	// Left is when it stopped.
	Left() time.Duration
	// Clean tells whether nothing of a migration is left.
	Clean() bool
	// Die ends it with its host.
	Die()
}

// Target makes a machine at the destination and runs it there.
type Target interface {
	migrate.Builder
	Running() bool
	// Pulls tells whether the guest runs here and pages had to follow.
	Pulls() bool
	// Moved is when the guest started here, 0 for never, and how long it has waited
	// for pages.
	Moved() (at, waited time.Duration)
	// Stop ends the guest that runs here, for good.
	Stop()
}

// Bodies is what a run moves.
type Bodies struct {
	Origin Origin
	Target Target
	// Same fails if what runs at the end is not what never moved, and says in the
	// result what that is.
	Same func(*Result) error
}
