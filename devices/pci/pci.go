// Package pci models the PCI bus of a PC: configuration space by mechanism #1,
// base address registers, INTx and MSI-X interrupts, and the chipset's own
// functions, the 82441FX host bridge and the PIIX3/PIIX4 south bridge.
//
// Specifications: [PCI 3.0], [82441FX] (Intel 290549, 1996), [PIIX3], [PIIX4].
// Modelled: one bus, functions with a type 0 header, memory and port BARs of 32
// and 64 bits, the command and status bits that matter to them, INTx with its
// disable and status bits, MSI-X. Not modelled: bridges, expansion ROMs, power
// management, parity and abort reporting, shadowing by the host bridge's PAM
// registers (they store what is written; the memory below 1 MiB is RAM), the
// south bridge's interrupt steering (its registers store; pins are wired fixed,
// as the firmware tables say).
//
// A function's windows follow from its configuration registers alone: the bus
// maps all of them anew, in order of slot, function and register, whenever one
// changes. A window that would overlap one already there is not mapped. So a
// restored bus answers as the saved one did.
package pci

import (
	"fmt"
	"slices"

	"godwit/devices"
	"godwit/mem"
)

// Header registers [PCI 3.0 6.1].
const (
	regCOMMAND = 0x04
	regSTATUS  = 0x06
	regBAR0    = 0x10
	regCAP     = 0x34
	regINTLN   = 0x3c
)

// COMMAND and STATUS bits [PCI 3.0 6.2.2, 6.2.3].
const (
	CommandIO     = 1 << 0
	CommandMemory = 1 << 1
	CommandMaster = 1 << 2
	commandNoINTx = 1 << 10

	statusINTx = 1 << 3
	statusCaps = 1 << 4
)

// BARs is how many base address registers a function has.
const BARs = 6

// BAR is a window that a function asks for.
type BAR struct {
	Size    uint64 // bytes or ports, a power of two; 0: no such register
	IO      bool   // ports
	Wide    bool   // 64 bits: takes the next register too
	Handler devices.Handler
}

// row describes the register's low half. [PCI 3.0 6.2.5.1]
func (b *BAR) row(i int) devices.Reg {
	r := devices.Reg{
		Space: "cfg", Off: regBAR0 + 4*uint64(i), Size: 4, Name: fmt.Sprintf("BAR%d", i),
		Mask: ^(b.Size - 1) & 0xffffffff, Bits: "31:4 BASE | 2:1 TYPE | 0 IO", Ref: "[PCI 3.0 6.2.5.1]",
	}
	switch {
	case b.IO:
		r.Mask, r.Reset = r.Mask&0xffff, 1
	case b.Wide:
		r.Reset = 4
	}
	return r
}

// Bus is a PCI bus with the functions on it.
type Bus struct {
	ports, memory *mem.Space
	fns           []*Function // by devfn
	mapped        []mapping
}

type mapping struct {
	space      *mem.Space
	base, size uint64
	id         string
	bar        int
}

// Placed is where a function's BAR has put a window.
type Placed struct {
	ID         string // of the function
	BAR        int
	IO         bool
	Base, Size uint64
}

// Placed lists the windows that answer now.
func (b *Bus) Placed() []Placed {
	var out []Placed
	for _, m := range b.mapped {
		out = append(out, Placed{m.id, m.bar, m.space == b.ports, m.base, m.size})
	}
	return out
}

// NewBus makes bus 0 of a machine, whose functions' windows go to the two spaces.
// All windows with fixed places are to be mapped before the guest runs.
func NewBus(ports, memory *mem.Space) *Bus { return &Bus{ports: ports, memory: memory} }

// devfn is the number of a function on its bus.
func devfn(slot, fn uint8) uint8 { return slot<<3 | fn&7 }

// Add puts a function on the bus. Its State becomes that of power-on.
func (b *Bus) Add(f *Function) {
	at, taken := slices.BinarySearchFunc(b.fns, f.devfn(), func(g *Function, n uint8) int { return int(g.devfn()) - int(n) })
	if taken {
		panic(fmt.Sprintf("godwit bug: pci: two functions at %x.%d", f.Slot, f.Fn))
	}
	f.bus = b
	f.prepare()
	b.fns = slices.Insert(b.fns, at, f)
}

// At gives the function in a place, nil if there is none.
func (b *Bus) At(slot, fn uint8) *Function {
	n := devfn(slot, fn)
	for _, f := range b.fns {
		if f.devfn() == n {
			return f
		}
	}
	return nil
}

// remap makes the windows those that the registers ask for.
func (b *Bus) remap() {
	for _, m := range b.mapped {
		m.space.Unmap(m.base, m.size)
	}
	b.mapped = b.mapped[:0]
	for _, f := range b.fns {
		for i := range f.BARs {
			base, ok := f.window(i)
			if !ok {
				continue
			}
			m := mapping{b.memory, base, f.BARs[i].Size, f.ID, i}
			if f.BARs[i].IO {
				m.space = b.ports
			}
			if m.space.Map(m.base, m.size, f.BARs[i].Handler) == nil {
				b.mapped = append(b.mapped, m)
			}
		}
	}
}

// Configure does firmware's part: it gives every memory BAR a place from first
// on, port BARs from port on, each aligned to its size, and writes irq's answer
// for the function's pin (0..3) to its interrupt line register. It turns nothing
// on but what it has placed. It fails where [first, last] is too small.
func (b *Bus) Configure(first, last, port uint64, irq func(slot, pin int) uint8) error {
	for _, f := range b.fns {
		h := f.Config()
		command := h.Read(regCOMMAND, 2)
		for i := range f.BARs {
			bar := &f.BARs[i]
			if bar.Size == 0 {
				continue
			}
			next := &first
			if bar.IO {
				next = &port
			}
			base := (*next + bar.Size - 1) &^ (bar.Size - 1)
			*next = base + bar.Size
			if first-1 > last || port > 1<<16 {
				return fmt.Errorf("pci: BAR%d of %s needs %#x bytes: no room", i, f.ID, bar.Size)
			}
			h.Write(regBAR0+4*uint64(i), 4, base)
			if bar.Wide {
				h.Write(regBAR0+4*uint64(i)+4, 4, base>>32)
			}
			command |= bar.enable()
		}
		if f.Pin > 0 {
			h.Write(regINTLN, 1, uint64(irq(int(f.Slot), int(f.Pin)-1)))
		}
		h.Write(regCOMMAND, 2, command)
	}
	return nil
}

// enable is the command bit that lets the window answer.
func (b *BAR) enable() uint64 {
	if b.IO {
		return CommandIO
	}
	return CommandMemory
}
