package pci

import (
	"fmt"

	"godwit/devices"
)

// Places of the south bridge's functions.
const (
	PIIXSlot = 1
	isaFn    = 0
	pmFn     = 3 // as on the PIIX4; function 1, IDE, and 2, USB, are absent
)

// PMBase is where the power management function says its ports are.
const PMBase = 0x600

type chipState struct {
	Config Config `cbor:"1,keyasint"`
}

// Chip is a function of the south bridge: a configuration space whose devices are
// elsewhere.
type Chip struct {
	chipState
	w  Wiring
	at func() *Function
}

// NewISA puts the PIIX3's ISA bridge on the bus.
func NewISA(w Wiring) *Chip { return newChip(w, isaFn, isaRegs()) }

// NewPM puts the PIIX4's power management function on the bus. Its ports are
// fixed; the SMBus controller is off.
func NewPM(w Wiring) *Chip { return newChip(w, pmFn, pmRegs()) }

func newChip(w Wiring, fn uint8, regs []devices.Reg) *Chip {
	c := &Chip{w: w, at: func() *Function { return w.Bus.At(PIIXSlot, fn) }}
	w.Bus.Add(&Function{ID: Name(PIIXSlot, fn), Slot: PIIXSlot, Fn: fn, Regs: regs, State: &c.Config})
	return c
}

// Name is the stable name of a function of bus 0.
func Name(slot, fn uint8) string { return fmt.Sprintf("pci.0/%x.%d", slot, fn) }

// isaRegs describes the ISA bridge [PIIX3 2.2]; its registers only store.
func isaRegs() []devices.Reg {
	rows := Header(Ident{
		Vendor: 0x8086, Device: 0x7000, Class: 0x060100, MultiFunction: true,
		Command: 1 << 3, CommandOn: CommandIO | CommandMemory | CommandMaster, Status: 0x0200,
	})
	for i := range 4 {
		rows = append(rows, devices.Reg{
			Space: "cfg", Off: 0x60 + uint64(i), Size: 1, Name: fmt.Sprintf("PIRQRC%c", 'A'+i),
			Mask: 0x8f, Reset: 0x80, Bits: "7 OFF | 3:0 IRQ", Ref: "[PIIX3 2.2.9]",
		})
	}
	return append(rows,
		devices.Reg{Space: "cfg", Off: 0x4c, Size: 1, Name: "IORT", Mask: 0xff, Reset: 0x4d, Ref: "[PIIX3 2.2.7]"},
		devices.Reg{Space: "cfg", Off: 0x4e, Size: 2, Name: "XBCS", Mask: 0x01ff, Reset: 0x03, Ref: "[PIIX3 2.2.8]"},
		devices.Reg{Space: "cfg", Off: 0x69, Size: 1, Name: "TOM", Mask: 0xfe, Reset: 0x02, Ref: "[PIIX3 2.2.10]"},
		devices.Reg{Space: "cfg", Off: 0x82, Size: 1, Name: "DLC", Mask: 0x0f, Ref: "[PIIX3 2.2.17]"},
	)
}

// pmRegs describes the power management function [PIIX4 7.1]. Linux reserves the
// ports that PMBA names (drivers/pci/quirks.c quirk_piix4_acpi). APMC_EN says that
// system management is set up: a BIOS that tried would wait for an SMI.
func pmRegs() []devices.Reg {
	return append(Header(Ident{Vendor: 0x8086, Device: 0x7113, Revision: 3, Class: 0x068000, Command: CommandIO, Status: 0x0280}),
		devices.Reg{Space: "cfg", Off: 0x40, Size: 4, Name: "PMBA", Acc: devices.RO, Reset: PMBase | 1, Bits: "15:6 BASE | 0 IO", Ref: "[PIIX4 7.1.10]"},
		devices.Reg{Space: "cfg", Off: 0x5b, Size: 1, Name: "DEVACTB", Acc: devices.RO, Reset: 2, Bits: "1 APMC_EN", Ref: "[PIIX4 7.1.18]"},
		devices.Reg{Space: "cfg", Off: 0x80, Size: 1, Name: "PMREGMISC", Acc: devices.RO, Reset: 1, Bits: "0 PMIOSE", Ref: "[PIIX4 7.1.20]"},
		devices.Reg{Space: "cfg", Off: 0x90, Size: 4, Name: "SMBBA", Acc: devices.RO, Reset: 1, Bits: "15:4 BASE | 0 IO", Ref: "[PIIX4 7.1.21]"},
		devices.Reg{Space: "cfg", Off: 0xd2, Size: 1, Name: "SMBHSTCFG", Acc: devices.RO, Bits: "0 ON", Ref: "[PIIX4 7.1.22]"},
	)
}

// ID returns the device's stable name.
func (c *Chip) ID() string { return c.at().ID }

// State returns the guest-visible state.
func (c *Chip) State() any { return &c.chipState }

// Reset brings the registers to their initial values.
func (c *Chip) Reset(kind devices.ResetKind) {
	if kind != devices.Init {
		c.at().Reset()
	}
}

// Restored checks a decoded state.
func (c *Chip) Restored() error { return c.at().Restored() }

// Event does nothing: the function has no timers.
func (c *Chip) Event(devices.EventID) {}

// Regs describes the configuration space.
func (c *Chip) Regs() []devices.Reg { return c.at().Regs }
