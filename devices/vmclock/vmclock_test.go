package vmclock_test

import (
	"encoding/binary"
	"math/bits"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/vmclock"
)

// page is memory that can refuse.
type page struct {
	full bool
	at   uint64
	b    []byte
}

func (p *page) Write(pa uint64, b []byte) bool {
	if !p.full {
		p.at, p.b = pa, append([]byte(nil), b...)
	}
	return !p.full
}

func (p *page) u64(off int) uint64 { return binary.LittleEndian.Uint64(p.b[off:]) }
func (p *page) u32(off int) uint32 { return binary.LittleEndian.Uint32(p.b[off:]) }

func device(p *page, stalls, told *int) *vmclock.Device {
	return vmclock.New(vmclock.Wiring{
		ID: "vmclock0", Addr: 0x1000, Epoch: 1735430370, Mem: p, Stall: func() { *stalls++ }, Changed: func() { *told++ },
	})
}

// A disruption changes the marker, another machine also the generation, each with
// an even seq_count of its own; the guest is told once memory holds that.
func TestDisrupt(t *testing.T) {
	p := &page{full: true}
	stalls, told := 0, 0
	d := device(p, &stalls, &told)
	d.Retry()
	assert.Zero(t, stalls+told, "memory holds the first already")
	d.Disrupt(false)
	d.Retry()
	assert.Equal(t, []int{2, 0}, []int{stalls, told})
	p.full = false
	d.Retry()
	d.Retry()
	assert.Equal(t, []int{2, 1}, []int{stalls, told})
	require.Len(t, p.b, 112)
	assert.EqualValues(t, 0x1000, p.at)
	assert.Equal(t, []uint64{2, 1, 0}, []uint64{uint64(p.u32(12)), p.u64(16), p.u64(104)})
	d.Disrupt(true)
	assert.Equal(t, []uint64{4, 2, 1}, []uint64{uint64(p.u32(12)), p.u64(16), p.u64(104)})
	assert.Equal(t, 2, told)
	d.Reset(devices.Warm)
	assert.EqualValues(t, 2, d.Disruptions, "a reset forgets nothing")
	d.Reset(devices.PowerOn)
	assert.Zero(t, d.Disruptions)
}

// The relation gives UTC to the nanosecond, by the formula of the readers of the page
// (Linux's drivers/ptp/ptp_vmclock.c): counter times period, shifted, and the fraction
// added, for the first two centuries.
func TestRelation(t *testing.T) {
	p := &page{b: device(&page{}, nil, nil).Page()}
	require.Len(t, p.b, vmclock.Size)
	assert.Equal(t, "VCLK", string(p.b[:4]))
	assert.EqualValues(t, vmclock.Size, p.u32(4))
	for _, at := range []time.Duration{0, 1, 999_999_999, time.Hour, 200 * 365 * 24 * time.Hour} {
		hi, lo := bits.Mul64(uint64(at)-p.u64(40), p.u64(48))
		shift := p.b[39]
		hi, lo = hi>>shift, hi<<(64-shift)|lo>>shift
		lo, carry := bits.Add64(lo, p.u64(80), 0)
		sec := hi + carry + p.u64(72)
		nanos, frac := bits.Mul64(lo, 1_000_000_000)
		nanos += frac >> 63 // rounded
		got := time.Unix(int64(sec), int64(nanos))
		assert.Equal(t, time.Unix(1735430370, 0).Add(at), got, "%s", at)
	}
}
