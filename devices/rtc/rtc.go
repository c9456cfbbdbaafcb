// Package rtc models the MC146818 real-time clock of a PC with its CMOS memory.
//
// Specification: [MC146818A] (Motorola, 1984); century byte and port 70h as PCs
// have them [PIIX3 NMIERTC]. Modelled: the calendar in BCD and binary, 12 and 24 hours,
// set mode and divider reset, update-in-progress, alarm, periodic and update-ended
// interrupts, 128 bytes of memory. Not modelled: the square wave, daylight saving
// (its bit is kept), other time bases, and dates that no calendar has: they are
// brought into range when the clock starts.
//
// Time of day is guest time counted from the configured epoch. Linux waits for UIP
// to clear and gives up on a clock whose UIP hangs (mc146818-lib.c
// mc146818_avoid_UIP), and sets the clock with the divider held in reset, relying on
// the first update half a second after its release.
package rtc

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/ticks"
)

// Port is the index port; data is the next one.
const Port = 0x70

// evFlag is the next moment at which an enabled interrupt's flag rises.
const evFlag devices.EventID = 0

const (
	second  = devices.Nanos(1_000_000_000)
	chainHz = 32768
	// uipTime is how long before an update ends UIP rises: 244 us of warning and
	// an update cycle of 1984 us [MC146818A Table 5].
	uipTime = devices.Nanos(2_228_000)

	maxSecs = 1 << 40 // 34,000 years
	maxTime = 1 << 62
)

// Registers [MC146818A Figure 10] and the PC's century byte.
const (
	regSec      = 0x00
	regSecAlm   = 0x01
	regMin      = 0x02
	regMinAlm   = 0x03
	regHour     = 0x04
	regHourAlm  = 0x05
	regWeekday  = 0x06
	regDay      = 0x07
	regMonth    = 0x08
	regYear     = 0x09
	regA        = 0x0a
	regB        = 0x0b
	regC        = 0x0c
	regD        = 0x0d
	Century     = 0x32 // for the FADT
	aUIP        = 1 << 7
	aMask       = 0x7f
	dividerStop = 6 // DV values from here hold the divider in reset

	bSET   = 1 << 7
	bPIE   = 1 << 6
	bAIE   = 1 << 5
	bUIE   = 1 << 4
	bSQWE  = 1 << 3
	bDM    = 1 << 2 // binary
	b24    = 1 << 1
	cFlags = bPIE | bAIE | bUIE // register C has its flags at their enables' bits
	cIRQF  = 1 << 7
	dVRT   = 1 << 7

	indexMask = 0x7f
	indexNMI  = 1 << 7
)

// Wiring is what the clock is connected to.
type Wiring struct {
	ID    string
	IRQ   devices.Line // level, IRQ 8
	Clock devices.Clock
	Epoch int64 // the clock's time when guest time is 0, in Unix seconds
	// Alarm, if not nil, is told of each enabled alarm: ACPI's RTC event.
	Alarm func()
}

type state struct {
	INDEX uint8 `cbor:"1,keyasint"` // with the NMI mask in bit 7
	A     uint8 `cbor:"2,keyasint"`
	B     uint8 `cbor:"3,keyasint"`
	C     uint8 `cbor:"4,keyasint"` // flags, up to SYNC
	// RAM has the alarms and the guest's bytes; the time's bytes only while the
	// clock stands, else zeros.
	RAM [128]byte `cbor:"5,keyasint"`
	// SECS is the time of day at BASE, an instant at which a second began.
	SECS int64         `cbor:"6,keyasint"` // since 1970
	BASE devices.Nanos `cbor:"7,keyasint"`
	SYNC devices.Nanos `cbor:"8,keyasint"` // flags that rose up to here are in C
	WDAY uint8         `cbor:"9,keyasint"` // the guest's weekdays less the calendar's, 0 to 6
}

// RTC is the clock.
type RTC struct {
	state
	w Wiring
}

// New returns a clock that shows the epoch at guest time 0.
func New(w Wiring) *RTC {
	r := &RTC{w: w}
	r.powerOn()
	return r
}

func (r *RTC) powerOn() {
	secs := min(max(r.w.Epoch, -maxSecs/2), maxSecs/2)
	// As firmware leaves it: 32 kHz, 1024 Hz, 24 hours, BCD.
	r.state = state{A: 0x26, B: b24, SECS: secs}
}

// ID returns the device's stable name.
func (r *RTC) ID() string { return r.w.ID }

// State returns the guest-visible state.
func (r *RTC) State() any { return &r.state }

// Reset: the battery keeps time and memory; the reset pin ends interrupts
// [MC146818A RESET].
func (r *RTC) Reset(kind devices.ResetKind) {
	switch kind {
	case devices.Init:
		return
	case devices.PowerOn:
		r.powerOn()
		r.SYNC = r.w.Clock.Now()
	case devices.Warm:
		r.sync()
		r.B &^= bPIE | bAIE | bUIE | bSQWE
		r.C = 0
		r.INDEX = 0
	}
	r.update()
}

// Restored checks a decoded state.
func (r *RTC) Restored() error {
	if r.A&^aMask != 0 || r.C&^cFlags != 0 || r.WDAY > 6 {
		return fmt.Errorf("restore %s: A %#x, C %#x or weekday shift %d out of range", r.w.ID, r.A, r.C, r.WDAY)
	}
	if r.SECS < -maxSecs || r.SECS > maxSecs || r.BASE < -maxTime || r.BASE > maxTime || r.SYNC < 0 || r.SYNC > maxTime {
		return fmt.Errorf("restore %s: %d s at %d ns, flags up to %d ns: beyond %d s or %d ns",
			r.w.ID, r.SECS, r.BASE, r.SYNC, int64(maxSecs), int64(maxTime))
	}
	return nil
}

// NMIMasked reports the mask bit of port 70h.
func (r *RTC) NMIMasked() bool { return r.INDEX&indexNMI != 0 }

// SetRAM fills a byte of memory as firmware does; the clock's own registers are
// not memory.
func (r *RTC) SetRAM(i, v uint8) {
	if i > regD && i != Century && int(i) < len(r.RAM) {
		r.RAM[i] = v
	}
}

// counting says whether the divider chain runs, updating whether the time does.
func (r *RTC) counting() bool { return r.A>>4&7 < dividerStop }
func (r *RTC) updating() bool { return r.counting() && r.B&bSET == 0 }

// elapsed is the time since BASE.
func (r *RTC) elapsed(t devices.Nanos) devices.Nanos { return max(t-r.BASE, 0) }

// secs is the time of day at t.
func (r *RTC) secs(t devices.Nanos) int64 { return r.SECS + int64(r.elapsed(t)/second) }

// periodTicks is the periodic interrupt's period in ticks of the chain, 0 for none
// [MC146818A Table 3].
func (r *RTC) periodTicks() uint64 {
	rs := r.A & 0x0f
	switch {
	case rs == 0:
		return 0
	case rs <= 2:
		rs += 7
	}
	return 1 << (rs - 1)
}

func (r *RTC) periods(t devices.Nanos) uint64 {
	return ticks.Of(r.elapsed(t), chainHz) / r.periodTicks()
}

// sync notes all flags that rose since the last time.
func (r *RTC) sync() {
	t := r.w.Clock.Now()
	from := min(r.SYNC, t)
	r.SYNC = t
	if r.counting() && r.periodTicks() != 0 && r.periods(t) != r.periods(from) {
		r.C |= bPIE
	}
	if !r.updating() || r.secs(t) == r.secs(from) {
		return
	}
	r.C |= bUIE
	if next, ok := r.nextAlarm(r.secs(from)); ok && next <= r.secs(t) {
		r.C |= bAIE
	}
}

// update drives the line and plans the next flag.
func (r *RTC) update() {
	r.w.IRQ.Set(r.C&r.B&cFlags != 0)
	if at, ok := r.nextFlag(); ok {
		r.w.Clock.At(at, evFlag)
	} else {
		r.w.Clock.Never(evFlag)
	}
}

// nextFlag is when the next flag rises that is enabled and not up yet.
func (r *RTC) nextFlag() (devices.Nanos, bool) {
	want := r.B &^ r.C & cFlags
	t := r.w.Clock.Now()
	at, found := devices.Nanos(maxTime), false
	take := func(v devices.Nanos) { at, found = min(at, v), true }
	if want&bPIE != 0 && r.counting() && r.periodTicks() != 0 {
		take(r.BASE + ticks.At((r.periods(t)+1)*r.periodTicks(), chainHz))
	}
	if want&bUIE != 0 && r.updating() {
		take(r.BASE + second*devices.Nanos(r.secs(t)-r.SECS+1))
	}
	if next, ok := r.nextAlarm(r.secs(t)); ok && want&bAIE != 0 && r.updating() {
		take(r.BASE + second*devices.Nanos(next-r.SECS))
	}
	return at, found
}

// Event handles a flag rising.
func (r *RTC) Event(devices.EventID) {
	alarm := r.C & bAIE
	r.sync()
	r.update()
	if r.C&^alarm&r.B&bAIE != 0 && r.w.Alarm != nil {
		r.w.Alarm()
	}
}
