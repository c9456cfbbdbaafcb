package firmware

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMSRs(t *testing.T) {
	msrs := MSRs(40)
	assert.Equal(t, []MSR{{0x200, 0xc0000000}, {0x201, 0xffc0000800}}, msrs[:2])
	require.Len(t, msrs, 14)
	assert.Equal(t, MSR{0x26f, 0x0505050505050505}, msrs[12])
	assert.Equal(t, MSR{0x2ff, 0xc06}, msrs[13], "turned on last")
}

// TestDeviceWrites: the SCI and both PCI interrupts are level triggered, and
// every register is written by its own size.
func TestDeviceWrites(t *testing.T) {
	elcr := uint32(0)
	for _, w := range DeviceWrites() {
		assert.Zero(t, uint64(w.Value)>>(8*w.Size), "%#x", w.Addr)
		if w.Port {
			elcr |= w.Value << (8 * (w.Addr - 0x4d0))
		}
	}
	assert.Equal(t, uint32(1<<9|1<<10|1<<11), elcr)
}
