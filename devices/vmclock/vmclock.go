// Package vmclock models the page in guest memory that relates the time stamp
// counter to UTC, and says when a guest may no longer trust what it has measured of
// the counter itself, or that it is the only one of its kind.
//
// Specifications: [VMCLOCK] version 1; the ACPI device is in package firmware/acpi.
// Modelled: the relation, which never changes since the counter counts the
// nanoseconds of guest time; the disruption marker, the generation counter, a
// notification for each change. Not modelled: errors of the relation, the offset of
// TAI and leap seconds, of which a machine knows nothing; warnings of disruptions to
// come. What a guest adds to its counter is not in the relation.
package vmclock

import (
	"encoding/binary"

	"godwit/devices"
)

// Size is that of the page in bytes; what follows the structure is zero.
const Size = 4096

// Contents of the structure.
const (
	magic         = 0x4b4c4356 // "VCLK"
	version       = 1
	counterTSC    = 1
	timeUTC       = 0
	statusFreeRun = 3 // runs on from the date it was given; nobody compares it with another clock

	flagMonotonic    = 1 << 7
	flagGeneration   = 1 << 8
	flagNotification = 1 << 9

	// A nanosecond in units of 2^-(64+periodShift) seconds, rounded.
	periodShift = 29
	period      = (1<<(64+periodShift) + 500_000_000) / 1_000_000_000
)

// Wiring is what the device is connected to.
type Wiring struct {
	ID    string
	Addr  uint64 // of the page
	Epoch int64  // UTC when the counter was 0, in Unix seconds
	Mem   interface {
		Write(pa uint64, b []byte) bool
	}
	// Stall asks the machine to run no instruction before it has called Retry: memory
	// refused a write.
	Stall func()
	// Changed tells the guest to look.
	Changed func()
}

type state struct {
	Disruptions uint64 `cbor:"1,keyasint"` // so far: the disruption marker
	Generation  uint64 `cbor:"2,keyasint"` // how often the machine became another one
	Stale       bool   `cbor:"3,keyasint"` // memory does not hold them yet
}

// Device is the page.
type Device struct {
	state
	w Wiring
}

// New returns the device of a new machine, whose memory holds Page already.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset keeps what was counted over everything but power-on. Firmware writes the page
// anew.
func (d *Device) Reset(kind devices.ResetKind) {
	switch kind {
	case devices.PowerOn:
		d.state = state{}
	case devices.Warm:
		d.Stale = false
	}
}

// Restored has nothing to check.
func (d *Device) Restored() error { return nil }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Disrupt tells the guest that the counter did not go on as it did before, and
// whether it is another machine's now.
func (d *Device) Disrupt(another bool) {
	d.Disruptions++
	if another {
		d.Generation++
	}
	d.Stale = true
	d.Retry()
}

// Retry writes what memory refused.
func (d *Device) Retry() {
	switch {
	case !d.Stale:
	case d.w.Mem.Write(d.w.Addr, d.structure()):
		d.Stale = false
		d.w.Changed()
	default:
		d.w.Stall()
	}
}

// Page is what firmware writes.
func (d *Device) Page() []byte { return append(d.structure(), make([]byte, Size-112)...) }

// structure is struct vmclock_abi, 112 bytes [VMCLOCK]. It is written as a whole
// between two instructions, so no guest finds the odd seq_count of a change under
// way; a reader that was interrupted finds another even one.
func (d *Device) structure() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magic)
	b = le.AppendUint32(b, Size)
	b = le.AppendUint16(b, version)
	b = append(b, counterTSC, timeUTC)
	b = le.AppendUint32(b, uint32(2*d.Disruptions)) // seq_count
	b = le.AppendUint64(b, d.Disruptions)
	b = le.AppendUint64(b, flagMonotonic|flagGeneration|flagNotification)
	b = append(b, 0, 0, statusFreeRun, 0)     // padding, clock_status, no smearing
	b = append(b, 0, 0, 0, periodShift)       // tai_offset_sec, leap_indicator
	b = le.AppendUint64(b, 0)                 // counter_value
	b = le.AppendUint64(b, period)            // counter_period_frac_sec
	b = append(b, make([]byte, 16)...)        // its errors
	b = le.AppendUint64(b, uint64(d.w.Epoch)) // time_sec
	b = append(b, make([]byte, 24)...)        // time_frac_sec, its errors
	return le.AppendUint64(b, d.Generation)
}

// Regs is empty: the guest finds all in memory.
func (d *Device) Regs() []devices.Reg { return nil }
