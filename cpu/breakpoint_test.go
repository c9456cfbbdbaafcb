package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/mem"
)

func TestBreakpointMatching(t *testing.T) {
	tests := []struct {
		name string
		dr7  uint64 // conditions of breakpoint 1, at 0x1004
		addr uint64
		size int
		kind uint64
		hit  bool
	}{
		{"off", 0xd << 20, 0x1004, 4, breakWrite, false},
		{"write of its four bytes", 0xd<<20 | 4, 0x1004, 4, breakWrite, true},
		{"global", 0xd<<20 | 8, 0x1004, 4, breakWrite, true},
		{"last byte", 0xd<<20 | 4, 0x1007, 1, breakWrite, true},
		{"after", 0xd<<20 | 4, 0x1008, 1, breakWrite, false},
		{"overlap from below", 0xd<<20 | 4, 0x1000, 8, breakWrite, true},
		{"before", 0xd<<20 | 4, 0x1000, 4, breakWrite, false},
		{"read does not match write", 0xd<<20 | 4, 0x1004, 4, breakAccess, false},
		{"read or write: read", 0xf<<20 | 4, 0x1004, 1, breakAccess, true},
		{"read or write: write", 0xf<<20 | 4, 0x1004, 1, breakWrite, true},
		{"eight bytes are aligned", 0x9<<20 | 4, 0x1000, 1, breakWrite, true},
		{"execution", 4, 0x1004, 1, breakExec, true},
		{"execution elsewhere", 4, 0x1005, 1, breakExec, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.DR[1], r.DR[7] = 0x1004, tt.dr7
			want := uint64(0)
			if tt.hit {
				want = 2
			}
			assert.Equal(t, want, r.breaks(tt.addr, tt.size, tt.kind))
		})
	}
}

func TestCodeBreak(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.DR[0], r.DR[7] = rigCode, 2
	assert.False(t, r.codeBreak(rigCode))
	r.deliverFault(r.fault)
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(dr6One|1), r.DR[6])
	assert.Zero(t, r.get64(r.R[RSP]+16)&flagRF)
	r.RFLAGS |= flagRF
	assert.True(t, r.codeBreak(rigCode), "RF lets the handler return")
}

func TestDataBreakIsATrap(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.DR[3], r.DR[7] = 0x5000, 0xd<<28|0x80
	r.put(rigCode, "90")
	r.dataBreak(0x5000, 8, false)
	r.Step()
	assert.Equal(t, uint64(rigCode+1), r.RIP, "a read")
	r.RIP = rigCode
	r.dataBreak(0x5000, 8, true)
	r.Step()
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(dr6One|8), r.DR[6])
	assert.Equal(t, uint64(rigCode+1), r.get64(r.R[RSP]))
}

// TestDataBreakIsTakenBack: an instruction that meets a breakpoint and then faults,
// or is refused, has not happened, and leaves no trap behind.
func TestDataBreakIsTakenBack(t *testing.T) {
	for _, refused := range []bool{false, true} {
		r := newRig(t)
		r.smallPages()
		r.put(rigCode, "a4")
		r.R[RSI], r.R[RDI] = 0x20000, 0x21000
		r.Step() // the TLB knows the source
		require.Equal(t, uint64(rigCode+1), r.RIP)
		r.RIP, r.R[RSI], r.R[RDI] = rigCode, 0x20000, 0x22000 // absent
		r.DR[0], r.DR[7] = 0x20000, 1|breakAccess<<16
		var e *mem.Epoch
		if refused {
			r.R[RDI] = 0x21000
			require.True(t, r.m.Touch(0xff))
			e = r.m.Epoch(1)
			require.True(t, r.m.Touch(0xff))
			r.begin(^uint64(0))
		}
		r.Step()
		require.Equal(t, refused, r.stalled)
		assert.Zero(t, r.DBPending, "refused %v", refused)
		if e != nil {
			e.Close()
			r.begin(^uint64(0))
			r.Step()
			assert.Equal(t, isr(vecDB), r.RIP)
		}
	}
}

func TestPortBreak(t *testing.T) {
	r := newRig(t)
	r.long(0)
	r.CR4 |= cr4DE
	r.DR[2], r.DR[7] = 0x80, 2<<24|0x10
	r.put(rigCode, "e680")
	r.Step()
	assert.Equal(t, isr(vecDB), r.RIP)
	assert.Equal(t, uint64(dr6One|4), r.DR[6])
	assert.Len(t, r.bus.outs, 1)
}
