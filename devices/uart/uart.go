// Package uart models the 16550A serial port of a PC.
//
// Specification: [PC16550D] (National Semiconductor, June 1995). Modelled: both
// FIFOs' registers and interrupts, character timeout, loopback, break, scratch,
// and the PC's gating of the interrupt by OUT2. Not modelled: the time it takes to
// send (the transmitter is always empty; Linux's THRE test, 8250_port.c
// serial8250_THRE_test, only asks that the interrupt comes again when it is
// enabled again), DMA mode, parity and framing errors.
package uart

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Base ports of the PC's serial ports.
const (
	COM1 = 0x3f8
	COM2 = 0x2f8
)

const fifoSize = 16 // [PC16550D 8.4]

// clockHz is the crystal of the PC's serial ports; the chip divides it by 16.
const clockHz = 1843200

// evTimeout is the character timeout: four character times without a received
// character or a read [PC16550D 8.5].
const evTimeout devices.EventID = 0

// Register offsets [PC16550D 8.0 Table II].
const (
	regData = 0 // RBR, THR; DLL
	regIER  = 1 // IER; DLM
	regIIR  = 2 // IIR, FCR
	regLCR  = 3
	regMCR  = 4
	regLSR  = 5
	regMSR  = 6
	regSCR  = 7
)

// Register bits.
const (
	ierRDA  = 1 << 0
	ierTHRE = 1 << 1
	ierRLS  = 1 << 2
	ierMSI  = 1 << 3

	iirMSI   = 0x0
	iirNone  = 0x1
	iirTHRE  = 0x2
	iirRDA   = 0x4
	iirRLS   = 0x6
	iirCTI   = 0xc
	iirFIFOs = 0xc0

	fcrEnable  = 1 << 0
	fcrClearRX = 1 << 1
	fcrKept    = fcrEnable | 3<<6

	lcrBreak = 1 << 6
	lcrDLAB  = 1 << 7

	mcrRTS  = 1 << 1
	mcrDTR  = 1 << 0
	mcrOUT1 = 1 << 2
	mcrOUT2 = 1 << 3
	mcrLoop = 1 << 4
	mcrMask = 0x1f

	lsrDR    = 1 << 0
	lsrOE    = 1 << 1
	lsrBI    = 1 << 4
	lsrTHRE  = 1 << 5
	lsrTEMT  = 1 << 6
	lsrError = 1 << 7

	msrCTS    = 1 << 4
	msrDSR    = 1 << 5
	msrRI     = 1 << 6
	msrDCD    = 1 << 7
	msrDeltas = 0x0f
	msrIdle   = msrDCD | msrDSR | msrCTS // a terminal that is always there
)

// Sink takes the bytes that the guest sends.
type Sink interface{ Send(b byte) }

// Wiring is what a UART is connected to.
type Wiring struct {
	ID    string
	Base  uint64 // first port
	IRQ   devices.Line
	Clock devices.Clock
	Out   Sink
	// Drained, if not nil, is told that the guest has read the last byte it
	// was given: a good moment to plan the next Receive.
	Drained func()
}

type state struct {
	DIV  uint16 `cbor:"1,keyasint"` // DLM:DLL
	IER  uint8  `cbor:"2,keyasint"`
	FCR  uint8  `cbor:"3,keyasint"` // enable and trigger bits
	LCR  uint8  `cbor:"4,keyasint"`
	MCR  uint8  `cbor:"5,keyasint"`
	MSR  uint8  `cbor:"6,keyasint"`
	SCR  uint8  `cbor:"7,keyasint"`
	OE   bool   `cbor:"8,keyasint"`  // LSR overrun
	THRI bool   `cbor:"9,keyasint"`  // THR-empty interrupt not yet seen
	CTI  bool   `cbor:"10,keyasint"` // character timeout has passed
	// RX holds the RXN bytes received and not read, oldest first, then zeros.
	RX  [fifoSize]byte `cbor:"11,keyasint"`
	RXN uint8          `cbor:"12,keyasint"`
	BRK uint16         `cbor:"13,keyasint"` // bit i: RX[i] is a break, not yet told
}

// UART is one serial port.
type UART struct {
	state
	w Wiring
}

// New returns a UART as after power-on.
func New(w Wiring) *UART {
	u := &UART{w: w}
	u.powerOn()
	return u
}

func (u *UART) powerOn() {
	// [PC16550D Table I]. The divisor is undefined there; 9600 baud as PCs have.
	u.state = state{DIV: 12, MSR: msrIdle}
}

// ID returns the device's stable name.
func (u *UART) ID() string { return u.w.ID }

// State returns the guest-visible state.
func (u *UART) State() any { return &u.state }

// Reset brings the chip to its initial state: master reset clears all.
func (u *UART) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	u.powerOn()
	u.w.Clock.Never(evTimeout)
	u.update()
}

// Restored checks a decoded state.
func (u *UART) Restored() error {
	if int(u.RXN) > u.depth() {
		return fmt.Errorf("restore %s: receive fifo holds %d bytes, at most %d", u.w.ID, u.RXN, u.depth())
	}
	for i, b := range u.RX[u.RXN:] {
		if b != 0 {
			return fmt.Errorf("restore %s: byte %d after the receive fifo is %#x, not 0", u.w.ID, i, b)
		}
	}
	if u.BRK>>u.RXN != 0 {
		return fmt.Errorf("restore %s: break bits %#x beyond %d bytes", u.w.ID, u.BRK, u.RXN)
	}
	if u.IER&^0x0f != 0 || u.MCR&^mcrMask != 0 || u.FCR&^fcrKept != 0 {
		return fmt.Errorf("restore %s: reserved bits set in IER %#x, MCR %#x or FCR %#x", u.w.ID, u.IER, u.MCR, u.FCR)
	}
	return nil
}

// Event handles the character timeout.
func (u *UART) Event(ev devices.EventID) {
	if ev == evTimeout && u.FCR&fcrEnable != 0 && u.RXN > 0 {
		u.CTI = true
		u.update()
	}
}

// Windows lists the device's ports.
func (u *UART) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: u.w.Base, Size: 8, Handler: u}}
}

// Receive takes as many of the bytes as the receiver has room for, as if they had
// arrived on the line, and returns how many.
func (u *UART) Receive(p []byte) int {
	n := min(len(p), u.Room())
	for _, b := range p[:n] {
		u.push(b, false)
	}
	if n > 0 {
		u.update()
	}
	return n
}

// Room returns how many bytes Receive would take: none in loopback, where the
// chip does not listen to its input.
func (u *UART) Room() int {
	if u.MCR&mcrLoop != 0 {
		return 0
	}
	return u.depth() - int(u.RXN)
}

// Break makes the guest receive a break, and reports whether there was room.
func (u *UART) Break() bool {
	if u.Room() == 0 {
		return false
	}
	u.push(0, true)
	u.update()
	return true
}

func (u *UART) depth() int {
	if u.FCR&fcrEnable != 0 {
		return fifoSize
	}
	return 1
}

// push puts a received character into the FIFO. One that does not fit is an
// overrun: it replaces the one in the holding register, but not those in a FIFO
// [PC16550D 8.3].
func (u *UART) push(b byte, brk bool) {
	if int(u.RXN) == u.depth() {
		u.OE = true
		if u.FCR&fcrEnable != 0 {
			return
		}
		u.clearRX()
	}
	u.RX[u.RXN] = b
	if brk {
		u.BRK |= 1 << u.RXN
	}
	u.RXN++
	u.restartTimeout()
}

func (u *UART) pop() byte {
	if u.RXN == 0 {
		return 0
	}
	b := u.RX[0]
	copy(u.RX[:], u.RX[1:])
	u.RX[fifoSize-1] = 0
	u.BRK >>= 1
	u.RXN--
	u.restartTimeout()
	if u.RXN == 0 && u.w.Drained != nil {
		u.w.Drained()
	}
	return b
}

func (u *UART) clearRX() {
	u.RX, u.RXN, u.BRK = [fifoSize]byte{}, 0, 0
	u.restartTimeout()
}

// restartTimeout starts the character timeout again, as every received character
// and every read does [PC16550D 8.5].
func (u *UART) restartTimeout() {
	u.CTI = false
	if u.FCR&fcrEnable == 0 || u.RXN == 0 {
		u.w.Clock.Never(evTimeout)
		return
	}
	u.w.Clock.At(u.w.Clock.Now()+4*u.charTime(), evTimeout)
}

// charTime is the time one character takes on the line, rounded up.
func (u *UART) charTime() devices.Nanos {
	bits := 1 + 5 + int64(u.LCR&3) + 1 + int64(u.LCR>>2&1) + int64(u.LCR>>3&1)
	clocks := bits * 16 * int64(max(u.DIV, 1))
	return devices.Nanos((clocks*1_000_000_000 + clockHz - 1) / clockHz)
}

func (u *UART) trigger() uint8 {
	return [4]uint8{1, 4, 8, 14}[u.FCR>>6]
}

func (u *UART) dataReady() bool {
	if u.FCR&fcrEnable != 0 {
		return u.RXN >= u.trigger()
	}
	return u.RXN > 0
}

// source returns the interrupt of the highest priority as IIR shows it
// [PC16550D 8.5 Table IV].
func (u *UART) source() uint8 {
	switch {
	case u.IER&ierRLS != 0 && (u.OE || u.BRK&1 != 0):
		return iirRLS
	case u.IER&ierRDA != 0 && u.dataReady():
		return iirRDA
	case u.IER&ierRDA != 0 && u.CTI:
		return iirCTI
	case u.IER&ierTHRE != 0 && u.THRI:
		return iirTHRE
	case u.IER&ierMSI != 0 && u.MSR&msrDeltas != 0:
		return iirMSI
	}
	return iirNone
}

// update drives the interrupt line. Why the gate: on PCs the chip's INTR passes a
// buffer enabled by the OUT2 pin, and loopback makes that pin inactive.
func (u *UART) update() {
	open := u.MCR&(mcrOUT2|mcrLoop) == mcrOUT2
	u.w.IRQ.Set(open && u.source() != iirNone)
}
