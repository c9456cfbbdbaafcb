package tiny

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxSize bounds the committed image; it is part of every checkout and binary.
const maxSize = 48 << 10

// notePhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY [PVH].
const notePhys32Entry = 18

func TestImage(t *testing.T) { checkImage(t, Image) }

func TestPVHEntryRejectsDamage(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  int
	}{
		{"name length", 0}, {"descriptor length", 4}, {"type", 8}, {"name", 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			note := noteBytes(t, Image)
			note[tt.off] ^= 0x40
			_, ok := pvhEntry(note)
			assert.False(t, ok)
		})
	}
}

// checkImage requires what a PVH loader relies on, whichever compiler built it.
func checkImage(t *testing.T, image []byte) {
	t.Helper()
	require.LessOrEqual(t, len(image), maxSize)
	f, err := elf.NewFile(bytes.NewReader(image))
	require.NoError(t, err)
	assert.Equal(t, elf.ELFCLASS64, f.Class)
	assert.Equal(t, elf.EM_X86_64, f.Machine)
	assert.Equal(t, elf.ET_EXEC, f.Type)
	assert.Nil(t, f.Section(".symtab"), "the image is not stripped")
	assert.Nil(t, f.Section(".note.gnu.build-id"), "a build id is not reproducible")

	entry, ok := pvhEntry(noteBytes(t, image))
	require.True(t, ok, "no PVH entry note")
	assert.Equal(t, f.Entry, entry)
	checkSegments(t, f, entry)
}

func checkSegments(t *testing.T, f *elf.File, entry uint64) {
	t.Helper()
	executable := false
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		assert.Equal(t, p.Vaddr, p.Paddr, "PVH enters with paging off")
		assert.GreaterOrEqual(t, p.Paddr, uint64(1<<20))
		assert.LessOrEqual(t, p.Paddr+p.Memsz, uint64(2<<20), "mm.c protects the first 2 MiB only")
		assert.NotEqual(t, elf.PF_W|elf.PF_X, p.Flags&(elf.PF_W|elf.PF_X), "writable code")
		if p.Flags&elf.PF_X != 0 && entry >= p.Paddr && entry < p.Paddr+p.Filesz {
			executable = true
		}
	}
	assert.True(t, executable, "entry %#x is in no executable segment", entry)
}

func noteBytes(t *testing.T, image []byte) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(image))
	require.NoError(t, err)
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE {
			b := make([]byte, p.Filesz)
			_, err := p.ReadAt(b, 0)
			require.NoError(t, err)
			return b
		}
	}
	require.Fail(t, "no PT_NOTE segment")
	return nil
}

// pvhEntry reads the entry address from a segment holding just the Xen note.
func pvhEntry(note []byte) (uint64, bool) {
	if len(note) < 24 {
		return 0, false
	}
	name, desc := binary.LittleEndian.Uint32(note), binary.LittleEndian.Uint32(note[4:])
	kind := binary.LittleEndian.Uint32(note[8:])
	if name != 4 || desc != 8 || kind != notePhys32Entry || string(note[12:16]) != "Xen\x00" {
		return 0, false
	}
	return binary.LittleEndian.Uint64(note[16:]), true
}
