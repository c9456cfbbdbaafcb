package lapic

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Entries of the local vector table, in the order of state.LVT: register 32h and
// up, and CMCI [SDM 3A 11.5.1].
const (
	lvtTimer   = 0
	lvtThermal = 1
	lvtPerf    = 2
	lvtLINT0   = 3
	lvtLINT1   = 4
	lvtError   = 5
	lvtCMCI    = 6
)

const (
	lvtRemoteIRR = 1 << 14
	lvtLevel     = 1 << 15
	lvtMasked    = 1 << 16
	lvtStatus    = 1 << 12 // delivery status: never pending here

	timerModePos   = 17
	timerOneShot   = 0
	timerPeriodic  = 1
	timerDeadline  = 2
	lvtPlain       = lvtMasked | 0xff
	lvtWithMode    = lvtPlain | 7<<8
	lvtPin         = lvtWithMode | 1<<13 | lvtLevel
	lvtTimerFields = lvtPlain | 3<<timerModePos
)

// lvtWritable is what a guest can set in each entry.
var lvtWritable = [7]uint32{lvtTimerFields, lvtWithMode, lvtWithMode, lvtPin, lvtPin, lvtPlain, lvtWithMode}

// Delivery modes [SDM 3A 11.5.1, 11.6.1].
const (
	modeFixed  = 0
	modeLowest = 1
	modeSMI    = 2
	modeNMI    = 4
	modeInit   = 5
	modeSIPI   = 6
	modeExtINT = 7
)

// fire delivers a local interrupt.
func (l *LAPIC) fire(i int) {
	e := l.LVT[i]
	if e&lvtMasked != 0 {
		return
	}
	mode := uint8(e >> 8 & 7)
	if i == lvtTimer || i == lvtError {
		mode = modeFixed
	}
	l.deliver(mode, uint8(e), false)
}

// deliver does what a delivery mode says, for local interrupts and messages.
func (l *LAPIC) deliver(mode, vector uint8, level bool) {
	switch mode {
	case modeFixed, modeLowest:
		if l.SVR&svrEnable != 0 {
			l.accept(vector, level)
		}
	case modeNMI:
		l.w.Core.NMI()
	case modeInit:
		l.Reset(devices.Init)
		l.w.Core.Init()
	case modeSIPI:
		l.w.Core.SIPI(vector)
	case modeExtINT:
		l.EXT = true
		l.update()
	}
}

// PMI is a performance counter's overflow; it masks its entry
// [SDM 3A 11.5.1].
func (l *LAPIC) PMI() {
	e := l.LVT[lvtPerf]
	l.LVT[lvtPerf] |= lvtMasked
	if e&lvtMasked == 0 {
		l.deliver(uint8(e>>8&7), uint8(e), false)
	}
}

// Wakes tells whether the PIC's request is what wakes a vCPU that takes no interrupts.
// No other entry can be while nothing is executed: nobody drives LINT1, a performance
// counter counts only what is executed, and thermal and CMCI events are not modelled.
func (l *LAPIC) Wakes() bool {
	e := l.LVT[lvtLINT0]
	return l.BASE&baseEnable != 0 && e&lvtMasked == 0 && bus.Wakes(e)
}

// extPending says whether the PIC's request reaches the vCPU: through LINT0 in
// ExtINT mode, as a message, or on the INTR pin that LINT0 is when the APIC is off
// [SDM 3A 11.4.3].
func (l *LAPIC) extPending() bool {
	if l.BASE&baseEnable == 0 {
		return l.LINT[0]
	}
	e := l.LVT[lvtLINT0]
	return l.EXT || l.LINT[0] && e&(lvtMasked|7<<8) == modeExtINT<<8
}

// SetLINT drives input 0 (the PIC's INTR) or 1 (NMI).
func (l *LAPIC) SetLINT(n int, level bool) {
	rising := level && !l.LINT[n&1]
	l.LINT[n&1] = level
	switch {
	case l.BASE&baseEnable == 0:
		if rising && n&1 == 1 {
			l.w.Core.NMI()
		}
	case l.lintFixed(n&1) && l.LVT[lvtLINT0+n&1]&lvtLevel != 0:
		l.serviceLINT(n & 1)
	case rising && l.lintMode(n&1) != modeExtINT:
		l.fire(lvtLINT0 + n&1)
	}
	l.update()
}

type lint struct {
	l *LAPIC
	n int
}

func (i lint) Set(level bool) { i.l.SetLINT(i.n, level) }

// Input returns LINT0 or LINT1 as a line.
func (l *LAPIC) Input(n int) devices.Line { return lint{l, n} }

func (l *LAPIC) lintMode(n int) uint32 { return l.LVT[lvtLINT0+n] >> 8 & 7 }

func (l *LAPIC) lintFixed(n int) bool { return l.lintMode(n) == modeFixed }

// serviceLINT delivers a level-triggered input that is high and not in service.
func (l *LAPIC) serviceLINT(n int) {
	e := &l.LVT[lvtLINT0+n]
	if *e&(lvtLevel|lvtMasked|lvtRemoteIRR|7<<8) != lvtLevel || !l.LINT[n] || l.BASE&baseEnable == 0 {
		return
	}
	*e |= lvtRemoteIRR
	l.accept(uint8(*e), true)
}

func (l *LAPIC) eoiLINT(vector uint8) {
	for n := range l.LINT {
		if e := &l.LVT[lvtLINT0+n]; *e&lvtRemoteIRR != 0 && uint8(*e) == vector {
			*e &^= lvtRemoteIRR
			l.serviceLINT(n)
		}
	}
}

// writeLVT writes an entry. All stay masked while the APIC is disabled by software
// [SDM 3A 11.4.7.2].
func (l *LAPIC) writeLVT(i int, v uint32) {
	old := l.LVT[i]
	v &= lvtWritable[i]
	if l.SVR&svrEnable == 0 {
		v |= lvtMasked
	}
	if v&lvtLevel != 0 {
		v |= old & lvtRemoteIRR
	}
	l.LVT[i] = v
	switch i {
	case lvtTimer:
		l.timerModeChanged(old>>timerModePos, v>>timerModePos)
	case lvtLINT0, lvtLINT1:
		l.serviceLINT(i - lvtLINT0)
	}
	l.update()
}
