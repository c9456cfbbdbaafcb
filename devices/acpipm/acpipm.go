// Package acpipm models the fixed ACPI hardware of a PC: the PM1a event and
// control blocks, the power management timer, a general-purpose event block, the
// SMI command port that turns ACPI on, and the reset control register.
//
// Specifications: [ACPI 6.5 4.8]; the reset control register from [PIIX3 RC].
// Modelled: SCI, the timer with its status, power button, sleep and soft-off,
// reset. Not modelled: SMIs (turning ACPI on takes effect at once, GBL_RLS does
// nothing), a sleep button, throttling.
package acpipm

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/ticks"
)

// Where the blocks are; the FADT says the same.
const (
	EventBase    = 0x600 // PM1a_STS, PM1a_EN
	ControlBase  = 0x604 // PM1a_CNT
	TimerBase    = 0x608
	GPE0Base     = 0x620
	GPE0Len      = 4 // two bytes of status, two of enables
	SMICommand   = 0xb2
	ResetPort    = 0xcf9
	EnableValue  = 0xf1 // written to SMICommand: ACPI_ENABLE
	DisableValue = 0xf0
	ResetValue   = 0x06 // written to ResetPort
	SCI          = 9    // its ISA interrupt
)

// SLP_TYP values of the sleep states, for the DSDT; those of PIIX4.
const (
	SleepS5 = 0
	SleepS3 = 1
	SleepS4 = 2
)

// TimerHz is the frequency of the PM timer, which has TimerBits bits
// [ACPI 6.5 4.8.2.1].
const (
	TimerHz   = 3579545
	TimerBits = 24
)

// evCarry is the timer's most significant bit changing, which sets TMR_STS.
const evCarry devices.EventID = 0

const (
	stsTMR    = 1 << 0
	stsGBL    = 1 << 5
	stsPWRBTN = 1 << 8
	stsRTC    = 1 << 10
	stsWAK    = 1 << 15
	stsMask   = stsTMR | stsGBL | stsPWRBTN | stsRTC | stsWAK
	enMask    = stsTMR | stsGBL | stsPWRBTN | stsRTC

	cntSCI     = 1 << 0
	cntMask    = 7<<10 | 3
	cntTypPos  = 10
	cntSleepEn = 1 << 13

	rstCPU  = 1 << 2
	rstMask = 0x0e
)

// Power is what the guest can do to the machine.
type Power interface {
	PowerOff()       // S5: the machine is off after the current instruction
	Sleep(typ uint8) // SLP_TYP of another state, SleepS3 or SleepS4
	Reset(full bool) // by the reset control register
}

// Wiring is what the block is connected to.
type Wiring struct {
	ID    string
	SCI   devices.Line // level
	Clock devices.Clock
	Power Power
}

type state struct {
	STS    uint16 `cbor:"1,keyasint"` // without TMR_STS, which follows from TMRSEEN
	EN     uint16 `cbor:"2,keyasint"`
	CNT    uint16 `cbor:"3,keyasint"`
	GPESTS uint16 `cbor:"4,keyasint"`
	GPEEN  uint16 `cbor:"5,keyasint"`
	APMC   uint8  `cbor:"6,keyasint"` // last SMI command
	APMS   uint8  `cbor:"7,keyasint"`
	RST    uint8  `cbor:"8,keyasint"` // reset control
	// CARRY is how often the timer's top bit had changed when TMR_STS was last
	// clear: the bit is set when it has changed since.
	CARRY uint64 `cbor:"9,keyasint"`
}

// PM is the power management block.
type PM struct {
	state
	w Wiring
}

// New returns the block as after power-on: ACPI is off.
func New(w Wiring) *PM { return &PM{w: w} }

// ID returns the device's stable name.
func (p *PM) ID() string { return p.w.ID }

// State returns the guest-visible state.
func (p *PM) State() any { return &p.state }

// Reset brings the block to its initial state; the timer runs on.
func (p *PM) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	p.state = state{CARRY: p.carries()}
	p.update()
}

// Restored checks a decoded state.
func (p *PM) Restored() error {
	if p.STS&^(stsMask&^stsTMR) != 0 || p.EN&^enMask != 0 || p.CNT&^cntMask != 0 || p.RST&^rstMask != 0 {
		return fmt.Errorf("restore %s: reserved bits set in PM1_STS %#x, PM1_EN %#x, PM1_CNT %#x or RST_CNT %#x",
			p.w.ID, p.STS, p.EN, p.CNT, p.RST)
	}
	return nil
}

// Event handles the timer's carry.
func (p *PM) Event(devices.EventID) { p.update() }

// Press pushes the power button.
func (p *PM) Press() {
	p.STS |= stsPWRBTN
	p.update()
}

// Rouses tells whether an event is up that ends a sleep state: the power button, or an
// alarm of the real-time clock that the guest has enabled for it.
func (p *PM) Rouses() bool { return p.STS&(stsPWRBTN|p.EN&stsRTC) != 0 }

// Wake marks the return from a sleep state.
func (p *PM) Wake() {
	p.STS |= stsWAK
	p.update()
}

// RTCAlarm is the real-time clock's alarm reaching the wake logic.
func (p *PM) RTCAlarm() {
	p.STS |= stsRTC
	p.update()
}

// GPE raises general-purpose event n, 0 to 15 [ACPI 6.5 4.8.4.1].
func (p *PM) GPE(n uint) {
	p.GPESTS |= 1 << n
	p.update()
}

// carries is how often the timer's top bit has changed so far.
func (p *PM) carries() uint64 {
	return ticks.Of(p.w.Clock.Now(), TimerHz) >> (TimerBits - 1)
}

// timer is the value of PM_TMR.
func (p *PM) timer() uint32 {
	return uint32(ticks.Of(p.w.Clock.Now(), TimerHz)) & (1<<TimerBits - 1)
}

func (p *PM) status() uint16 {
	if p.carries() > p.CARRY {
		return p.STS | stsTMR
	}
	return p.STS
}

// update drives SCI and plans the next carry, which matters only while it can
// interrupt.
func (p *PM) update() {
	sts, on := p.status(), p.CNT&cntSCI != 0
	p.w.SCI.Set(on && (sts&p.EN != 0 || p.GPESTS&p.GPEEN != 0))
	if on && p.EN&stsTMR != 0 && sts&stsTMR == 0 {
		p.w.Clock.At(ticks.At((p.carries()+1)<<(TimerBits-1), TimerHz), evCarry)
	} else {
		p.w.Clock.Never(evCarry)
	}
}
