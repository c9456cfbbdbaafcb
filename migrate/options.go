package migrate

import (
	"fmt"
	"time"

	"godwit/snapshot"
)

// Mode is a strategy.
type Mode string

// Modes.
const (
	ModeAuto   Mode = "auto"   // predicts, chooses and says why
	ModeStop   Mode = "stop"   // stop-and-copy
	ModePre    Mode = "pre"    // pre-copy
	ModePost   Mode = "post"   // post-copy
	ModeHybrid Mode = "hybrid" // one pass of pre-copy, then post-copy
)

// ParseMode reads a Mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeAuto, ModeStop, ModePre, ModePost, ModeHybrid:
		return m, nil
	}
	return "", fmt.Errorf("mode %q is unknown, want auto, stop, pre, post or hybrid", s)
}

// Stall says what to do when pre-copy does not come to an end by itself.
type Stall string

// Stalls.
const (
	StallBudget Stall = "budget" // bound the pages the guest may dirty
	StallPost   Stall = "post"   // go on as post-copy
	StallStop   Stall = "stop"   // stop the guest however long the rest takes
	StallCancel Stall = "cancel" // give up; the guest runs on here
)

// ParseStall reads a Stall.
func ParseStall(s string) (Stall, error) {
	switch a := Stall(s); a {
	case StallBudget, StallPost, StallStop, StallCancel:
		return a, nil
	}
	return "", fmt.Errorf("on-stall %q is unknown, want budget, post, stop or cancel", s)
}

// Defaults of Options.
const (
	DefaultMaxDowntime = 300 * time.Millisecond
	DefaultObserve     = time.Second
	DefaultRecover     = 30 * time.Second
)

// Options of both sides. The zero value works.
type Options struct {
	// Of the source.
	Mode        Mode          // "": auto
	MaxDowntime time.Duration // 0: DefaultMaxDowntime
	MaxSlowdown float64       // share of the time that a budget, of memory or of disks, may hold up what the guest writes, 0 to 1; 0: no limit
	Bandwidth   float64       // bytes a second at most; 0: no limit
	Timeout     time.Duration // gives up before the guest is stopped; 0: never
	OnStall     Stall         // "": budget
	Observe     time.Duration // watches the guest so long before the first page; 0: DefaultObserve, negative: not at all
	CheckOnly   bool          // ends after the check (and Observe), with a Verdict event
	Codec       string        // "": chosen as it pays; or none, s2, zstd
	// Packed is told how many bytes a codec has worked on. Where the host's time is
	// virtual it spends what that takes, by which codecs are then chosen; else nil.
	Packed  func(codec string, bytes int)
	Session snapshot.UUID // names the attempt; that of an earlier one resumes it; zero: a random one
	Epoch   uint64        // of ownership now; the destination's is one more
	// Fence records durably who owns the machine from an epoch on: the other side
	// (away), before COMMIT; this side again, when the other side vowed that it
	// never will run it. nil: nothing is recorded and the report says so.
	Fence func(epoch uint64, away bool) error

	// Steer brings what a person asks for on the way; nil: nothing.
	Steer <-chan Steer

	// Of both.
	Recover time.Duration // how long a lost connection is retried or waited for; 0: DefaultRecover, negative: not at all
	Linger  time.Duration // destination: how long it answers a source that does not say it knows the end; 0: until cancelled
	Agent   string        // what this side calls itself, for people
	Event   func(Event)   // called from the engine's goroutine; must not block; may be nil
}

// Title is the strategy's name for people.
func (m Mode) Title() string {
	switch m {
	case ModeStop:
		return "stop-and-copy"
	case ModePre:
		return "pre-copy"
	case ModePost:
		return "post-copy"
	}
	return string(m)
}

// fill completes the options.
func (o *Options) fill() error {
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	if o.OnStall == "" {
		o.OnStall = StallBudget
	}
	if _, err := ParseMode(string(o.Mode)); err != nil {
		return err
	}
	if _, err := ParseStall(string(o.OnStall)); err != nil {
		return err
	}
	if o.MaxSlowdown < 0 || o.MaxSlowdown > 1 || o.Bandwidth < 0 {
		return fmt.Errorf("slowdown %v must be from 0 to 1, bandwidth %v not negative", o.MaxSlowdown, o.Bandwidth)
	}
	for _, d := range []struct{ have, want *time.Duration }{
		{&o.MaxDowntime, ptr(DefaultMaxDowntime)},
		{&o.Observe, ptr(DefaultObserve)},
		{&o.Recover, ptr(DefaultRecover)},
	} {
		if *d.have == 0 {
			*d.have = *d.want
		}
	}
	if o.Session == (snapshot.UUID{}) {
		o.Session = snapshot.NewUUID()
	}
	if o.Agent == "" {
		o.Agent = "godwit"
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
