package firmware

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const mb = 1 << 20

// fakeRAM is memory that keeps only the pages that were written.
type fakeRAM struct {
	size  uint64
	pages map[uint64]*[4096]byte
}

func newRAM(size uint64) *fakeRAM { return &fakeRAM{size, map[uint64]*[4096]byte{}} }

func (m *fakeRAM) has(pa, n uint64) bool {
	in := func(lo, hi uint64) bool { return pa >= lo && pa <= hi && n <= hi-pa }
	return in(0, LowRAM(m.size)) || in(highRAMBase, HighRAM(m.size))
}

func (m *fakeRAM) Write(pa uint64, b []byte) bool {
	if !m.has(pa, uint64(len(b))) {
		return false
	}
	for len(b) > 0 {
		p := m.pages[pa>>12]
		if p == nil {
			p = new([4096]byte)
			m.pages[pa>>12] = p
		}
		n := copy(p[pa&4095:], b)
		pa, b = pa+uint64(n), b[n:]
	}
	return true
}

func (m *fakeRAM) Read(pa uint64, b []byte) {
	for len(b) > 0 {
		chunk := b[:min(uint64(len(b)), 4096-pa&4095)]
		switch p := m.pages[pa>>12]; {
		case !m.has(pa, 1):
			copy(chunk, bytes.Repeat([]byte{0xff}, len(chunk)))
		case p == nil:
			clear(chunk)
		default:
			copy(chunk, p[pa&4095:])
		}
		pa, b = pa+uint64(len(chunk)), b[len(chunk):]
	}
}

func (m *fakeRAM) bytes(pa uint64, n int) []byte {
	b := make([]byte, n)
	m.Read(pa, b)
	return b
}

func (m *fakeRAM) u32(pa uint64) uint32 { return binary.LittleEndian.Uint32(m.bytes(pa, 4)) }
func (m *fakeRAM) u64(pa uint64) uint64 { return binary.LittleEndian.Uint64(m.bytes(pa, 8)) }

func config(kernel []byte) Config {
	return Config{
		RAM: 128 * mb, Kernel: kernel, Initrd: []byte("initrd"), Cmdline: "console=ttyS0",
		Platform: Platform{APICIDs: []uint32{0}},
	}
}

// requireCode checks the class of an error.
func requireCode(t *testing.T, err error, code Code) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, "%v", err)
	require.NotEmpty(t, e.What)
	require.NotEmpty(t, e.Why)
	return e
}

func TestE820(t *testing.T) {
	low := []E820Entry{{0, 0x9f000, E820RAM}, {0x9f000, 0x1000, E820NVS}, {0xe0000, 0x20000, E820Reserved}}
	for _, tt := range []struct {
		ram  uint64
		want []E820Entry
	}{
		{2 * mb, append(low[:3:3], E820Entry{mb, mb, E820RAM})},
		{3072 * mb, append(low[:3:3], E820Entry{mb, 3071 * mb, E820RAM})},
		{3073 * mb, append(low[:3:3], E820Entry{mb, 3071 * mb, E820RAM}, E820Entry{4096 * mb, mb, E820RAM})},
	} {
		assert.Equal(t, tt.want, E820(tt.ram))
	}
}

func TestDetect(t *testing.T) {
	multiboot := append(make([]byte, 8), 0x02, 0xb0, 0xad, 0x1b, 3, 0, 0, 0)
	multiboot = le32(multiboot, ^uint32(0x1badb002+3)+1)
	elf := testELF{}.build()
	for _, tt := range []struct {
		name  string
		image []byte
		want  Kind
		code  Code
	}{
		{"empty", nil, KindUnknown, CodeUnknown},
		{"text", []byte("#!/bin/sh\n"), KindUnknown, CodeUnknown},
		{"gzip", []byte("\x1f\x8b\x08"), KindUnknown, CodeUnknown},
		{"multiboot, neither elf nor addresses", multiboot, KindMultiboot, CodeCorrupt},
		{"bad checksum", append(multiboot[:16:16], 1, 2, 3, 4), KindUnknown, CodeUnknown},
		{"elf", elf, KindELF, CodeUnsupported},
		{"elf cut off", elf[:20], KindELF, CodeCorrupt},
		{"elf without segments, multiboot", append(elf, multiboot...), KindMultiboot, CodeCorrupt},
		{"pvh", testPVH.build(), KindPVH, ""},
		{"bzimage", testBz(), KindBzImage, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, Detect(tt.image))
			_, err := Boot(newRAM(128*mb), config(tt.image))
			if tt.code == "" {
				require.NoError(t, err)
				return
			}
			e := requireCode(t, err, tt.code)
			assert.Equal(t, "kernel", e.Field)
		})
	}
}

func TestTooLittleMemory(t *testing.T) {
	c := config(testBz())
	c.RAM = mb
	e := requireCode(t, func() error { _, err := Boot(newRAM(c.RAM), c); return err }(), CodeMemory)
	assert.Equal(t, []uint64{mb, 2 * mb}, []uint64{e.Have, e.Want})
}

func TestCmdline(t *testing.T) {
	for _, kernel := range [][]byte{testBz(), testPVH.build()} {
		c := config(kernel)
		c.Cmdline = "a\x00b"
		_, err := Boot(newRAM(c.RAM), c)
		assert.Equal(t, uint64(1), requireCode(t, err, CodeCmdline).Have)
		c.Cmdline = string(make([]byte, 1<<20))
		_, err = Boot(newRAM(c.RAM), c)
		requireCode(t, err, CodeCmdline)
	}
}

func TestPlatformBounds(t *testing.T) {
	c := config(testPVH.build())
	c.APICIDs = nil
	_, err := Boot(newRAM(c.RAM), c)
	assert.Equal(t, "cpus", requireCode(t, err, CodePlatform).Field)
}

// TestTables checks what is outside package acpi: the anchors in low memory.
func TestTables(t *testing.T) {
	m := newRAM(16 * mb)
	require.NoError(t, WriteTables(m, Platform{APICIDs: []uint32{0, 1}}))
	assert.Equal(t, "RSD PTR ", string(m.bytes(RSDP, 8)))
	assert.Equal(t, "FACS", string(m.bytes(facsAddr, 4)))
	assert.Equal(t, []byte{0xf8, 0x03}, m.bytes(0x400, 2))
	assert.Equal(t, []byte{636 & 0xff, 636 >> 8}, m.bytes(0x413, 2))

	entry := m.bytes(smbiosAddr, 24)
	assert.Equal(t, "_SM3_", string(entry[:5]))
	var sum byte
	for _, v := range entry {
		sum += v
	}
	assert.Zero(t, sum)
	size, at := binary.LittleEndian.Uint32(entry[12:]), binary.LittleEndian.Uint64(entry[16:])
	assert.Equal(t, []byte{0, 1, 3, 127}, smbiosTypes(t, m.bytes(at, int(size))))
}

// smbiosTypes walks structures by their lengths and double NULs.
func smbiosTypes(t *testing.T, b []byte) (types []byte) {
	for len(b) > 0 {
		types = append(types, b[0])
		require.LessOrEqual(t, int(b[1]), len(b))
		b = b[b[1]:]
		for b[0] != 0 || b[1] != 0 {
			b = b[1:]
		}
		b = b[2:]
	}
	return types
}

func TestMiB(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 MiB", 1: "0.1 MiB", mb: "1 MiB", mb * 103 / 2: "51.5 MiB", 2*mb - 1: "2 MiB"} {
		assert.Equal(t, want, mib(n))
	}
}
