package pci

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Ports of configuration mechanism #1 [PCI 3.0 3.2.2.3.2].
const (
	ConfigPort = 0xcf8
	portsSize  = 8 // CONFADD and CONFDATA
	offDATA    = 4
	offReset   = 1 // cf9, the reset control register of the south bridge

	addrEnable = 1 << 31
	addrMask   = addrEnable | 0x00fffffc
)

// Wiring is what a chipset function is connected to.
type Wiring struct {
	Bus *Bus
	// Reset answers byte accesses to port cf9, which lies inside CONFADD; for the
	// host bridge only. nil: nobody does.
	Reset devices.Handler
}

type hostState struct {
	Config Config `cbor:"1,keyasint"`
	ADDR   uint32 `cbor:"2,keyasint"` // CONFADD
}

// Host is the 82441FX: the host bridge at 0.0 and the configuration ports.
type Host struct {
	hostState
	w Wiring
}

// NewHost puts a host bridge on the bus and maps the configuration ports, above
// whatever answers port cf9.
func NewHost(w Wiring) (*Host, error) {
	h := &Host{w: w}
	w.Bus.Add(&Function{ID: h.ID(), Regs: hostRegs(), State: &h.Config})
	p := h.Ports()
	if err := w.Bus.ports.Overlay(p.Base, p.Size, p.Handler); err != nil {
		return nil, fmt.Errorf("%s: %w", h.ID(), err)
	}
	return h, nil
}

// hostRegs describes the bridge [82441FX 3.2]. Its registers store and have no
// effect: memory is where the machine put it.
func hostRegs() []devices.Reg {
	rows := Header(Ident{
		Vendor: 0x8086, Device: 0x1237, Revision: 2, Class: 0x060000, Command: 0x0102,
		CommandOn: CommandMaster | CommandMemory, Status: 0x0280,
	})
	rows = append(rows,
		devices.Reg{Space: "cfg", Off: 0x50, Size: 2, Name: "PMCCFG", Mask: 0xffe0, Ref: "[82441FX 3.2.11]"},
		devices.Reg{Space: "cfg", Off: 0x72, Size: 1, Name: "SMRAM", Mask: 0x78, Reset: 0x02, Bits: "6 DOPEN | 5 DCLS | 4 DLCK | 3 SMRAME | 2:0 BASE", Ref: "[82441FX 3.2.20]"},
	)
	for i := range 7 {
		mask := uint64(0x33)
		if i == 0 {
			mask = 0x30
		}
		rows = append(rows, devices.Reg{
			Space: "cfg", Off: 0x59 + uint64(i), Size: 1, Name: fmt.Sprintf("PAM%d", i), Mask: mask,
			Bits: "5 HIWE | 4 HIRE | 1 LOWE | 0 LORE", Ref: "[82441FX 3.2.17]",
		})
	}
	return rows
}

// ID returns the device's stable name.
func (h *Host) ID() string { return "pci.0/0.0" }

// State returns the guest-visible state.
func (h *Host) State() any { return &h.hostState }

// Reset brings the bridge to its initial state.
func (h *Host) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	h.ADDR = 0
	h.w.Bus.At(0, 0).Reset()
}

// Restored checks a decoded state.
func (h *Host) Restored() error {
	if h.ADDR&^addrMask != 0 {
		return fmt.Errorf("restore %s: CONFADD is %#x, only bits %#x can be set", h.ID(), h.ADDR, uint32(addrMask))
	}
	return h.w.Bus.At(0, 0).Restored()
}

// Event does nothing: the device has no timers.
func (h *Host) Event(devices.EventID) {}

// Ports is the window of the configuration ports, already mapped.
func (h *Host) Ports() bus.Window {
	return bus.Window{Name: "pio", IO: true, Base: ConfigPort, Size: portsSize, Handler: h}
}

// target is the function that CONFADD selects.
func (h *Host) target() *Function {
	if h.ADDR&addrEnable == 0 || h.ADDR>>16&0xff != 0 {
		return nil
	}
	return h.w.Bus.At(uint8(h.ADDR>>11&0x1f), uint8(h.ADDR>>8&7))
}

// Read answers the ports. CONFADD is there for dword accesses only; other ones
// go past it to the reset control register, or nowhere.
func (h *Host) Read(off uint64, size int) uint64 {
	switch {
	case off == 0 && size == 4:
		return uint64(h.ADDR)
	case off >= offDATA && off-offDATA+uint64(size) <= 4:
		f := h.target()
		if f == nil {
			break
		}
		return f.Config().Read(uint64(h.ADDR&0xfc)+off-offDATA, size)
	case off == offReset && size == 1 && h.w.Reset != nil:
		return h.w.Reset.Read(0, 1)
	case size > 1 && (size == 8 || off < offDATA && off+uint64(size) > offDATA):
		return h.Read(off, size/2) | h.Read(off+uint64(size/2), size/2)<<(4*size)
	}
	return ^uint64(0) >> (64 - 8*size)
}

// Write is Read for writes.
func (h *Host) Write(off uint64, size int, v uint64) {
	switch {
	case off == 0 && size == 4:
		h.ADDR = uint32(v) & addrMask
	case off >= offDATA && off-offDATA+uint64(size) <= 4:
		if f := h.target(); f != nil {
			f.Config().Write(uint64(h.ADDR&0xfc)+off-offDATA, size, v)
		}
	case off == offReset && size == 1 && h.w.Reset != nil:
		h.w.Reset.Write(0, 1, v&0xff)
	case size > 1 && (size == 8 || off < offDATA && off+uint64(size) > offDATA):
		h.Write(off, size/2, v&(1<<(4*size)-1))
		h.Write(off+uint64(size/2), size/2, v>>(4*size))
	}
}

// Regs describes the ports and the bridge's configuration space.
func (h *Host) Regs() []devices.Reg {
	return append([]devices.Reg{
		{Space: "pio", Off: 0, Size: 4, Name: "CONFADD", Mask: addrMask, Bits: "31 ENABLE | 23:16 BUS | 15:11 SLOT | 10:8 FN | 7:2 REG", Ref: "[82441FX 3.1.1]"},
		{Space: "pio", Off: offDATA, Size: 4, Name: "CONFDATA", Mask: 0xffffffff, Banked: true, Bits: "31:0 DATA", Ref: "[82441FX 3.1.2]"},
	}, h.w.Bus.At(0, 0).Regs...)
}
