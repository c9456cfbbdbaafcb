package boot

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// TestDebianSeesThePC asks a stock kernel what it found: each device that the
// machine has, by the driver that took it, the clocks, the processors' places,
// and that it has no speculation flaw to work around.
func TestDebianSeesThePC(t *testing.T) {
	m, a := talk(t, 4,
		`grep . /sys/devices/system/cpu/vulnerabilities/* | sed 's,^/[^:]*/,flaw ,'`,
		`cat /sys/devices/system/clocksource/clocksource0/available_clocksource`,
		`for d in /sys/bus/pci/devices/*; do echo pci ${d##*:} $(cat $d/vendor $d/device $d/class); done`,
		`echo acpi $(ls /sys/bus/acpi/devices); echo $(ls /sys/firmware/acpi/tables)`,
		`cat /proc/interrupts | cut -c1-10,50-; cat /proc/ioports; cat /proc/mtrr`,
		`for c in 0 1 2 3; do cd /sys/devices/system/cpu/cpu$c/topology; echo place $(cat physical_package_id core_id thread_siblings_list core_siblings_list); done; cd /`,
		`echo $(grep -E '^(siblings|cpu cores|apicid)' /proc/cpuinfo | tr -d '\t')`,
		`dmesg | grep -iE 'kvm|tsc|hpet|8042|serio|rtc|pm-timer|x2apic|smp|ttyS|Spectre|TIMER'`,
		`poweroff -f`)
	require.Equal(t, machine.Off, m.Run(m.Count()+5_000_000_000), "%s", tail(&a.out))
	o := a.String()
	healthy(t, o)
	require.NotContains(t, o, "Vulnerable")
	for _, pattern := range []string{
		`flaw meltdown:Not affected`, `flaw mds:Not affected`, `flaw spectre_v2:Mitigation: Enhanced / Automatic IBRS`, `flaw retbleed:Not affected`,
		`\ntsc kvm-clock hpet acpi_pm`,
		`pci 00.0 0x8086 0x1237 0x060000`, `pci 01.0 0x8086 0x7000 0x060100`, `pci 01.3 0x8086 0x7113 0x068000`,
		`pci 03.0 0x1af4 0x1044`, `pci 04.0 0x1af4 0x1043`, `pci 05.0 0x1af4 0x1045`,
		`acpi .*ACPI0007:03 .*LNXPWRBN:00 .*PNP0103:00 .*PNP0303:00 .*PNP0501:00 .*PNP0A03:00 .*PNP0B00:00 .*PNP0F13:00 .*QEMU0001:00`,
		`\nAPIC DSDT FACP FACS HPET`,
		` 0:.*IO-APIC +2-edge +timer`, ` 4:.*4-edge +ttyS0`, ` 9:.*9-fasteoi +acpi`, `PCI-MSI.*virtio0-input`, `PCI-MSI.*virtio2-reporting_vq`,
		`0505-0505 : QEMU0001:00`, `0608-060b : ACPI PM_TMR`, `0cf8-0cff : PCI conf1`, `reg00: base=0x0c0000000 .*uncachable`,
		`place 0 0 0 0-3\r`, `place 0 3 3 0-3\r`,
		`siblings: 4 cpu cores: 4 apicid: 0 .*siblings: 4 cpu cores: 4 apicid: 3`,
		`Hypervisor detected: KVM`, `kvm-clock: Using msrs 4b564d01 and 4b564d00`, `TSC deadline timer available`, `tsc: Detected 1000.000 MHz`,
		`x2apic enabled`, `PM-Timer IO Port: 0x608`, `\.\.TIMER: vector=0x30 apic1=0 pin1=2`, `hpet0: 3 comparators, 64-bit 100.000000 MHz`,
		`ttyS0 at I/O 0x3f8 .* is a 16550A`, `i8042 KBD port at 0x60,0x64 irq 1`, `i8042 AUX port at 0x60,0x64 irq 12`,
		`rtc_cmos 00:00: setting system clock to 2026-01-01T00:00:`, `smp: Brought up 1 node, 4 CPUs`,
	} {
		require.Regexp(t, regexp.MustCompile(pattern), o)
	}
}
