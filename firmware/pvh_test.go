package firmware

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testSegment is a PT_LOAD of a synthetic ELF file.
type testSegment struct {
	paddr, memsz uint64
	data         string
}

// testELF builds ELF files of either class.
type testELF struct {
	class32 bool
	loads   []testSegment
	notes   []byte
}

// xenNote is a PVH entry note; width is the size of the address.
func xenNote(entry uint64, width int) []byte {
	b := le32(nil, 4)
	b = le32(b, uint32(width))
	b = le32(b, xenPhys32Entry)
	b = append(b, "Xen\x00"...)
	return append(b, le64(nil, entry)[:width]...)
}

var testPVH = testELF{
	loads: []testSegment{{0x200000, 0x3000, "text"}, {0x100000, 8, "low"}},
	notes: append(append(le32(le32(le32(nil, 5), 3), 7), "Xenx\x00\x00\x00\x00abc\x00"...), xenNote(0x200001, 8)...),
}

func (e testELF) build() []byte {
	l := elfLayouts[elfClass64]
	ident := []byte("\x7fELF\x02\x01\x01")
	if e.class32 {
		l, ident = elfLayouts[elfClass32], []byte("\x7fELF\x01\x01\x01")
	}
	const dataOff = 0x400
	b := make([]byte, dataOff)
	put := func(off int, v uint64) { copy(b[off:], le64(nil, v)[:l.word]) }
	copy(b, ident)
	binary.LittleEndian.PutUint16(b[18:], elfMachineAMD64)
	put(l.phoff, 0x80)
	binary.LittleEndian.PutUint16(b[l.phentsize:], uint16(l.phsize))
	n := 0
	add := func(kind uint32, paddr, memsz uint64, data []byte) {
		h := 0x80 + n*l.phsize
		binary.LittleEndian.PutUint32(b[h:], kind)
		put(h+l.offset, uint64(len(b)))
		put(h+l.paddr, paddr)
		put(h+l.filesz, uint64(len(data)))
		put(h+l.memsz, memsz)
		put(h+l.align, 4)
		b = append(b, data...)
		n++
		binary.LittleEndian.PutUint16(b[l.phnum:], uint16(n))
	}
	for _, s := range e.loads {
		add(ptLoad, s.paddr, s.memsz, []byte(s.data))
	}
	if e.notes != nil {
		add(ptNote, 0, uint64(len(e.notes)), e.notes)
	}
	return b
}

func TestLoadELF(t *testing.T) {
	e32 := testPVH
	e32.class32, e32.notes = true, xenNote(0x200001, 4)
	for name, image := range map[string][]byte{"elf64": testPVH.build(), "elf32": e32.build()} {
		t.Run(name, func(t *testing.T) {
			m := newRAM(128 * mb)
			m.Write(0x201000, []byte("left over from before a reset"))
			e, err := Boot(m, config(image))
			require.NoError(t, err)

			assert.Equal(t, "text", string(m.bytes(0x200000, 4)))
			assert.Equal(t, "low", string(m.bytes(0x100000, 3)))
			assert.Equal(t, make([]byte, 0x2ffc), m.bytes(0x200004, 0x2ffc))
			assertPVHEntry(t, m, e)
			assertStartInfo(t, m, e.RBX)
		})
	}
}

func assertPVHEntry(t *testing.T, m *fakeRAM, e Entry) {
	assert.Equal(t, Protected32, e.Mode)
	assert.Equal(t, uint64(0x200001), e.RIP)
	assert.Equal(t, []uint64{0x11, 0, 0, 0}, []uint64{e.CR0, e.CR3, e.CR4, e.EFER})
	assert.Equal(t, Segment{0x10, 0, 0xffffffff, 0xc09b}, e.CS)
	for _, s := range []Segment{e.DS, e.ES, e.FS, e.GS, e.SS} {
		assert.Equal(t, Segment{0x18, 0, 0xffffffff, 0xc093}, s)
	}
	assert.Equal(t, Segment{0x20, 0, 0x67, 0x8b}, e.TR)
	// Reloading the selectors gives the same segments.
	assert.Equal(t, uint64(0x00cf9b000000ffff), m.u64(e.GDT.Base+0x10))
	assert.Equal(t, uint64(0x00cf93000000ffff), m.u64(e.GDT.Base+0x18))
	assert.Equal(t, uint64(0x00008b0000000067), m.u64(e.GDT.Base+0x20))
	assert.Equal(t, uint16(47), e.GDT.Limit)
}

func assertStartInfo(t *testing.T, m *fakeRAM, at uint64) {
	assert.Equal(t, []uint32{0x336ec578, 1, 0, 1}, []uint32{m.u32(at), m.u32(at + 4), m.u32(at + 8), m.u32(at + 12)})
	modules, cmdline, rsdp, memmap := m.u64(at+16), m.u64(at+24), m.u64(at+32), m.u64(at+40)
	assert.Equal(t, "console=ttyS0\x00", string(m.bytes(cmdline, 14)))
	assert.Equal(t, uint64(RSDP), rsdp)
	initrd := m.u64(modules)
	assert.Equal(t, uint64(128*mb-4096), initrd)
	assert.Equal(t, uint64(6), m.u64(modules+8))
	assert.Equal(t, "initrd", string(m.bytes(initrd, 6)))
	want := E820(128 * mb)
	require.Equal(t, uint32(len(want)), m.u32(at+48))
	for i, w := range want {
		p := memmap + uint64(i)*24
		assert.Equal(t, w, E820Entry{m.u64(p), m.u64(p + 8), E820Type(m.u32(p + 16))})
	}
}

// TestHostileELF changes one thing of a good file at a time.
func TestHostileELF(t *testing.T) {
	segs := func(s ...testSegment) []byte {
		return testELF{loads: s, notes: xenNote(0x100000, 8)}.build()
	}
	patch := func(off int, v uint64, n int) []byte {
		b := testPVH.build()
		copy(b[off:], le64(nil, v)[:n])
		return b
	}
	const ph = 0x80 // the first program header
	for _, tt := range []struct {
		name  string
		image []byte
		code  Code
	}{
		{"no note", testELF{loads: testPVH.loads}.build(), CodeUnsupported},
		{"note of 2 bytes", testELF{loads: testPVH.loads, notes: xenNote(0x200000, 2)}.build(), CodeUnsupported},
		{"note name huge", testELF{loads: testPVH.loads, notes: le32(le32(le32(nil, 0xffffffff), 0xffffffff), 18)}.build(), CodeUnsupported},
		{"big endian", patch(5, 2, 1), CodeUnsupported},
		{"class 3", patch(4, 3, 1), CodeUnsupported},
		{"arm", patch(18, 183, 2), CodeUnsupported},
		{"program headers beyond the end", patch(32, 1<<40, 8), CodeCorrupt},
		{"program headers wrap", patch(32, ^uint64(0), 8), CodeCorrupt},
		{"small program headers", patch(54, 8, 2), CodeCorrupt},
		{"many program headers", patch(56, 0xffff, 2), CodeCorrupt},
		{"segment beyond the end", patch(ph+8, 1<<30, 8), CodeCorrupt},
		{"segment offset wraps", patch(ph+8, ^uint64(0), 8), CodeCorrupt},
		{"file size huge", patch(ph+32, ^uint64(0), 8), CodeCorrupt},
		{"more in the file than in memory", patch(ph+40, 1, 8), CodeCorrupt},
		{"address wraps", patch(ph+24, ^uint64(0), 8), CodeCorrupt},
		{"memory size huge", patch(ph+40, 1<<62, 8), CodeCorrupt},
		{"beyond RAM", patch(ph+24, 128*mb, 8), CodeMemory},
		{"overlapping", segs(testSegment{0x100000, 0x2000, "a"}, testSegment{0x101000, 0x1000, "b"}), CodeCorrupt},
		{"twice", segs(testSegment{0x100000, 0x2000, "a"}, testSegment{0x100000, 0x2000, "b"}), CodeCorrupt},
		{"over boot data", segs(testSegment{0x100000, 16, "a"}, testSegment{0x6000, 16, "b"}), CodeCorrupt},
		{"over ROM", segs(testSegment{0xf0000, 0x20000, "a"}), CodeCorrupt},
		{"entry outside", segs(testSegment{0x100001, 16, "a"}), CodeCorrupt},
		{"no segments", segs(), CodeCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newRAM(128 * mb)
			_, err := LoadELF(m, config(tt.image))
			requireCode(t, err, tt.code)
			assert.Empty(t, m.pages, "nothing is written before all is checked")
		})
	}
}

// TestTruncatedELF cuts a good file at every length.
func TestTruncatedELF(t *testing.T) {
	image := testPVH.build()
	for n := range image {
		_, err := LoadELF(newRAM(128*mb), config(image[:n]))
		require.Error(t, err, "%d of %d bytes", n, len(image))
	}
}

func TestPVHMemory(t *testing.T) {
	c := config(testPVH.build())
	c.RAM, c.Initrd = 4*mb, make([]byte, 2*mb)
	_, err := LoadELF(newRAM(c.RAM), c)
	e := requireCode(t, err, CodeMemory)
	assert.Equal(t, []uint64{4 * mb, 0x203000 + 2*mb + 4096}, []uint64{e.Have, e.Want})
	assert.Equal(t, "-m 5M", e.Hint)
	c.RAM = 5 * mb
	_, err = LoadELF(newRAM(c.RAM), c)
	require.NoError(t, err)
}

func FuzzLoadELF(f *testing.F) {
	f.Add(testPVH.build())
	f.Add(testELF{class32: true, loads: testPVH.loads, notes: xenNote(0x200000, 4)}.build())
	f.Fuzz(func(t *testing.T, image []byte) {
		m := newRAM(16 * mb)
		e, err := LoadELF(m, Config{RAM: m.size, Kernel: image, Platform: Platform{APICIDs: []uint32{0}}})
		if err == nil && !m.has(e.RIP, 1) {
			t.Fatalf("entry %#x is not in memory", e.RIP)
		}
		Detect(image)
	})
}
