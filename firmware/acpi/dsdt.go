package acpi

import "fmt"

// The PCI host bridge's 32-bit memory window: from the end of low RAM to the
// IOAPIC.
const (
	PCIMemFirst = 0xc0000000
	PCIMemLast  = 0xfebfffff
)

// PCIGSI is the IOAPIC input of INTA..INTD (pin 0..3) of a slot on bus 0: eight
// inputs of their own, so that few devices share one.
func PCIGSI(slot, pin int) uint32 { return 16 + uint32(slot+pin)&7 }

// PCIIRQ is the PIC input of the same pin, for guests that leave the IOAPIC
// alone. The machine drives both; firmware sets these inputs (and the SCI's) to
// level in the ELCR.
func PCIIRQ(slot, pin int) uint32 { return 10 + uint32(slot+pin)&1 }

// ELCR is the edge/level control, ports 4d0 (low byte) and 4d1, that firmware
// leaves behind: SCI and both PCI interrupts are level triggered.
const ELCR = 1<<sciIRQ | 1<<10 | 1<<11

// pciSlots is how many slots of bus 0 have interrupts routed.
const pciSlots = 32

// dsdt is the differentiated description: what cannot be probed.
func dsdt(c Config) []byte {
	return table("DSDT", 2, concat(
		// Sleep types. Why 0: guests written for QEMU's pc power off by writing
		// SLP_EN alone to PM1a_CNT.
		name(`\_S5`, pkg(integer(SleepTypeS5), integer(SleepTypeS5), integer(0), integer(0))),
		name(`\_S3`, pkg(integer(SleepTypeS3), integer(SleepTypeS3), integer(0), integer(0))),
		name(`\_S4`, pkg(integer(SleepTypeS4), integer(SleepTypeS4), integer(0), integer(0))),
		// 0: PIC, 1: APIC; set by _PIC [ACPI 6.5 5.8.1].
		name(`\PICF`, integer(0)),
		method(`\_PIC`, 1, store(arg(0), `\PICF`)),
		scope(`\_SB`, pciRoot(c), processors(c.APICIDs), optional(c.HPET, hpetDevice()), optional(c.PVPanic, pvpanicDevice()),
			optional(c.GenID != 0, genIDDevice(c.GenID)), optional(c.VMClock != 0, vmclockDevice(c.VMClock))),
		optional(c.GenID != 0, event(GenIDEvent, `\_SB.VGEN`)),
		optional(c.VMClock != 0, event(VMClockEvent, `\_SB.VCLK`)),
	))
}

// event has an edge-triggered general-purpose event tell a device's driver to look
// [ACPI 6.5 5.6.4.1].
func event(n int, object string) aml {
	return scope(`\_GPE`, method(fmt.Sprintf("_E%02X", n), 0, notify(object, 0x80)))
}

func optional(present bool, t aml) aml {
	if present {
		return t
	}
	return nil
}

// pciRoot is the host bridge with the ISA devices behind it.
func pciRoot(c Config) aml {
	windows := concat(
		busRange(0, 0xff),
		ioPorts(0xcf8, 8),
		ioRange(0, 0xcf7),
		ioRange(0xd00, 0xffff),
		optional(c.VGA, memRange32(0xa0000, 0xbffff)),
		memRange32(PCIMemFirst, PCIMemLast),
	)
	if c.PCI64Size > 0 {
		windows = concat(windows, memRange64(c.PCI64Base, c.PCI64Base+c.PCI64Size-1))
	}
	return device("PCI0",
		name("_HID", eisaID("PNP0A03")),
		name("_UID", integer(0)),
		name("_CRS", resources(windows)),
		name("PRTA", routes(PCIGSI)),
		name("PRTP", routes(PCIIRQ)),
		method("_PRT", 0, ifTrue(path(`\PICF`), ret(path("PRTA"))), ret(path("PRTP"))),
		device("ISA",
			name("_ADR", integer(1<<16)), // slot 1, function 0
			isaDevice("RTC", "PNP0B00", 0, ioPorts(0x70, 2), irq(8)),
			isaDevice("COM1", "PNP0501", 1, ioPorts(0x3f8, 8), irq(4)),
			optional(c.COM2, isaDevice("COM2", "PNP0501", 2, ioPorts(0x2f8, 8), irq(3))),
			optional(c.I8042, isaDevice("KBD", "PNP0303", 0, ioPorts(0x60, 1), ioPorts(0x64, 1), irq(1))),
			optional(c.I8042, isaDevice("MOU", "PNP0F13", 0, irq(12))),
		),
	)
}

// routes is a _PRT table: every pin of every slot, wired to a fixed interrupt
// [ACPI 6.5 6.2.13].
func routes(to func(slot, pin int) uint32) aml {
	var entries []aml
	for slot := range pciSlots {
		for pin := range 4 {
			entries = append(entries, pkg(
				integer(uint64(slot)<<16|0xffff), integer(uint64(pin)),
				integer(0), integer(uint64(to(slot, pin)))))
		}
	}
	return pkg(entries...)
}

// isaDevice is a device with fixed resources; uid tells like devices apart.
func isaDevice(n, hid string, uid uint64, items ...aml) aml {
	return device(n, name("_HID", eisaID(hid)), name("_UID", integer(uid)),
		name("_STA", integer(0x0f)), name("_CRS", resources(items...)))
}

// processors names every CPU of the MADT by its UID [ACPI 6.5 8.4].
func processors(ids []uint32) aml {
	var b aml
	for uid := range ids {
		b = concat(b, device(fmt.Sprintf("C%03X", uid),
			name("_HID", str("ACPI0007")), name("_UID", integer(uint64(uid)))))
	}
	return b
}

func hpetDevice() aml {
	return device("HPET", name("_HID", eisaID("PNP0103")), name("_UID", integer(0)),
		name("_CRS", resources(memory32(true, hpetBase, 0x400))))
}

// pvpanicDevice is the panic port that Linux's pvpanic driver looks for
// [QEMU specs/pvpanic].
func pvpanicDevice() aml {
	return device("PEVT", name("_HID", str("QEMU0001")), name("_STA", integer(0x0f)),
		name("_CRS", resources(ioPorts(0x505, 1))))
}

// genIDDevice says where the machine's identity is. When it changes, GenIDEvent is
// raised [MS-VMGENID].
func genIDDevice(addr uint32) aml {
	return device("VGEN", name("_HID", str("QEMUVGID")), name("_CID", str("VM_Gen_Counter")), name("_DDN", str("VM_Gen_Counter")),
		method("ADDR", 0, ret(pkg(integer(uint64(addr)), integer(0)))))
}

// vmclockDevice says where the page is that relates the time stamp counter to UTC.
// When it changes, VMClockEvent is raised [VMCLOCK].
func vmclockDevice(addr uint32) aml {
	return device("VCLK", name("_HID", str("AMZNC10C")), name("_CID", str("VMCLOCK")), name("_DDN", str("VMCLOCK")),
		name("_STA", integer(0x0f)), name("_CRS", resources(memory32(false, addr, 4096))))
}
