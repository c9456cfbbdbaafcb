package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// smallPages is long(3) with pages of 4 KiB: those from 0x20000 to 0x28000 are, two
// and two, memory and absent, the last two a device, and 0x24000 and 0x25000 are
// memory of other places.
func (r *rig) smallPages() {
	r.long(3)
	r.put64(rigPML4+0x2000, rigPML4+0x3000|7)
	for i := uint64(0); i < 512; i++ {
		pte := i<<12 | 7
		switch i {
		case 0x22, 0x23:
			pte = 0
		case 0x24:
			pte = 0x31<<12 | 7
		case 0x25:
			pte = 0x30<<12 | 7
		case 0x26, 0x27:
			pte = 0x40000000 | i<<12 | 7
		case 0x28:
			pte = i<<12 | 5 // only to be read
		}
		r.put64(rigPML4+0x3000+i*8, pte)
	}
	r.shared.Reset()
}

// TestCodeMappedTwice jumps over the end of a page that is mapped at two
// addresses: what follows is another page at each of them.
func TestCodeMappedTwice(t *testing.T) {
	r := newRig(t)
	r.smallPages()
	r.put64(rigPML4+0x3000+0x50*8, 0x30000|7)
	// call 0x30000; call 0x50000; dec ecx; jnz to the start; hlt
	r.put(rigCode, "e8 fb7f0200 e8 f67f0400 ffc9 75f2 f4")
	r.put(0x30000, "e9 fb0f0000")
	r.put(0x31000, "ffc0 c3") // inc eax; ret
	r.put(0x51000, "ffc3 c3") // inc ebx; ret
	r.shared.Reset()
	r.R[RCX] = 3
	r.Run(3 * 10)
	assert.Equal(t, []uint64{3, 3}, []uint64{r.R[RAX], r.R[RBX]})
}

// TestSameOffsetInOtherSegment goes to one offset of two segments in turn.
func TestSameOffsetInOtherSegment(t *testing.T) {
	r := newRig(t)
	r.real()
	// dec cx; jz; far jump to 1000:0100 / hlt
	r.put(rigCode, "49 7405 ea 0001 0010 f4")
	r.put(0x10100, "40 ea 0001 0020") // inc ax; jmp 2000:0100
	r.put(0x20100, "43 ea 0080 0000") // inc bx; jmp 0000:8000
	r.shared.Reset()
	r.R[RCX] = 4
	for r.Activity == Running && r.Count < 100 {
		r.Run(r.Count + 100)
	}
	assert.Equal(t, []uint64{3, 3}, []uint64{r.R[RAX], r.R[RBX]})
}
