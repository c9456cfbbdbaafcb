package firmware

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mbWords is a multiboot header with the fields that follow flags and checksum.
func mbWords(flags uint32, more ...uint32) []byte {
	b := le32(le32(le32(nil, mbHeaderMagic), flags), -(mbHeaderMagic + flags))
	for _, v := range more {
		b = le32(b, v)
	}
	return b
}

// mbELF is a 32-bit ELF file whose segment at 1 MiB holds the header.
func mbELF(loads ...testSegment) []byte {
	b := testELF{class32: true, loads: loads}.build()
	binary.LittleEndian.PutUint16(b[18:], elfMachine386)
	binary.LittleEndian.PutUint32(b[24:], 0x10000c)
	return b
}

var mbText = testSegment{0x100000, 0x2000, string(mbWords(3)) + "\xf4"}

func TestMultiboot(t *testing.T) {
	kludge := append(make([]byte, 16), mbWords(mbKludge, 0x110010, 0x110000, 0x110000+0x40, 0x112000, 0x110030)...)
	kludge = append(kludge, "codecodecodecodecodecode and more"...)
	toEnd := append(make([]byte, 4), mbWords(mbKludge, 0x4004, 0x4000, 0, 0, 0x4024)...)
	toEnd = append(toEnd, "real mode code"...)
	for _, tt := range []struct {
		name   string
		image  []byte
		entry  uint64
		at     uint64
		want   string
		module uint64
	}{
		{"elf", mbELF(mbText), 0x10000c, 0x10000c, "\xf4\x00\x00", 0x102000},
		{"addresses", kludge, 0x110030, 0x110030, "codecodecodecode\x00\x00", 0x112000},
		{"addresses to the end of the file, low", toEnd, 0x4024, 0x4024, "real mode code\x00", 0x100000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, KindMultiboot, Detect(tt.image))
			m := newRAM(128 * mb)
			m.Write(0x110040, []byte("left over from before a reset"))
			e, err := Boot(m, config(tt.image))
			require.NoError(t, err)
			assert.Equal(t, Protected32, e.Mode)
			assert.Equal(t, tt.entry, e.RIP)
			assert.Equal(t, uint64(mbBootMagic), e.RAX)
			assert.Equal(t, []uint64{0x11, 0, 0, 0, rflagsFixed}, []uint64{e.CR0, e.CR3, e.CR4, e.EFER, e.RFLAGS})
			assert.Equal(t, tt.want, string(m.bytes(tt.at, len(tt.want))))
			assert.Equal(t, uint64(0x00cf9b000000ffff), m.u64(e.GDT.Base+0x10))
			assertMultibootInfo(t, m, e.RBX, tt.module)
		})
	}
}

func assertMultibootInfo(t *testing.T, m *fakeRAM, at, module uint64) {
	assert.Equal(t, uint32(0x24d), m.u32(at))
	assert.Equal(t, []uint32{636, 127 << 10}, []uint32{m.u32(at + 4), m.u32(at + 8)})
	assert.Equal(t, "kernel console=ttyS0\x00", string(m.bytes(uint64(m.u32(at+16)), 21)))
	assert.Equal(t, "godwit\x00", string(m.bytes(uint64(m.u32(at+64)), 7)))
	require.Equal(t, uint32(1), m.u32(at+20))
	mod := uint64(m.u32(at + 24))
	assert.Equal(t, []uint32{uint32(module), uint32(module) + 6, 0}, []uint32{m.u32(mod), m.u32(mod + 4), m.u32(mod + 12)})
	assert.Equal(t, "initrd", string(m.bytes(module, 6)))
	assert.Equal(t, "initrd\x00", string(m.bytes(uint64(m.u32(mod+8)), 7)))
	want := E820(128 * mb)
	require.Equal(t, uint32(24*len(want)), m.u32(at+44))
	for i, w := range want {
		p := uint64(m.u32(at+48)) + uint64(i)*24
		assert.Equal(t, uint32(20), m.u32(p))
		assert.Equal(t, w, E820Entry{m.u64(p + 4), m.u64(p + 12), E820Type(m.u32(p + 20))})
	}
}

// TestMultibootHigh enters kernels linked to run elsewhere at the physical
// address of their entry.
func TestMultibootHigh(t *testing.T) {
	b := mbELF(mbText)
	binary.LittleEndian.PutUint32(b[0x80+8:], 0xc0100000) // p_vaddr
	binary.LittleEndian.PutUint32(b[24:], 0xc010000c)
	e, err := Boot(newRAM(128*mb), config(b))
	require.NoError(t, err)
	assert.Equal(t, uint64(0x10000c), e.RIP)
}

func TestHostileMultiboot(t *testing.T) {
	kludge := func(more ...uint32) []byte {
		return append(mbWords(mbKludge, more...), make([]byte, 0x100)...)
	}
	full := make([]testSegment, 0, 2)
	full = append(full, testSegment{0x1000, 0x9e000, "low."}, mbText)
	for _, tt := range []struct {
		name  string
		image []byte
		code  Code
	}{
		{"unknown demands", mbELF(testSegment{0x100000, 64, string(mbWords(0x13))}), CodeUnsupported},
		{"header cut off", mbWords(mbKludge), CodeCorrupt},
		{"load address above the header's", kludge(0x100000, 0x100004, 0, 0, 0x100000), CodeCorrupt},
		{"load address before the file", kludge(0x100000, 0xff000, 0, 0, 0x100000), CodeCorrupt},
		{"ends before it begins", kludge(0x100000, 0x100000, 0xff000, 0, 0x100000), CodeCorrupt},
		{"ends beyond the file", kludge(0x100000, 0x100000, 0x200000, 0, 0x100000), CodeCorrupt},
		{"bss before its data", kludge(0x100000, 0x100000, 0x100100, 0x100080, 0x100000), CodeCorrupt},
		{"entry outside", kludge(0x100000, 0x100000, 0, 0, 0x200000), CodeCorrupt},
		{"at the end of 4 GiB", kludge(0xffffff00, 0xffffff00, 0, 0, 0xffffff00), CodeCorrupt},
		{"in ROM", kludge(0xf0000, 0xf0000, 0, 0, 0xf0000), CodeCorrupt},
		{"beyond memory", kludge(0x10000000, 0x10000000, 0, 0, 0x10000000), CodeMemory},
		{"bss beyond memory", kludge(0x100000, 0x100000, 0, 0x20000000, 0x100000), CodeMemory},
		{"no room for the information", mbELF(full...), CodeCorrupt},
		{"overlap", mbELF(mbText, testSegment{0x101000, 16, "x"}), CodeCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Boot(newRAM(128*mb), config(tt.image))
			requireCode(t, err, tt.code)
		})
	}
	c := config(mbELF(mbText))
	c.Initrd = make([]byte, 127*mb)
	_, err := Boot(newRAM(c.RAM), c)
	requireCode(t, err, CodeMemory)
	c = config(mbELF(mbText))
	c.Cmdline = strings.Repeat("x", 1<<16)
	_, err = Boot(newRAM(c.RAM), c)
	requireCode(t, err, CodeCmdline)
}
