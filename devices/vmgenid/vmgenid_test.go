package vmgenid_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/vmgenid"
)

// page is memory that can refuse.
type page struct {
	full bool
	b    []byte
}

func (p *page) Write(pa uint64, b []byte) bool {
	if !p.full {
		p.b = append([]byte{byte(pa)}, b...)
	}
	return !p.full
}

// The guest is told once memory holds the new identity, and not before.
func TestChange(t *testing.T) {
	p := &page{full: true}
	stalls, told := 0, 0
	first := [16]byte{1}
	d := vmgenid.New(vmgenid.Wiring{
		ID: "vmgenid0", Addr: 0x40, First: first, Mem: p, Stall: func() { stalls++ }, Changed: func() { told++ },
	})
	d.Retry()
	assert.Zero(t, stalls+told, "memory holds the first already")
	d.Change([16]byte{2, 15: 9})
	d.Retry()
	assert.Equal(t, []int{2, 0}, []int{stalls, told})
	p.full = false
	d.Retry()
	d.Retry()
	assert.Equal(t, []int{2, 1}, []int{stalls, told})
	assert.Equal(t, append([]byte{0x40, 2}, append(make([]byte, 14), 9)...), p.b)
	d.Reset(devices.Warm)
	assert.Equal(t, [16]byte{2, 15: 9}, d.GUID, "a reset does not make it another machine")
	d.Reset(devices.PowerOn)
	assert.Equal(t, first, d.GUID)
}
