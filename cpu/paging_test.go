package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// Protection keys: those of user pages follow PKRU, those of supervisor pages
// IA32_PKRS; neither counts for fetches, and write-disable only with CR0.WP or
// for user code [SDM 3A 4.6.2].
func TestProtectionKeys(t *testing.T) {
	const ad, wd = 1 << 4, 2 << 4 // of key 2
	for _, tt := range []struct {
		name       string
		cpl        uint8
		user, wp   bool // page, CR0.WP
		pkru, pkrs uint64
		write      bool
		want       int64 // error code, or -1
	}{
		{"user page, read, ad", 3, true, true, ad, 0, false, pfP | pfU | pfPK},
		{"user page, kernel read, ad", 0, true, true, ad, 0, false, pfP | pfPK},
		{"user page, read, wd", 3, true, true, wd, 0, false, -1},
		{"user page, write, wd", 3, true, false, wd, 0, true, pfP | pfW | pfU | pfPK},
		{"user page, kernel write, wd, wp", 0, true, true, wd, 0, true, pfP | pfW | pfPK},
		{"user page, kernel write, wd, no wp", 0, true, false, wd, 0, true, -1},
		{"user page does not know pkrs", 0, true, true, 0, ad | wd, true, -1},
		{"kernel page does not know pkru", 0, false, true, ad | wd, 0, true, -1},
		{"user page, rights refuse as well", 3, true, true, ad, 0, true, pfP | pfW | pfU | pfPK},
		{"kernel page, read, ad", 0, false, false, 0, ad, false, pfP | pfPK},
		{"kernel page, read, wd", 0, false, true, 0, wd, false, -1},
		{"kernel page, write, wd, wp", 0, false, true, 0, wd, true, pfP | pfW | pfPK},
		{"kernel page, write, wd, no wp", 0, false, false, 0, wd, true, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.model, _ = LookupModel("max")
			r.long(tt.cpl)
			r.pages(0x40000, b2u(tt.user)*pteU|2<<59)
			r.CR4 |= cr4PKE | cr4PKS
			if !tt.wp {
				r.CR0 &^= cr0WP
			}
			r.PKRU = uint32(tt.pkru)
			require.True(t, r.writeMSR(0x6e1, tt.pkrs))
			assert.False(t, r.writeMSR(0x6e1, 1<<32))
			r.changed()
			code := "8b042500004000" // mov eax, [0x400000]
			if tt.write {
				code = "89042500004000"
			}
			r.put(rigCode, code)
			assert.Equal(t, tt.want, r.pageFault())
		})
	}
}

// pages maps linear 4 MiB to physical pa with the given bits of the last entry
// besides present and writable.
func (r *rig) pages(pa, bits uint64) {
	r.put64(rigPML4+0x2000+2*8, rigPML4+0x3000|7)
	r.put64(rigPML4+0x3000, pa|bits|3)
}

// pageFault executes one instruction and gives the error code of the page fault
// it raised, -1 for none.
func (r *rig) pageFault() int64 {
	r.Step()
	if r.RIP != isr(vecPF) {
		return -1
	}
	require.Equal(r.t, isa.Mode64, r.mode)
	return int64(r.get64(r.R[RSP]))
}
