// Package i8042 models the keyboard controller of a PC with a keyboard and a mouse
// that nobody touches, and port 92h.
//
// Specifications: [IBM PS/2 KBD], [ICH9 PORT92]. Modelled: the controller's
// commands, both interrupts, A20 and the reset pulse; of keyboard and mouse, the
// answers to every command that drivers probe with. Not modelled: keys and movement,
// the time that bytes take (answers are there at once), translation beyond the bytes
// that can occur, the password. The controller starts as firmware leaves it: self
// test passed, keyboard on and translated, mouse off.
package i8042

import (
	"fmt"

	"godwit/devices"
)

// Ports.
const (
	DataPort    = 0x60
	CommandPort = 0x64 // also status
	Port92      = 0x92
)

// Status register.
const (
	stOBF    = 1 << 0 // a byte waits in the output buffer
	stSYS    = 1 << 2
	stCMD    = 1 << 3 // the last write was a command
	stUNLOCK = 1 << 4
	stAUX    = 1 << 5 // the byte is the mouse's
)

// Configuration byte, RAM[0].
const (
	cfgKeyIRQ  = 1 << 0
	cfgAuxIRQ  = 1 << 1
	cfgSYS     = 1 << 2
	cfgKeyOff  = 1 << 4
	cfgAuxOff  = 1 << 5
	cfgXlate   = 1 << 6
	cfgInitial = cfgKeyIRQ | cfgSYS | cfgAuxOff | cfgXlate
)

// Output port.
const (
	outNoReset = 1 << 0
	outA20     = 1 << 1
	outKeyIRQ  = 1 << 4
	outAuxIRQ  = 1 << 5
	outInitial = 0xc0 | outNoReset | outA20

	p92Reset = 1 << 0
	p92A20   = 1 << 1
)

// Sources of the byte in the output buffer.
const (
	fromNone = 0
	fromKey  = 1 // keyboard or controller
	fromAux  = 2
)

// Chassis is what the guest can do to the machine through the controller.
type Chassis interface {
	Reset(full bool)
	// A20 says whether address line 20 is let through. Machines that always do
	// may ignore it.
	A20(on bool)
}

// Wiring is what the controller is connected to.
type Wiring struct {
	ID      string
	KeyIRQ  devices.Line // IRQ 1
	AuxIRQ  devices.Line // IRQ 12
	Chassis Chassis
}

const queueSize = 16

// queue holds bytes on their way to the guest, oldest first, then zeros.
type queue struct {
	B [queueSize]byte `cbor:"1,keyasint"`
	N uint8           `cbor:"2,keyasint"`
}

// put appends bytes; those that do not fit are lost.
func (q *queue) put(bs ...byte) {
	for _, b := range bs {
		if q.N < queueSize {
			q.B[q.N] = b
			q.N++
		}
	}
}

func (q *queue) get() byte {
	b := q.B[0]
	copy(q.B[:], q.B[1:])
	q.B[queueSize-1] = 0
	q.N--
	return b
}

func (q *queue) check() error {
	if q.N > queueSize {
		return fmt.Errorf("queue holds %d bytes, at most %d", q.N, queueSize)
	}
	for _, b := range q.B[q.N:] {
		if b != 0 {
			return fmt.Errorf("byte %#x after a queue of %d", b, q.N)
		}
	}
	return nil
}

type state struct {
	RAM  [32]byte `cbor:"1,keyasint"` // the first is the configuration
	CMD  uint8    `cbor:"2,keyasint"` // command that waits for its data byte; 0: none
	LAST bool     `cbor:"3,keyasint"` // the last write was to the command port
	OUT  uint8    `cbor:"4,keyasint"` // output buffer
	SRC  uint8    `cbor:"5,keyasint"` // whose byte it is
	PORT uint8    `cbor:"6,keyasint"` // output port, without the interrupt bits
	P92  uint8    `cbor:"7,keyasint"` // bit 0; A20 is in PORT
	// What the controller says, the keyboard and the mouse.
	CTL    queue    `cbor:"8,keyasint"`
	CTLAUX queue    `cbor:"9,keyasint"` // the controller, as if it were the mouse
	KEY    keyboard `cbor:"10,keyasint"`
	AUX    mouse    `cbor:"11,keyasint"`
}

// Controller is the chip with what is plugged into it.
type Controller struct {
	state
	w Wiring
}

// New returns a controller as firmware leaves it.
func New(w Wiring) *Controller {
	c := &Controller{w: w}
	c.powerOn()
	return c
}

func (c *Controller) powerOn() {
	c.state = state{PORT: outInitial, LAST: true}
	c.RAM[0] = cfgInitial
	c.KEY.defaults()
	c.KEY.SCAN = true
	c.AUX.defaults()
}

// ID returns the device's stable name.
func (c *Controller) ID() string { return c.w.ID }

// State returns the guest-visible state.
func (c *Controller) State() any { return &c.state }

// Reset brings all to the initial state.
func (c *Controller) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	c.powerOn()
	c.w.Chassis.A20(true)
	c.update()
}

// Restored checks a decoded state.
func (c *Controller) Restored() error {
	for _, q := range []*queue{&c.CTL, &c.CTLAUX, &c.KEY.Q, &c.AUX.Q} {
		if err := q.check(); err != nil {
			return fmt.Errorf("restore %s: %w", c.w.ID, err)
		}
	}
	if c.SRC > fromAux || c.P92&^p92Reset != 0 || c.PORT&(outKeyIRQ|outAuxIRQ) != 0 {
		return fmt.Errorf("restore %s: source %d (at most 2), port 92h %#x or output port %#x", c.w.ID, c.SRC, c.P92, c.PORT)
	}
	return nil
}

// Event does nothing: the controller has no timers.
func (c *Controller) Event(devices.EventID) {}

// update moves the next byte into an empty output buffer and drives the interrupts.
func (c *Controller) update() {
	if c.SRC == fromNone {
		c.fill()
	}
	c.w.KeyIRQ.Set(c.SRC == fromKey && c.RAM[0]&cfgKeyIRQ != 0)
	c.w.AuxIRQ.Set(c.SRC == fromAux && c.RAM[0]&cfgAuxIRQ != 0)
}

// fill takes the most urgent byte: the controller's own, the keyboard's, the mouse's.
func (c *Controller) fill() {
	switch cfg := c.RAM[0]; {
	case c.CTL.N > 0:
		c.OUT, c.SRC = c.CTL.get(), fromKey
	case c.CTLAUX.N > 0:
		c.OUT, c.SRC = c.CTLAUX.get(), fromAux
	case c.KEY.Q.N > 0 && cfg&cfgKeyOff == 0:
		c.OUT, c.SRC = c.KEY.Q.get(), fromKey
		if cfg&cfgXlate != 0 {
			c.OUT = translate(c.OUT)
		}
	case c.AUX.Q.N > 0 && cfg&cfgAuxOff == 0:
		c.OUT, c.SRC = c.AUX.Q.get(), fromAux
	}
}

// translate turns scan codes of set 2 into those of set 1, for the bytes that a
// keyboard without keys can send.
func translate(b byte) byte {
	switch b {
	case 0x01:
		return 0x43
	case 0x02:
		return 0x41
	case 0x03:
		return 0x3f
	case 0x83:
		return 0x41
	}
	return b
}

// setOut writes the output port; a low reset bit resets the machine.
func (c *Controller) setOut(v uint8) {
	c.PORT = v &^ (outKeyIRQ | outAuxIRQ)
	c.w.Chassis.A20(v&outA20 != 0)
	if v&outNoReset == 0 {
		c.w.Chassis.Reset(false)
	}
}

// out is the output port as it reads: with the interrupt lines.
func (c *Controller) out() uint8 {
	v := c.PORT
	switch c.SRC {
	case fromKey:
		v |= outKeyIRQ
	case fromAux:
		v |= outAuxIRQ
	}
	return v
}
