package firmware

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testBz is a bzImage with Debian 6.1's numbers and 4 KiB of code.
func testBz() []byte {
	b := make([]byte, 5*512, 5*512+4096)
	b[hdrSetupSects] = 4
	b[hdrJump], b[hdrJump+1] = 0xeb, 0x6a
	b[hdrLoadFlags] = loadedHigh
	copy(b[hdrMagic:], "HdrS")
	le := binary.LittleEndian
	le.PutUint16(b[hdrBootFlag:], 0xaa55)
	le.PutUint16(b[hdrVersion:], 0x20f)
	le.PutUint32(b[hdrSyssize:], 4096/16)
	le.PutUint32(b[hdrInitrdMax:], 0x7fffffff)
	le.PutUint32(b[hdrAlignment:], 0x200000)
	le.PutUint16(b[hdrXLoadFlags:], 0x7f)
	le.PutUint32(b[hdrCmdlineSize:], 2047)
	le.PutUint64(b[hdrPrefAddress:], 16*mb)
	le.PutUint32(b[hdrInitSize:], 0x3378000)
	return append(b, bytes.Repeat([]byte{0x90}, 4096)...)
}

func TestLoadBzImage(t *testing.T) {
	m := newRAM(128 * mb)
	e, err := Boot(m, config(testBz()))
	require.NoError(t, err)

	assert.Equal(t, Long64, e.Mode)
	assert.Equal(t, uint64(16*mb+0x200), e.RIP)
	assert.Equal(t, []uint64{0x80000011, 0x20, 0x500}, []uint64{e.CR0, e.CR4, e.EFER})
	assert.Equal(t, Segment{0x10, 0, 0xffffffff, 0xa09b}, e.CS)
	assert.Equal(t, Segment{0x18, 0, 0xffffffff, 0xc093}, e.DS)
	assert.Equal(t, uint64(0x00af9b000000ffff), m.u64(e.GDT.Base+0x10))
	assert.Equal(t, bytes.Repeat([]byte{0x90}, 4096), m.bytes(16*mb, 4096))

	zp := e.RSI
	assert.Equal(t, uint64(RSDP), m.u64(zp+0x70))
	assert.Equal(t, "HdrS", string(m.bytes(zp+0x202, 4)))
	assert.Equal(t, byte(0xff), m.bytes(zp+0x210, 1)[0])
	assert.Equal(t, uint32(0x3378000), m.u32(zp+0x260))
	assert.Equal(t, make([]byte, 0x2d0-0x26c), m.bytes(zp+0x26c, 0x2d0-0x26c), "nothing beyond the header is copied")
	assert.Equal(t, "console=ttyS0\x00", string(m.bytes(uint64(m.u32(zp+0x228)), 14)))
	initrd := uint64(m.u32(zp + 0x218))
	assert.Equal(t, uint64(128*mb-4096), initrd)
	assert.Equal(t, uint32(6), m.u32(zp+0x21c))
	assert.Equal(t, "initrd", string(m.bytes(initrd, 6)))
	want := E820(128 * mb)
	require.Equal(t, byte(len(want)), m.bytes(zp+0x1e8, 1)[0])
	for i, w := range want {
		p := zp + 0x2d0 + uint64(i)*20
		assert.Equal(t, w, E820Entry{m.u64(p), m.u64(p + 8), E820Type(m.u32(p + 16))})
	}
}

// TestLoadBzImage32 loads a kernel without a 64-bit entry.
func TestLoadBzImage32(t *testing.T) {
	image := testBz()
	image[hdrXLoadFlags] &^= xlfKernel64
	m := newRAM(128 * mb)
	e, err := Boot(m, config(image))
	require.NoError(t, err)
	assert.Equal(t, Protected32, e.Mode)
	assert.Equal(t, uint64(16*mb), e.RIP)
	assert.Equal(t, []uint64{0x11, 0, 0, 0}, []uint64{e.CR0, e.CR3, e.CR4, e.EFER})
	assert.Equal(t, Segment{0x10, 0, 0xffffffff, 0xc09b}, e.CS)
	assert.Equal(t, Segment{0x18, 0, 0xffffffff, 0xc093}, e.SS)
	assert.Equal(t, uint64(0x00cf9b000000ffff), m.u64(e.GDT.Base+0x10))
	assert.Equal(t, []uint64{zeroPageAddr, 0, 0, 0}, []uint64{e.RSI, e.RBP, e.RDI, e.RBX})
	assert.Equal(t, "HdrS", string(m.bytes(e.RSI+0x202, 4)))
}

// TestIdentityMap walks the page tables for addresses all over 4 GiB.
func TestIdentityMap(t *testing.T) {
	m := newRAM(128 * mb)
	e, err := Boot(m, config(testBz()))
	require.NoError(t, err)
	next := func(entry uint64) uint64 {
		require.Equal(t, uint64(3), entry&0xfff)
		return entry &^ 0xfff
	}
	for va := uint64(0x1234); va < 4<<30; va += 123 * mb {
		pdpt := next(m.u64(e.CR3 + va>>39&511*8))
		pd := next(m.u64(pdpt + va>>30&511*8))
		pde := m.u64(pd + va>>21&511*8)
		require.Equal(t, va&^(2*mb-1)|0x83, pde)
	}
	for i := uint64(1); i < 512; i++ {
		require.Zero(t, m.u64(e.CR3+i*8))
	}
}

// TestDebianNeeds96 is the case of PC.md: 16 MiB + 51.5 MiB and an initrd.
func TestDebianNeeds96(t *testing.T) {
	c := config(testBz())
	c.Initrd = make([]byte, 2*mb)
	c.RAM = 95 * mb
	_, err := LoadBzImage(newRAM(c.RAM), c)
	e := requireCode(t, err, CodeMemory)
	assert.Equal(t, []uint64{95 * mb, 96 * mb}, []uint64{e.Have, e.Want})
	assert.Equal(t, "-m 96M", e.Hint)
	assert.Equal(t, "kernel does not fit in 95 MiB of memory: it loads at 16 MiB, unpacks itself in 51.5 MiB"+
		" and has an initrd of 2 MiB", err.Error())
	c.RAM = 96 * mb
	_, err = LoadBzImage(newRAM(c.RAM), c)
	require.NoError(t, err)
}

func TestInitrdPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		ram  uint64
		max  uint32
		want uint32
	}{
		{"top of RAM", 1024 * mb, 0x7fffffff, 1024*mb - 4096},
		{"initrd_addr_max", 4096 * mb, 0x37ffffff, 0x37fff000},
		{"hole at 3 GiB", 8192 * mb, 0xffffffff, 3072*mb - 4096},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(testBz())
			c.RAM = tt.ram
			binary.LittleEndian.PutUint32(c.Kernel[hdrInitrdMax:], tt.max)
			m := newRAM(c.RAM)
			e, err := LoadBzImage(m, c)
			require.NoError(t, err)
			assert.Equal(t, tt.want, m.u32(e.RSI+hdrRamdisk))
		})
	}
	c := config(testBz())
	c.RAM, c.Initrd = 8192*mb, make([]byte, 64*mb)
	binary.LittleEndian.PutUint32(c.Kernel[hdrInitrdMax:], 128*mb-1)
	_, err := LoadBzImage(newRAM(c.RAM), c)
	e := requireCode(t, err, CodeMemory)
	assert.Equal(t, "initrd", e.Field)
	c.Initrd = make([]byte, 32*mb)
	_, err = LoadBzImage(newRAM(c.RAM), c)
	require.NoError(t, err)
}

func TestHostileBzImage(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  int
		v    uint64
		n    int
		code Code
	}{
		{"no magic", hdrMagic, 0, 4, CodeCorrupt},
		{"protocol 2.11", hdrVersion, 0x20b, 2, CodeUnsupported},
		{"zImage", hdrLoadFlags, 0, 1, CodeUnsupported},
		{"short header", hdrJump + 1, 0x10, 1, CodeCorrupt},
		{"long header", hdrJump + 1, 0xff, 1, CodeCorrupt},
		{"setup beyond the end", hdrSetupSects, 0xff, 1, CodeCorrupt},
		{"code beyond the end", hdrSyssize, 4096/16 + 1, 4, CodeCorrupt},
		{"code huge", hdrSyssize, 0xffffffff, 4, CodeCorrupt},
		{"code without an entry", hdrSyssize, 0x20, 4, CodeCorrupt},
		{"alignment 0", hdrAlignment, 0, 4, CodeCorrupt},
		{"alignment odd", hdrAlignment, 0x300000, 4, CodeCorrupt},
		{"not aligned", hdrPrefAddress, 17 * mb, 8, CodeCorrupt},
		{"load address low", hdrPrefAddress, 0, 8, CodeCorrupt},
		{"load address high", hdrPrefAddress, 1 << 40, 8, CodeCorrupt},
		{"load address wraps", hdrPrefAddress, ^uint64(0x1fffff), 8, CodeCorrupt},
		{"init_size small", hdrInitSize, 4095, 4, CodeCorrupt},
		{"init_size huge", hdrInitSize, 0xffffffff, 4, CodeCorrupt},
		{"init_size beyond RAM", hdrInitSize, 0x40000000, 4, CodeMemory},
		{"initrd_addr_max 0", hdrInitrdMax, 0, 4, CodeMemory},
		{"initrd_addr_max wraps", hdrInitrdMax, 0x1000000, 4, CodeMemory},
		{"command line of 0", hdrCmdlineSize, 0, 4, CodeCmdline},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(testBz())
			copy(c.Kernel[tt.off:], le64(nil, tt.v)[:tt.n])
			m := newRAM(c.RAM)
			_, err := LoadBzImage(m, c)
			requireCode(t, err, tt.code)
			assert.Empty(t, m.pages, "nothing is written before all is checked")
		})
	}
}

func TestTruncatedBzImage(t *testing.T) {
	image := testBz()
	for n := range len(image) - 15 { // the last 16-byte unit may be cut
		_, err := LoadBzImage(newRAM(128*mb), config(image[:n]))
		require.Error(t, err, "%d of %d bytes", n, len(image))
	}
}

func FuzzLoadBzImage(f *testing.F) {
	f.Add(testBz(), uint16(128), "quiet")
	f.Fuzz(func(t *testing.T, image []byte, ram uint16, cmdline string) {
		m := newRAM(uint64(ram) * mb)
		e, err := LoadBzImage(m, Config{RAM: m.size, Kernel: image, Cmdline: cmdline, Initrd: []byte("x")})
		if err == nil && !m.has(e.RIP, 1) {
			t.Fatalf("entry %#x is not in memory", e.RIP)
		}
	})
}
