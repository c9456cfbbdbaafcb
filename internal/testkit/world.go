// Package testkit holds the doubles and suites that tests of several packages
// share: a world around one device, register scripts, the device conformance
// suite.
package testkit

import (
	"fmt"

	"godwit/devices"
)

// quantum is how far apart two steps of a World's time are: like a machine's
// instructions, it makes timers with shorter periods coalesce.
const quantum = 1000

// World is the machine around one device: its clock and event queue, its lines,
// and a log of all that it asked for.
type World struct {
	Dev devices.Device
	Log []string // calls, in order

	now    devices.Nanos
	due    [256]deadline
	levels []level
}

type deadline struct {
	at  devices.Nanos
	set bool
}

type level struct {
	name string
	high bool
}

// Now returns the world's time.
func (w *World) Now() devices.Nanos { return w.now }

// At plans an event.
func (w *World) At(t devices.Nanos, ev devices.EventID) {
	w.Logf("at %d %d", ev, t)
	w.due[ev] = deadline{t, true}
}

// Never withdraws an event.
func (w *World) Never(ev devices.EventID) {
	if w.due[ev].set { // withdrawing nothing is no call worth telling
		w.Logf("never %d", ev)
	}
	w.due[ev] = deadline{}
}

// Due returns an event's deadline, and whether there is one.
func (w *World) Due(ev devices.EventID) (devices.Nanos, bool) {
	return w.due[ev].at, w.due[ev].set
}

// Logf notes a call that the device made.
func (w *World) Logf(format string, args ...any) {
	w.Log = append(w.Log, fmt.Sprintf(format, args...))
}

// Take returns the log and empties it.
func (w *World) Take() []string {
	log := w.Log
	w.Log = nil
	return log
}

// Advance lets d pass and fires the events that come due, in order of time and
// then of number.
func (w *World) Advance(d devices.Nanos) {
	end := w.now + d
	for {
		ev, ok := w.next(end)
		if !ok {
			break
		}
		at := w.due[ev].at
		w.due[ev] = deadline{}
		if at > w.now {
			w.now = min(max(at, w.now+quantum), end)
		}
		w.Dev.Event(devices.EventID(ev))
	}
	w.now = end
}

// Skip lets d pass in one jump: events fire once, all late.
func (w *World) Skip(d devices.Nanos) {
	w.now += d
	w.Advance(0)
}

// next is the first event due at or before end.
func (w *World) next(end devices.Nanos) (int, bool) {
	best := -1
	for i, d := range w.due {
		if d.set && d.at <= end && (best < 0 || d.at < w.due[best].at) {
			best = i
		}
	}
	return best, best >= 0
}

// Line returns the named line; its changes are logged.
func (w *World) Line(name string) devices.Line {
	for i := range w.levels {
		if w.levels[i].name == name {
			return line{w, i}
		}
	}
	w.levels = append(w.levels, level{name: name})
	return line{w, len(w.levels) - 1}
}

// Level returns the level of the named line.
func (w *World) Level(name string) bool {
	for _, l := range w.levels {
		if l.name == name {
			return l.high
		}
	}
	panic("testkit: no line " + name)
}

type line struct {
	w *World
	i int
}

// Set logs changes only: repeating a level is no event on a wire.
func (l line) Set(high bool) {
	lv := &l.w.levels[l.i]
	if lv.high != high {
		lv.high = high
		l.w.Logf("%s=%t", lv.name, high)
	}
}

// follow takes over another world's time, deadlines and levels, as a restored
// machine does.
func (w *World) follow(from *World) {
	w.now, w.due = from.now, from.due
	w.levels = append([]level(nil), from.levels...)
}
