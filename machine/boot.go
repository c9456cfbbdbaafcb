package machine

import (
	"fmt"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/devices"
	"godwit/firmware"
	"godwit/mem"
)

// firmwareMemory is guest memory as loaders see it.
type firmwareMemory struct{ m *mem.Memory }

func (f firmwareMemory) Read(pa uint64, b []byte) { f.m.Read(pa, b) }

func (f firmwareMemory) Write(pa uint64, b []byte) bool { return f.m.Load(pa, b) == nil }

// rehearsal is memory that notes, instead of writing, whether all writes could be
// made. Why: firmware cannot stop in the middle and go on later, as a vCPU can.
type rehearsal struct {
	m  *mem.Memory
	ok bool
}

func (r *rehearsal) Read(pa uint64, b []byte) { r.ok = r.ok && r.m.Read(pa, b) }

func (r *rehearsal) Write(pa uint64, b []byte) bool {
	r.ok = r.ok && r.m.Ready(pa, len(b))
	return true
}

// Boot loads the images and points vCPU 0 at them. Until Boot or Restore, a
// machine is not to be run.
func (m *Machine) Boot() error {
	e, err := m.load(firmwareMemory{m.mem})
	if err != nil {
		return err
	}
	if len(m.images.Bios) != 0 {
		for _, r := range firmware.CMOS(m.cfg.Memory, m.cfg.CPUs) {
			m.rtc.SetRAM(r.Index, r.Value)
		}
		return nil
	}
	if err := m.asAfterFirmware(e); err != nil {
		return err
	}
	return m.enter(m.cpus[0], e)
}

// load puts the images into memory.
func (m *Machine) load(to firmware.Memory) (e firmware.Entry, err error) {
	if len(m.images.Bios) != 0 {
		return e, m.loadBios(to)
	}
	p := firmware.Platform{I8042: true, HPET: true, PVPanic: true}
	p.GenID, p.VMClock = m.identityAt()
	for i := range m.cpus {
		p.APICIDs = append(p.APICIDs, uint32(i))
	}
	e, err = firmware.Boot(to, firmware.Config{
		RAM: m.cfg.Memory, Kernel: m.images.Kernel, Initrd: m.images.Initrd, Cmdline: m.cfg.Append, ModuleArgs: m.cfg.ModuleArgs,
		Platform: p,
	})
	if err == nil {
		err = m.showIdentity(to)
	}
	return e, err
}

// shadow is how much of a ROM's end chipsets show below 1 MiB as well.
const shadow = 128 << 10

// loadBios fills the ROM and leaves vCPU 0 at its reset vector. What shows below
// 1 MiB is a copy, as if the chipset had shadowed it already: a guest can write
// to it.
func (m *Machine) loadBios(to firmware.Memory) error {
	b := m.images.Bios
	low := b[len(b)-min(len(b), shadow):]
	if !to.Write(mem.HighBase-uint64(len(b)), b) || !to.Write(1<<20-uint64(len(low)), low) {
		return fmt.Errorf("bios of %d bytes does not fit", len(b))
	}
	return nil
}

// asAfterFirmware makes the register settings that kernels entered by e take for
// granted.
func (m *Machine) asAfterFirmware(e firmware.Entry) error {
	for _, c := range m.cpus {
		m.placeAPIC(c)
		for _, r := range firmware.MSRs(cpu.PhysBits) {
			if !c.SetMSR(r.Index, r.Value) {
				return fmt.Errorf("firmware sets msr %#x to %#x, which vcpu %d refuses", r.Index, r.Value, c.ID())
			}
		}
	}
	m.cur = m.cpus[0] // its local APIC is the one that is seen
	m.cur.Count = m.st.Count
	writes := firmware.DeviceWrites()
	if e.Vectors {
		writes = append(writes, firmware.VectorWrites()...)
	}
	for _, w := range writes {
		if w.Port {
			m.ports.Write(w.Addr, w.Size, uint64(w.Value))
		} else {
			(*cpuBus)(m).WriteMMIO(w.Addr, w.Size, uint64(w.Value))
		}
	}
	m.cur = nil
	return m.configurePCI()
}

// enter sets a vCPU to a loader's entry state.
func (m *Machine) enter(c *cpu.CPU, e firmware.Entry) error {
	c.RIP, c.RFLAGS = e.RIP, e.RFLAGS|2
	copy(c.R[:], []uint64{e.RAX, e.RCX, e.RDX, e.RBX, e.RSP, e.RBP, e.RSI, e.RDI})
	c.CR0, c.CR3, c.CR4, c.EFER = e.CR0, e.CR3, e.CR4, e.EFER
	for i, s := range [...]firmware.Segment{isa.ES: e.ES, isa.CS: e.CS, isa.SS: e.SS, isa.DS: e.DS, isa.FS: e.FS, isa.GS: e.GS} {
		c.Seg[i] = segment(s)
	}
	c.TR, c.LDTR = segment(e.TR), segment(e.LDT)
	c.GDTR, c.IDTR = cpu.Table(e.GDT), cpu.Table(e.IDT)
	if err := c.Restored(); err != nil {
		return fmt.Errorf("entry state: %w", err)
	}
	return nil
}

func segment(s firmware.Segment) cpu.Segment {
	return cpu.Segment{Sel: s.Selector, Attr: s.Attr, Limit: s.Limit, Base: s.Base}
}

// resetDevices resets everything but memory and time.
func (m *Machine) resetDevices(kind devices.ResetKind) {
	for _, d := range m.devs {
		d.Reset(kind)
	}
	for _, c := range m.cpus {
		if kind != devices.PowerOn {
			c.Reset()
		}
		m.placeAPIC(c)
	}
}

// reboot is the reset line: devices and vCPUs start afresh, memory stays, and
// the images are loaded again. False: memory refuses that for now, and nothing
// has happened yet.
func (m *Machine) reboot() bool {
	r := rehearsal{m.mem, true}
	if _, err := m.load(&r); err != nil {
		panic(fmt.Sprintf("godwit bug: images that booted once do not boot again: %v", err))
	}
	if !r.ok {
		return false
	}
	m.st.Reset, m.st.Sleep = false, awake
	m.resetDevices(devices.Warm)
	m.st.Turn, m.st.SliceEnd = 0, m.st.Count+m.cfg.Slice
	if err := m.Boot(); err != nil {
		panic(fmt.Sprintf("godwit bug: images that booted once do not boot again: %v", err))
	}
	return true
}
