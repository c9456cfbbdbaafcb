// Package devices is the contract between a chip and the machine around it.
//
// A device sees guest accesses, guest time and its wiring, and nothing of the
// host: no files, sockets, goroutines, clocks or random numbers. All that the
// guest can observe of it is in one struct, State, so that a machine can be
// saved at any instruction.
package devices

import (
	"context"

	"godwit/mem"
)

// Handler answers guest accesses to one window. off is relative to the window;
// size is 1, 2, 4 or 8 bytes. It never fails: like hardware, unknown registers
// read as all ones and bad writes are dropped.
type Handler = mem.Handler

// Nanos is guest time in nanoseconds since the machine was created.
type Nanos int64

// EventID names one of a device's own timers.
type EventID uint8

// Clock is guest time. Deadlines are data: (device, event), never closures.
type Clock interface {
	Now() Nanos
	// At asks for Event(ev) at guest time t, replacing that event's earlier
	// deadline. A t that is not after Now fires before the next instruction.
	At(t Nanos, ev EventID)
	// Never withdraws the event's deadline.
	Never(ev EventID)
}

// Line is one interrupt source. The sources of one pin are ORed.
type Line interface{ Set(level bool) }

// ResetKind says who asked for the reset.
type ResetKind uint8

// Kinds of reset.
const (
	PowerOn ResetKind = iota // power applied: everything takes its initial value
	Warm                     // reset line: what the chip keeps over a reset, it keeps
	Init                     // INIT#: CPUs and local APICs only [SDM 3A 11.4.7.1]
)

// Access says how a register may be used.
type Access uint8

// Register access kinds.
const (
	RW Access = iota
	RO
	WO
	W1C // writing 1 clears
	RC  // reading clears or has another effect
)

// Reg describes one register: for inspect, documents, fuzzing and tests.
type Reg struct {
	Space  string // "pio", "mmio", "msr", "cfg"; the window's name where a device has several
	Off    uint64 // offset in the window, or the register number
	Size   int    // bytes
	Name   string // the manual's name, in capitals
	Acc    Access
	Mask   uint64 // bits that can be written
	Reset  uint64 // value after PowerOn
	Bits   string // "7 DLAB | 5:3 PAR | 1:0 WLS"
	Ref    string // "[PC16550D 8.1]"
	Banked bool   // shares its offset with another register (DLAB, index/data): generic tests skip it
}

// Device is one chip.
type Device interface {
	// ID is stable and names the state section: "uart0", "pci.0/3.0".
	ID() string
	Reset(kind ResetKind)
	// State points to all guest-visible state: one struct of exported fields
	// with `cbor:"N,keyasint"` tags.
	State() any
	// Restored validates a decoded state and re-derives caches. It calls
	// neither Clock nor Line: queue and line levels are the machine's state.
	Restored() error
	Event(ev EventID)
	Regs() []Reg
}

// Peeker is implemented by devices whose registers have read side effects: Peek
// tells a register's value (by Regs index) without them.
type Peeker interface{ Peek(i int) uint64 }

// Quiescer is a device whose host works on something while the guest runs.
type Quiescer interface {
	// Quiesce waits until the host has finished all of it, and takes the results
	// into the state; what it cannot finish for now stays there as it is. The guest
	// sees nothing of that: completions keep their instants. An error is ctx's.
	Quiesce(ctx context.Context) error
}
