package acpi

import "encoding/binary"

// FADT fields by their offset in the table [ACPI 6.5 5.2.9 Table 5.9].
const (
	fadtFACS        = 36
	fadtDSDT        = 40
	fadtSCI         = 46
	fadtSMICommand  = 48
	fadtACPIEnable  = 52
	fadtACPIDisable = 53
	fadtPM1Event    = 56
	fadtPM1Control  = 64
	fadtPMTimer     = 76
	fadtGPE0        = 80
	fadtLengths     = 88 // PM1_EVT, PM1_CNT, PM2_CNT, PM_TMR, GPE0, GPE1: bytes
	fadtC2Latency   = 96
	fadtC3Latency   = 98
	fadtDayAlarm    = 106
	fadtMonthAlarm  = 107
	fadtCentury     = 108
	fadtBootArch    = 109
	fadtFlags       = 112
	fadtResetReg    = 116
	fadtResetValue  = 128
	fadtMinor       = 131
	fadtXDSDT       = 140
	fadtXPM1Event   = 148
	fadtXPM1Control = 172
	fadtXPMTimer    = 208
	fadtXGPE0       = 220
	fadtHypervisor  = 268
	fadtSize        = 276
)

// IAPC_BOOT_ARCH [ACPI 6.5 5.2.9.3].
const (
	bootLegacyDevices = 1 << 0
	boot8042          = 1 << 1
	bootNoVGA         = 1 << 2
)

// Fixed feature flags [ACPI 6.5 5.2.9 Table 5.10]. PWR_BUTTON and FIX_RTC are 0:
// the power button and the RTC's wake are fixed features.
const (
	flagWBINVD        = 1 << 0
	flagC1            = 1 << 2
	flagNoSleepButton = 1 << 5
	flagResetReg      = 1 << 10
	flagPlatformClock = 1 << 15
)

// noCState is a latency that says the C-state is absent [ACPI 6.5 5.2.9].
const noCState = 0xfff

// fadt describes the fixed hardware, revision 6.5.
func fadt(c Config, dsdt, facs uint32) []byte {
	b := make([]byte, fadtSize)
	p16 := func(off int, v uint16) { binary.LittleEndian.PutUint16(b[off:], v) }
	p32 := func(off int, v uint32) { binary.LittleEndian.PutUint32(b[off:], v) }
	p32(fadtFACS, facs)
	p32(fadtDSDT, dsdt)
	binary.LittleEndian.PutUint64(b[fadtXDSDT:], uint64(dsdt))
	p16(fadtSCI, sciIRQ)
	p32(fadtSMICommand, SMICommand)
	b[fadtACPIEnable], b[fadtACPIDisable] = ACPIEnable, ACPIDisable
	for _, r := range []struct {
		off, xoff int
		port      uint32
		bytes     byte
		length    int // index in fadtLengths
		size      byte
	}{
		{fadtPM1Event, fadtXPM1Event, PM1Event, 4, 0, 2},
		{fadtPM1Control, fadtXPM1Control, PM1Control, 2, 1, 2},
		{fadtPMTimer, fadtXPMTimer, PMTimer, 4, 3, 3},
		{fadtGPE0, fadtXGPE0, GPE0, 4, 4, 1},
	} {
		p32(r.off, r.port)
		b[fadtLengths+r.length] = r.bytes
		copy(b[r.xoff:], gas(1, r.bytes*8, r.size, uint64(r.port)))
	}
	p16(fadtC2Latency, noCState)
	p16(fadtC3Latency, noCState)
	b[fadtDayAlarm], b[fadtMonthAlarm], b[fadtCentury] = 0, 0, 0x32
	p16(fadtBootArch, bootArch(c))
	p32(fadtFlags, flagWBINVD|flagC1|flagNoSleepButton|flagResetReg|flagPlatformClock)
	copy(b[fadtResetReg:], gas(1, 8, 1, ResetPort))
	b[fadtResetValue] = ResetValue
	b[fadtMinor] = 5
	copy(b[fadtHypervisor:], "godwit")
	return table("FACP", 6, b[36:])
}

// bootArch says which legacy hardware a guest may touch.
func bootArch(c Config) uint16 {
	v := uint16(bootLegacyDevices)
	if c.I8042 {
		v |= boot8042
	}
	if !c.VGA {
		v |= bootNoVGA
	}
	return v
}
