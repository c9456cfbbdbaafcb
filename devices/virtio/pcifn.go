package virtio

import (
	"math/bits"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/pci"
)

// The function's windows. Messages have their own, so that a hypervisor in the
// guest can give the other away.
const (
	barRegs     = 0 // and 1: it is 64 bits wide
	barMSIX     = 2
	barRegsSize = 0x4000
	barMSIXSize = 0x1000
	msixPBA     = 0x800

	offCommon = 0x0000
	offISR    = 0x1000
	offDevice = 0x2000
	offNotify = 0x3000
	partSize  = 0x1000

	// minDevice is the device configuration's size in the capabilities at least.
	// Why: Linux refuses a device that has an empty one
	// (virtio_pci_modern_dev.c vp_modern_map_capability).
	minDevice = 4

	notifyMultiplier = 4 // bytes between two queues' notification registers
)

// Capabilities: where they are, and their types [VIRTIO 1.3 4.1.4].
const (
	capCommon = 0x40
	capNotify = 0x50
	capISR    = 0x64
	capDevice = 0x74
	capPCI    = 0x84
	capMSIX   = 0x98

	capVendor = 0x09
	capLen    = 16

	typeCommon = 1
	typeNotify = 2
	typeISR    = 3
	typeDevice = 4
	typePCI    = 5

	pciBar    = capPCI + 4
	pciOffset = capPCI + 8
	pciLength = capPCI + 12
	pciData   = capPCI + 16
)

const vendorID = 0x1af4

// part is one structure of the register window.
type part struct {
	name string
	typ  uint8 // of its capability
	at   uint64
	off  uint64
	size uint64
	h    func(*transport) devices.Handler
}

var parts = [...]part{
	{"common", typeCommon, capCommon, offCommon, commonSize, func(t *transport) devices.Handler { return common{t} }},
	{"notify", typeNotify, capNotify, offNotify, 0, func(t *transport) devices.Handler { return notify{t} }},
	{"isr", typeISR, capISR, offISR, 1, func(t *transport) devices.Handler { return isr{t} }},
	{"device", typeDevice, capDevice, offDevice, 0, func(t *transport) devices.Handler { return device{t} }},
}

// length is the part's size in this device.
func (t *transport) length(p *part) uint64 {
	switch p.typ {
	case typeNotify:
		return notifyMultiplier * uint64(len(t.spec.Queues))
	case typeDevice:
		return max(t.spec.ConfigSize, minDevice)
	}
	return p.size
}

// function describes the device on the bus [VIRTIO 1.3 4.1.2].
func (t *transport) function() *pci.Function {
	rows := pci.Header(pci.Ident{
		Vendor: vendorID, Device: 0x1040 + t.spec.ID, SubVendor: vendorID, SubDevice: 0x1040 + t.spec.ID,
		Revision: 1, Class: t.spec.Class, Command: pci.CommandMemory | pci.CommandMaster | 1<<10, Pin: 1, Capability: capCommon,
	})
	for i := range parts {
		p := &parts[i]
		n := uint64(capLen)
		if p.typ == typeNotify {
			n += 4
			rows = append(rows, ro(p.at+16, 4, "NOTIFY_MULTIPLIER", notifyMultiplier))
		}
		next := uint64(capPCI)
		if i+1 < len(parts) {
			next = parts[i+1].at
		}
		rows = append(rows, capability(p.at, next, n, p.typ)...)
		rows = append(rows, ro(p.at+4, 1, "CAP_BAR", barRegs), ro(p.at+8, 4, "CAP_OFFSET", p.off), ro(p.at+12, 4, "CAP_LENGTH", t.length(p)))
	}
	rows = append(rows, capability(capPCI, capMSIX, capLen+4, typePCI)...)
	rows = append(rows,
		rw(pciBar, 1, "PCI_CFG_BAR", 0xff), rw(pciOffset, 4, "PCI_CFG_OFFSET", 0xffffffff), rw(pciLength, 4, "PCI_CFG_LENGTH", 0xffffffff),
		devices.Reg{Space: "cfg", Off: pciData, Size: 4, Name: "PCI_CFG_DATA", Acc: devices.RC, Banked: true, Ref: "[VIRTIO 1.3 4.1.4.9]"})
	rows = append(rows, pci.MSIXRows(capMSIX, 0, len(t.spec.Queues)+1, barMSIX, msixPBA)...)
	return &pci.Function{ID: pci.Name(t.w.Slot, 0), Slot: t.w.Slot, Pin: 1, Regs: rows, Line: t.w.Line, State: &t.s.Config, Owner: t}
}

func ro(off uint64, size int, name string, v uint64) devices.Reg {
	return devices.Reg{Space: "cfg", Off: off, Size: size, Name: name, Acc: devices.RO, Reset: v, Ref: "[VIRTIO 1.3 4.1.4]"}
}

func rw(off uint64, size int, name string, mask uint64) devices.Reg {
	return devices.Reg{Space: "cfg", Off: off, Size: size, Name: name, Mask: mask, Ref: "[VIRTIO 1.3 4.1.4.9]"}
}

// capability is the start that all of the vendor's capabilities share.
func capability(at, next, length uint64, typ uint8) []devices.Reg {
	return []devices.Reg{ro(at, 1, "CAP_ID", capVendor), ro(at+1, 1, "CAP_NEXT", next), ro(at+2, 1, "CAP_LEN", length), ro(at+3, 1, "CFG_TYPE", uint64(typ))}
}

// registers is the window that BAR 0 asks for: its four parts.
type registers struct{ t *transport }

func (r registers) part(off uint64) (devices.Handler, bool) {
	for i := range parts {
		if p := &parts[i]; off-p.off < partSize {
			return p.h(r.t), off-p.off < r.t.length(p)
		}
	}
	return nil, false
}

func (r registers) Read(off uint64, size int) uint64 {
	h, ok := r.part(off)
	if !ok {
		return 0
	}
	return h.Read(off%partSize, size)
}

func (r registers) Write(off uint64, size int, v uint64) {
	if h, ok := r.part(off); ok {
		h.Write(off%partSize, size, v)
	}
}

// isr is the ISR status: reading clears it and lets go of the pin.
type isr struct{ t *transport }

func (h isr) Read(off uint64, size int) uint64 {
	if off != 0 {
		return 0
	}
	v := h.t.s.ISR
	h.t.s.ISR = 0
	h.t.fn.SetINTx(false)
	return uint64(v)
}

func (h isr) Write(uint64, int, uint64) {}

// notify is the queues' notification registers.
type notify struct{ t *transport }

func (h notify) Read(uint64, int) uint64 { return 0 }

func (h notify) Write(off uint64, _ int, _ uint64) {
	if off%notifyMultiplier == 0 {
		h.t.kick(off / notifyMultiplier)
	}
}

// device is the device configuration.
type device struct{ t *transport }

func (h device) Read(off uint64, size int) uint64 {
	if h.t.spec.ConfigSize == 0 {
		return 0
	}
	return h.t.typ.ReadConfig(off, size)
}

func (h device) Write(off uint64, size int, v uint64) {
	if h.t.spec.ConfigSize != 0 {
		h.t.typ.WriteConfig(off, size, v)
	}
}

// window is the access that the PCI_CFG capability asks for
// [VIRTIO 1.3 4.1.4.9].
func (t *transport) window() (off uint64, size int, ok bool) {
	w := &t.s.Config.Words
	off, length := uint64(w[pciOffset/4]), w[pciLength/4]
	ok = uint8(w[pciBar/4]) == barRegs && length <= 4 && bits.OnesCount32(length) == 1 &&
		off%uint64(length) == 0 && off < barRegsSize
	return off, int(length), ok
}

// ReadConfig answers the capability's data register.
func (t *transport) ReadConfig(off uint64, size int) (uint64, bool) {
	if off&^3 != pciData {
		return 0, false
	}
	at, n, ok := t.window()
	if !ok {
		t.GuestError("bad access by the PCI_CFG capability")
		return 0, true
	}
	return registers{t}.Read(at, n) & (1<<(8*n) - 1) >> (8 * (off & 3)) & (1<<(8*size) - 1), true
}

// WriteConfig is ReadConfig for writes.
func (t *transport) WriteConfig(off uint64, _ int, v uint64) bool {
	if off&^3 != pciData {
		return false
	}
	if at, n, ok := t.window(); ok && off == pciData {
		registers{t}.Write(at, n, v&(1<<(8*n)-1))
	} else {
		t.GuestError("bad access by the PCI_CFG capability")
	}
	return true
}

// ConfigChanged looks at what waits for a bit of the configuration space: the pin
// goes when MSI-X comes, messages when they are unmasked, queues with mastership.
func (t *transport) ConfigChanged() {
	if t.msix.Enabled() && t.s.Config.INTx {
		t.fn.SetINTx(false)
	}
	t.msix.Update()
	t.Retry()
}

// Regs describes all windows.
func (t *transport) Regs() []devices.Reg {
	rows := append([]devices.Reg{}, t.fn.Regs...)
	for i := range commonRegs {
		row := commonRegs[i].Reg
		row.Space = "common"
		switch row.Name {
		case "DEVICE_FEATURE":
			row.Reset = t.offered() & 0xffffffff
		case "NUM_QUEUES":
			row.Reset = uint64(len(t.spec.Queues))
		}
		rows = append(rows, row)
	}
	rows = append(rows,
		devices.Reg{Space: "isr", Size: 1, Name: "ISR", Acc: devices.RC, Bits: "1 CONFIG | 0 QUEUE", Ref: "[VIRTIO 1.3 4.1.4.5]"},
		devices.Reg{Space: "notify", Size: 2, Name: "NOTIFY", Acc: devices.WO, Mask: 0xffff, Ref: "[VIRTIO 1.3 4.1.4.4]"})
	rows = append(rows, pci.TableRows(msixPBA)...)
	return append(rows, t.spec.Regs...)
}

// Spaces lists the windows by the names in Regs.
func (t *transport) Spaces() []bus.Window {
	ws := []bus.Window{
		{Name: "cfg", Size: pci.ConfigSize, Handler: t.fn.Config()},
		{Name: "msix", Size: barMSIXSize, Handler: t.msix.Table(msixPBA)},
	}
	for i := range parts {
		p := &parts[i]
		ws = append(ws, bus.Window{Name: p.name, Size: max(t.length(p), 1), Handler: p.h(t)})
	}
	return ws
}
