package acpi

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices/acpipm"
)

const (
	testROM  = 0xe0000
	testFACS = 0x9f000
)

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// tablesOf follows the pointers as a guest does, checking every checksum.
func tablesOf(t *testing.T, c Config) map[string][]byte {
	t.Helper()
	rom, facs, err := Build(c, testROM, testFACS)
	require.NoError(t, err)
	require.Equal(t, "RSD PTR ", string(rom[:8]))
	require.Zero(t, sum(rom[:20]))
	require.Zero(t, sum(rom[:36]))
	tables := map[string][]byte{"FACS": facs}
	at := func(addr uint64) []byte {
		b := rom[addr-testROM:]
		b = b[:binary.LittleEndian.Uint32(b[4:])]
		require.Zero(t, sum(b), "checksum of %s", b[:4])
		tables[string(b[:4])] = b
		return b
	}
	rsdt := at(uint64(binary.LittleEndian.Uint32(rom[16:])))
	xsdt := at(binary.LittleEndian.Uint64(rom[24:]))
	require.Equal(t, 2*(len(rsdt)-36), len(xsdt)-36)
	for i := 36; i < len(xsdt); i += 8 {
		addr := binary.LittleEndian.Uint64(xsdt[i:])
		require.Equal(t, uint64(binary.LittleEndian.Uint32(rsdt[36+(i-36)/2:])), addr)
		at(addr)
	}
	fadt := tables["FACP"]
	require.Equal(t, uint32(testFACS), binary.LittleEndian.Uint32(fadt[fadtFACS:]))
	at(binary.LittleEndian.Uint64(fadt[fadtXDSDT:]))
	return tables
}

func ids(n uint32) []uint32 {
	var l []uint32
	for i := range n {
		l = append(l, i)
	}
	return l
}

// full has all but the VMGenID, of whose _HID iasl says that its end is no number.
var full = Config{
	APICIDs: ids(300), HPET: true, VGA: true, I8042: true, COM2: true, PVPanic: true,
	VMClock: 0xfe000, PCI64Base: 1 << 39, PCI64Size: 1 << 38,
}

func TestTablesPointToEachOther(t *testing.T) {
	small := tablesOf(t, Config{APICIDs: ids(1)})
	assert.NotContains(t, small, "HPET")
	assert.Contains(t, tablesOf(t, full), "HPET")

	a, _, _ := Build(full, testROM, testFACS)
	b, _, _ := Build(full, testROM, testFACS)
	assert.Equal(t, a, b)
}

func TestBootArchitecture(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		want uint16
	}{
		{Config{}, 5},
		{Config{I8042: true}, 7},
		{Config{I8042: true, VGA: true}, 3},
	} {
		tt.c.APICIDs = ids(1)
		fadt := tablesOf(t, tt.c)["FACP"]
		assert.Equal(t, tt.want, binary.LittleEndian.Uint16(fadt[fadtBootArch:]))
	}
}

// TestMADT walks the structures and counts them by type.
func TestMADT(t *testing.T) {
	for _, tt := range []struct {
		name string
		cpus []uint32
		want map[byte]int
	}{
		{"one", ids(1), map[byte]int{madtLAPIC: 1, madtIOAPIC: 1, madtOverride: 4, madtLAPICNMI: 1}},
		{"300", ids(300), map[byte]int{
			madtLAPIC: 255, madtX2APIC: 45, madtIOAPIC: 1, madtOverride: 4, madtLAPICNMI: 1, madtX2APICNMI: 1,
		}},
		{"sparse", []uint32{0, 255, 1 << 20}, map[byte]int{
			madtLAPIC: 1, madtX2APIC: 2, madtIOAPIC: 1, madtOverride: 4, madtLAPICNMI: 1, madtX2APICNMI: 1,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tablesOf(t, Config{APICIDs: tt.cpus})["APIC"][44:]
			have := map[byte]int{}
			for len(b) > 0 {
				require.LessOrEqual(t, int(b[1]), len(b))
				require.NotZero(t, b[1])
				have[b[0]]++
				b = b[b[1]:]
			}
			assert.Equal(t, tt.want, have)
		})
	}
}

// TestRegistersAgree: the FADT and the device say the same.
func TestRegistersAgree(t *testing.T) {
	fadt := tablesOf(t, Config{APICIDs: ids(1)})["FACP"]
	port := func(off int) int { return int(binary.LittleEndian.Uint32(fadt[off:])) }
	assert.Equal(t, acpipm.EventBase, port(fadtPM1Event))
	assert.Equal(t, acpipm.ControlBase, port(fadtPM1Control))
	assert.Equal(t, acpipm.TimerBase, port(fadtPMTimer))
	assert.Equal(t, acpipm.GPE0Base, port(fadtGPE0))
	assert.Equal(t, acpipm.SMICommand, port(fadtSMICommand))
	assert.Equal(t, acpipm.ResetPort, port(fadtResetReg+4))
	assert.Equal(t,
		[]byte{4, 2, 0, 4, acpipm.GPE0Len, 0, acpipm.EnableValue, acpipm.DisableValue, acpipm.SCI, acpipm.ResetValue},
		append(append([]byte{}, fadt[fadtLengths:fadtLengths+6]...),
			fadt[fadtACPIEnable], fadt[fadtACPIDisable], fadt[fadtSCI], fadt[fadtResetValue]))
	assert.Zero(t, port(fadtFlags)&(1<<8), "the timer has 24 bits")
	assert.Equal(t, acpipm.SleepS5, SleepTypeS5)
	assert.Equal(t, acpipm.SleepS3, SleepTypeS3)
	assert.Equal(t, acpipm.SleepS4, SleepTypeS4)
}

func TestBounds(t *testing.T) {
	for _, n := range []uint32{0, MaxCPUs + 1} {
		_, _, err := Build(Config{APICIDs: ids(n)}, testROM, testFACS)
		assert.Error(t, err)
	}
	c := full
	c.APICIDs = ids(MaxCPUs)
	rom, _, err := Build(c, testROM, testFACS)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(rom), 64<<10)
}

func TestAML(t *testing.T) {
	for _, tt := range []struct {
		name string
		have aml
		want string
	}{
		{"zero", integer(0), "\x00"},
		{"byte", integer(5), "\x0a\x05"},
		{"word", integer(0x1234), "\x0b\x34\x12"},
		{"dword", integer(0x12345678), "\x0c\x78\x56\x34\x12"},
		{"qword", integer(1 << 32), "\x0e\x00\x00\x00\x00\x01\x00\x00\x00"},
		{"eisa", eisaID("PNP0A03"), "\x0c\x41\xd0\x0a\x03"}, // [ACPI 6.5 19.6.36]
		{"relative", path("A"), "A___"},
		{"two", path(`\_SB.PCI0`), "\\\x2e_SB_PCI0"},
		{"three", path("A.B.C"), "\x2f\x03A___B___C___"},
		{"length 1", pkgLength(62), "\x3f"},
		{"length 2", pkgLength(63), "\x41\x04"},
		{"length 2 max", pkgLength(4093), "\x4f\xff"},
		{"length 3", pkgLength(4094), "\x81\x00\x01"},
		{"package", pkg(integer(1), integer(2)), "\x12\x05\x02\x01\x0a\x02"},
		{"irq", irq(4), "\x22\x10\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, string(tt.have)) })
	}
}

// iasl runs the ACPI compiler, the independent judge of these tables.
func iasl(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("iasl"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("iasl (acpica-tools) is not installed")
	}
	out, err := exec.Command("iasl", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// TestDisassembles has every table taken apart, and the AML compiled again.
func TestDisassembles(t *testing.T) {
	for name, c := range map[string]Config{"small": {APICIDs: ids(1)}, "full": full} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for sig, b := range tablesOf(t, c) {
				file := filepath.Join(dir, sig)
				require.NoError(t, os.WriteFile(file+".dat", b, 0o600))
				out := iasl(t, "-p", file, "-d", file+".dat")
				assert.NotContains(t, strings.ToLower(out), "error")
				assert.NotContains(t, strings.ToLower(out), "warning")
				dsl, err := os.ReadFile(file + ".dsl")
				require.NoError(t, err)
				assert.NotContains(t, strings.ToLower(string(dsl)), "error")
				assert.NotContains(t, strings.ToLower(string(dsl)), "invalid")
			}
			out := iasl(t, "-p", filepath.Join(dir, "again"), filepath.Join(dir, "DSDT.dsl"))
			assert.Contains(t, out, "0 Errors, 0 Warnings")
		})
	}
}
