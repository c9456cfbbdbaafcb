package machine

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/hpet"
	"godwit/devices/pci"
	"godwit/devices/pvpanic"
	"godwit/devices/virtio"
	"godwit/devices/virtio/balloon"
	vconsole "godwit/devices/virtio/console"
	"godwit/devices/virtio/rng"
	"godwit/firmware/acpi"
	"godwit/mem"
)

// Slots of the virtio devices.
const (
	slotRNG = 3 + iota
	slotConsole
	slotBalloon

	slotDisk = 8 // and those that follow
)

// pciPorts is where port BARs are placed from.
const pciPorts = 0xc000

// retrier is a device whose work may have waited for memory.
type retrier interface{ Retry() }

// pciLine is a function's pin: an input of the I/O APIC of its own and, for guests
// that leave that alone, one of the PIC [ACPI 6.5 6.2.13].
type pciLine struct{ apic, pic devices.Line }

// Set drives both.
func (l pciLine) Set(level bool) {
	l.apic.Set(level)
	l.pic.Set(level)
}

func (m *Machine) pciLine(slot, pin int) devices.Line {
	return pciLine{m.line(uint8(acpi.PCIGSI(slot, pin))), m.line(uint8(acpi.PCIIRQ(slot, pin)))}
}

// virtio is the wiring of a virtio device.
func (m *Machine) virtio(slot uint8) virtio.Wiring {
	return virtio.Wiring{
		Bus: m.pci, Slot: slot, Line: m.pciLine(int(slot), 0), MSI: m.apicBus, Mem: m.dma(),
		Stall: func() { m.dmaStalled = true },
	}
}

// dma is memory for the next device to be added.
type dma struct {
	*mem.Memory
	w mem.Writer
}

// Write is Memory.Write, under the device's name.
func (d dma) Write(pa uint64, b []byte) bool {
	d.SetWriter(d.w)
	return d.Memory.Write(pa, b)
}

func (m *Machine) dma() dma { return dma{m.mem, mem.Writer{Device: uint8(len(m.devs)) + 1}} }

// wirePCI lists the bus and what is on it.
func (m *Machine) wirePCI() []func() (devices.Device, error) {
	m.pci = pci.NewBus(&m.ports, &m.mmio)
	w := pci.Wiring{Bus: m.pci, Reset: resetControl{m}}
	devs := []func() (devices.Device, error){
		func() (devices.Device, error) { return pci.NewHost(w) },
		func() (devices.Device, error) { return pci.NewISA(w), nil },
		func() (devices.Device, error) { return pci.NewPM(w), nil },
		func() (devices.Device, error) { return rng.New(m.virtio(slotRNG), (*cpuBus)(m).Rand), nil },
		func() (devices.Device, error) {
			return vconsole.New(m.virtio(slotConsole), (*console)(m), nil), nil
		},
		func() (devices.Device, error) { return balloon.New(m.virtio(slotBalloon), nil), nil },
		func() (devices.Device, error) {
			return pvpanic.New(pvpanic.Wiring{ID: "pvpanic0", Host: (*power)(m)}), nil
		},
	}
	for i := range m.disks {
		devs = append(devs, func() (devices.Device, error) { return m.newDisk(i), nil })
	}
	return devs
}

// newHPET is made before the PIT and the RTC, whose lines go through it.
func (m *Machine) newHPET() devices.Device {
	m.hpet = hpet.New(hpet.Wiring{ID: "hpet0", Clock: m.clock(), Timer: m.line(irqTimer), RTC: m.line(irqRTC)})
	return m.hpet
}

// resetControl finds the power management block's port cf9, which the host bridge
// covers with its own.
type resetControl struct{ m *Machine }

func (r resetControl) handler() (h bus.Window) {
	for _, w := range r.m.pm.Windows() {
		if w.Base == acpi.ResetPort {
			h = w
		}
	}
	return h
}

func (r resetControl) Read(off uint64, size int) uint64 { return r.handler().Read(off, size) }

func (r resetControl) Write(off uint64, size int, v uint64) { r.handler().Write(off, size, v) }

// Panic is the guest's word that it has crashed. The host is told; what follows
// is the guest's affair.
func (p *power) Panic(uint8) { (*Machine)(p).notePanic() }

// retry lets devices go on that wait for memory or a disk; false: they still
// wait.
func (m *Machine) retry() bool {
	if !m.dmaStalled {
		return true
	}
	m.dmaStalled, m.diskLate = false, false
	for _, d := range m.devs {
		if r, ok := d.(retrier); ok {
			r.Retry()
		}
	}
	return !m.dmaStalled
}

// configurePCI is firmware's part of setting up the bus.
func (m *Machine) configurePCI() error {
	err := m.pci.Configure(acpi.PCIMemFirst, acpi.PCIMemLast, pciPorts, func(slot, pin int) uint8 { return uint8(acpi.PCIIRQ(slot, pin)) })
	if err != nil {
		return fmt.Errorf("firmware: %w", err)
	}
	return nil
}
