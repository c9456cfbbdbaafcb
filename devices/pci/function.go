package pci

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// ConfigSize is the size of a function's configuration space in bytes.
const ConfigSize = 256

// Config is the state of a function's configuration space.
type Config struct {
	// Words holds the bits that the guest can write, by dword. All others follow
	// from the function's registers and are zero here.
	Words [ConfigSize / 4]uint32 `cbor:"1,keyasint"`
	INTx  bool                   `cbor:"2,keyasint"` // the function asks for an interrupt by its pin
}

// Owner is the device that a function belongs to.
type Owner interface {
	// ReadConfig and WriteConfig answer registers that do more than store, and
	// tell whether this was one. The access lies within one dword.
	ReadConfig(off uint64, size int) (uint64, bool)
	WriteConfig(off uint64, size int, v uint64) bool
	// ConfigChanged follows each write that changed a register.
	ConfigChanged()
}

// Function is one function's place on a bus: what it is, which never changes,
// and where its state is.
type Function struct {
	ID       string
	Slot, Fn uint8
	Pin      uint8         // 1..4: INTA..INTD; 0: none
	Regs     []devices.Reg // of space "cfg", the BARs' rows aside
	BARs     [BARs]BAR
	Line     devices.Line // the pin's
	State    *Config
	Owner    Owner // nil if all registers just store

	bus   *Bus
	mask  [ConfigSize / 4]uint32 // writable bits
	fixed [ConfigSize / 4]uint32 // what the others read as
	reset [ConfigSize / 4]uint32 // power-on values of the writable bits
}

func (f *Function) devfn() uint8 { return devfn(f.Slot, f.Fn) }

// prepare turns the rows into masks.
func (f *Function) prepare() {
	for i := range f.BARs {
		b := &f.BARs[i]
		if b.Size == 0 {
			continue
		}
		f.Regs = append(f.Regs, b.row(i))
		if b.Wide {
			f.Regs = append(f.Regs, devices.Reg{
				Space: "cfg", Off: regBAR0 + 4*uint64(i) + 4, Size: 4,
				Name: fmt.Sprintf("BAR%d_HIGH", i), Mask: ^(b.Size - 1) >> 32, Bits: "31:0 BASE", Ref: "[PCI 3.0 6.2.5.1]",
			})
		}
	}
	for _, r := range f.Regs {
		mask := r.Mask
		if r.Acc != devices.RW {
			mask = 0
		}
		for n := range uint64(r.Size) {
			w, shift := (r.Off+n)/4, 8*((r.Off+n)%4)
			m := uint32(mask>>(8*n)&0xff) << shift
			v := uint32(r.Reset>>(8*n)&0xff) << shift
			f.mask[w] |= m
			f.fixed[w] |= v &^ m
			f.reset[w] |= v & m
		}
	}
	f.State.Words = f.reset
	f.State.INTx = false
}

// Reset brings the registers to their power-on values and lets go of the pin.
func (f *Function) Reset() {
	f.State.Words = f.reset
	f.SetINTx(false)
	f.bus.remap()
}

// Restored checks a decoded state and maps the windows that it asks for.
func (f *Function) Restored() error {
	for i, w := range f.State.Words {
		if w&^f.mask[i] != 0 {
			return fmt.Errorf("restore %s: configuration dword %#x is %#x, only bits %#x can be set", f.ID, 4*i, w, f.mask[i])
		}
	}
	f.bus.remap()
	return nil
}

// Command is the command register.
func (f *Function) Command() uint16 { return uint16(f.State.Words[regCOMMAND/4]) }

// Master tells whether the function may reach memory, be it for data or for
// interrupt messages [PCI 3.0 6.2.2].
func (f *Function) Master() bool { return f.Command()&CommandMaster != 0 }

// SetINTx asserts or releases the function's interrupt pin.
func (f *Function) SetINTx(level bool) {
	f.State.INTx = level
	f.drive()
}

func (f *Function) drive() {
	if f.Line != nil {
		f.Line.Set(f.State.INTx && f.Command()&commandNoINTx == 0)
	}
}

// window tells where a BAR is, and whether it answers. Why a base of 0 does not:
// it means that nobody has placed the window yet.
func (f *Function) window(i int) (base uint64, ok bool) {
	b := &f.BARs[i]
	if b.Size == 0 || uint64(f.Command())&b.enable() == 0 {
		return 0, false
	}
	base = uint64(f.State.Words[regBAR0/4+i])
	if b.Wide {
		base |= uint64(f.State.Words[regBAR0/4+i+1]) << 32
	}
	return base, base != 0
}

// dword reads four registers.
func (f *Function) dword(n uint64) uint32 {
	v := f.State.Words[n] | f.fixed[n]
	if n == regSTATUS/4 && f.State.INTx {
		v |= statusINTx << 16
	}
	return v
}

// config is the configuration space as a window.
type config struct{ f *Function }

// Config answers accesses to the configuration space.
func (f *Function) Config() devices.Handler { return config{f} }

// within tells whether an access lies in one dword of the space.
func within(off uint64, size int) bool { return off%4+uint64(size) <= 4 && off < ConfigSize }

// Read answers an access of any size; one that crosses dwords in bytes.
func (c config) Read(off uint64, size int) uint64 {
	if !within(off, size) {
		return bus.ReadBytes(func(o uint64) uint8 {
			if o >= ConfigSize {
				return 0xff
			}
			return uint8(c.Read(o, 1))
		}, off, size)
	}
	if c.f.Owner != nil {
		if v, ok := c.f.Owner.ReadConfig(off, size); ok {
			return v
		}
	}
	return uint64(c.f.dword(off/4)>>(8*(off%4))) & (1<<(8*size) - 1)
}

// Write is Read for writes.
func (c config) Write(off uint64, size int, v uint64) {
	if !within(off, size) {
		bus.WriteBytes(func(o uint64, b uint8) {
			if o < ConfigSize {
				c.Write(o, 1, uint64(b))
			}
		}, off, size, v)
		return
	}
	if c.f.Owner != nil && c.f.Owner.WriteConfig(off, size, v) {
		return
	}
	shift := 8 * (off % 4)
	c.f.store(off/4, uint32(v<<shift), uint32((1<<(8*size)-1)<<shift))
}

// store writes the bits of m in a dword.
func (f *Function) store(n uint64, v, m uint32) {
	m &= f.mask[n]
	old := f.State.Words[n]
	f.State.Words[n] = old&^m | v&m
	if f.State.Words[n] == old {
		return
	}
	if n == regCOMMAND/4 || n >= regBAR0/4 && n < regBAR0/4+BARs {
		f.bus.remap()
		f.drive()
	}
	if f.Owner != nil {
		f.Owner.ConfigChanged()
	}
}

// Ident is what a function's header says of it.
type Ident struct {
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Revision             uint8
	Class                uint32 // class, subclass, interface: three bytes
	Command              uint16 // bits of COMMAND that can be written
	CommandOn            uint16 // bits that read as one for good
	Status               uint16
	MultiFunction        bool
	Pin                  uint8
	Capability           uint8 // offset of the first capability; 0: none
}

// Header describes a type 0 header without its BARs [PCI 3.0 6.1].
func Header(id Ident) []devices.Reg {
	status, kind := uint64(id.Status), uint64(0)
	if id.Capability != 0 {
		status |= statusCaps
	}
	if id.MultiFunction {
		kind = 0x80
	}
	ro := func(off uint64, size int, name string, v uint64, ref string) devices.Reg {
		return devices.Reg{Space: "cfg", Off: off, Size: size, Name: name, Acc: devices.RO, Reset: v, Ref: ref}
	}
	rows := []devices.Reg{
		ro(0x00, 2, "VID", uint64(id.Vendor), "[PCI 3.0 6.2.1]"),
		ro(0x02, 2, "DID", uint64(id.Device), "[PCI 3.0 6.2.1]"),
		{
			Space: "cfg", Off: regCOMMAND, Size: 2, Name: "COMMAND", Mask: uint64(id.Command), Reset: uint64(id.CommandOn),
			Bits: "10 INTX_DISABLE | 8 SERR | 6 PARITY | 2 MASTER | 1 MEMORY | 0 IO", Ref: "[PCI 3.0 6.2.2]",
		},
		{
			Space: "cfg", Off: regSTATUS, Size: 2, Name: "STATUS", Acc: devices.RO, Reset: status,
			Bits: "10:9 DEVSEL | 7 FAST | 4 CAPS | 3 INTX", Ref: "[PCI 3.0 6.2.3]",
		},
		ro(0x08, 1, "RID", uint64(id.Revision), "[PCI 3.0 6.2.1]"),
		ro(0x09, 1, "PI", uint64(id.Class&0xff), "[PCI 3.0 6.2.1]"),
		ro(0x0a, 2, "CC", uint64(id.Class>>8), "[PCI 3.0 6.2.1]"),
		ro(0x0e, 1, "HEADTYP", kind, "[PCI 3.0 6.2.1]"),
		ro(0x2c, 2, "SVID", uint64(id.SubVendor), "[PCI 3.0 6.2.4]"),
		ro(0x2e, 2, "SID", uint64(id.SubDevice), "[PCI 3.0 6.2.4]"),
		ro(regCAP, 1, "CAPPTR", uint64(id.Capability), "[PCI 3.0 6.7]"),
		ro(0x3d, 1, "INTPN", uint64(id.Pin), "[PCI 3.0 6.2.4]"),
	}
	if id.Pin != 0 {
		rows = append(rows, devices.Reg{Space: "cfg", Off: regINTLN, Size: 1, Name: "INTLN", Mask: 0xff, Ref: "[PCI 3.0 6.2.4]"})
	}
	return rows
}
