// Package bus holds the few things that devices share with whoever maps them:
// windows at their standard PC addresses and byte-wide access.
package bus

import "godwit/devices"

// Window is a range of ports or physical addresses that a device answers.
type Window struct {
	Name string // the Reg.Space of its registers
	IO   bool   // port space; otherwise physical memory
	Base uint64 // first port or address
	Size uint64 // in ports or bytes
	devices.Handler
	Over bool // seen above windows that are there already
}

// MSI takes an interrupt message: a write of data to addr in the page that
// belongs to the local APICs [SDM 3A 11.11].
type MSI interface {
	MSI(addr uint64, data uint32)
}

// Wakes tells of a message, or of the low bits of whatever sends one, that its delivery
// mode is one that vCPUs obey which take no interrupts: NMI, INIT, start-up
// [SDM 3A 11.11.2].
func Wakes(data uint32) bool {
	mode := data >> 8 & 7
	return mode >= 4 && mode <= 6
}

// Waker is a device that may send such messages.
type Waker interface {
	// Wakes tells whether it may, however long nothing is executed.
	Wakes() bool
}

// ReadBytes answers an access of size bytes at a chip that is one byte wide: the
// bus splits it, lowest address first.
func ReadBytes(read func(off uint64) uint8, off uint64, size int) uint64 {
	var v uint64
	for i := range size {
		v |= uint64(read(off+uint64(i))) << (8 * i)
	}
	return v
}

// WriteBytes is ReadBytes for writes.
func WriteBytes(write func(off uint64, v uint8), off uint64, size int, v uint64) {
	for i := range size {
		write(off+uint64(i), uint8(v>>(8*i)))
	}
}
