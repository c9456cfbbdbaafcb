// Package vmgenid models the generation counter of a virtual machine: 16 bytes in
// guest memory that change when the machine becomes another one than it was, so
// that its kernel makes new keys and random numbers.
//
// Specifications: [MS-VMGENID]; the ACPI device is in package firmware/acpi. Whole.
package vmgenid

import "godwit/devices"

// Size is the length of an identity in bytes.
const Size = 16

// Wiring is what the device is connected to.
type Wiring struct {
	ID   string
	Addr uint64 // where the guest looks for the identity
	// First is the identity that the machine begins with.
	First [Size]byte
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
	GUID  [Size]byte `cbor:"1,keyasint"`
	Stale bool       `cbor:"2,keyasint"` // memory does not hold it yet
}

// Device is the generation counter.
type Device struct {
	state
	w Wiring
}

// New returns a counter with the first identity, which memory holds already.
func New(w Wiring) *Device { return &Device{state{GUID: w.First}, w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset keeps the identity over everything but power-on. Firmware writes it to
// memory anew.
func (d *Device) Reset(kind devices.ResetKind) {
	switch kind {
	case devices.PowerOn:
		d.state = state{GUID: d.w.First}
	case devices.Warm:
		d.Stale = false
	}
}

// Restored has nothing to check.
func (d *Device) Restored() error { return nil }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Change gives the machine another identity and tells the guest.
func (d *Device) Change(guid [Size]byte) {
	d.GUID, d.Stale = guid, true
	d.Retry()
}

// Retry writes what memory refused.
func (d *Device) Retry() {
	switch {
	case !d.Stale:
	case d.w.Mem.Write(d.w.Addr, d.GUID[:]):
		d.Stale = false
		d.w.Changed()
	default:
		d.w.Stall()
	}
}

// Regs is empty: the guest finds all in memory.
func (d *Device) Regs() []devices.Reg { return nil }
