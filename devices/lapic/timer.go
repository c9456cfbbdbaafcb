package lapic

import "godwit/devices"

// evTimer is the timer's next expiry.
const evTimer devices.EventID = 0

// The timer's start in a state: up to 146 years, and before time began by no more
// than the longest count-down, after a change of the divisor.
const (
	minStart = -1 << 39
	maxStart = 1 << 62
)

const tdcrMask = 0x0b

// divider returns the timer's divisor [SDM 3A 11.5.4 Figure 11-10].
func (l *LAPIC) divider() int64 {
	n := l.TDCR&3 | l.TDCR>>1&4
	return 1 << ((n + 1) & 7)
}

func (l *LAPIC) timerMode() uint32 { return l.LVT[lvtTimer] >> timerModePos & 3 }

// period is the time of one count-down.
func (l *LAPIC) period() devices.Nanos {
	return devices.Nanos(int64(l.TICR) * l.divider())
}

// current is the current-count register [SDM 3A 11.5.4].
func (l *LAPIC) current() uint32 {
	if !l.TRUN {
		return 0
	}
	e := max(int64(l.w.Clock.Now()-l.TSTART), 0) / l.divider()
	switch {
	case l.timerMode() == timerPeriodic:
		return l.TICR - uint32(e%int64(l.TICR))
	case e >= int64(l.TICR):
		return 0
	}
	return l.TICR - uint32(e)
}

// arm plans the next expiry.
func (l *LAPIC) arm() {
	switch {
	case l.timerMode() == timerDeadline && l.TSCD != 0:
		l.w.Clock.At(l.w.TSC.Time(l.TSCD), evTimer)
	case l.TRUN:
		l.w.Clock.At(l.TSTART+l.period(), evTimer)
	default:
		l.w.Clock.Never(evTimer)
	}
}

// Event handles the timer.
func (l *LAPIC) Event(devices.EventID) {
	if l.timerMode() == timerDeadline {
		l.deadline()
		return
	}
	late := l.w.Clock.Now() - l.TSTART
	if !l.TRUN || late < l.period() {
		l.arm()
		return
	}
	if l.timerMode() == timerPeriodic {
		l.TSTART += late - late%l.period()
	} else {
		l.TRUN = false
	}
	l.arm()
	l.fire(lvtTimer)
}

// deadline fires when the TSC has reached IA32_TSC_DEADLINE, which disarms it
// [SDM 3A 11.5.4.1].
func (l *LAPIC) deadline() {
	if l.TSCD == 0 {
		return
	}
	if l.w.TSC.TSC() < l.TSCD {
		l.w.Clock.At(max(l.w.TSC.Time(l.TSCD), l.w.Clock.Now()+1), evTimer)
		return
	}
	l.TSCD = 0
	l.arm()
	l.fire(lvtTimer)
}

// TSCChanged is told that the TSC was written, or its offset: a deadline comes at
// another time.
func (l *LAPIC) TSCChanged() { l.arm() }

// timerModeChanged disarms the timer when it enters or leaves TSC-deadline mode
// [SDM 3A 11.5.4.1]; a change between one-shot and periodic keeps the count.
func (l *LAPIC) timerModeChanged(from, to uint32) {
	if from&3 == to&3 {
		return
	}
	if from&3 == timerDeadline || to&3 == timerDeadline {
		l.TRUN, l.TICR, l.TSCD = false, 0, 0
	}
	l.arm()
}

// writeTICR starts a count-down; 0 stops the timer. TSC-deadline mode ignores it.
func (l *LAPIC) writeTICR(v uint32) {
	if l.timerMode() == timerDeadline {
		return
	}
	l.TICR, l.TRUN, l.TSTART = v, v != 0, 0
	if l.TRUN {
		l.TSTART = l.w.Clock.Now()
	}
	l.arm()
}

// writeTDCR changes the divisor; a count under way goes on at the new rate.
func (l *LAPIC) writeTDCR(v uint32) {
	done := int64(l.TICR - l.current())
	l.TDCR = v & tdcrMask
	if l.TRUN {
		l.TSTART = l.w.Clock.Now() - devices.Nanos(done*l.divider())
	}
	l.arm()
}

func (l *LAPIC) readDeadline() uint64 {
	if l.timerMode() != timerDeadline {
		return 0
	}
	return l.TSCD
}

func (l *LAPIC) writeDeadline(v uint64) {
	if l.timerMode() != timerDeadline {
		return
	}
	l.TSCD = v
	l.arm()
}
