package cpu

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

const (
	rigTSS2  = 0x3800
	selTSS2  = selGate
	selTask  = selGate + 8
	rigTask2 = 0x9000
)

// tasks adds a second 32-bit task whose code is at rigTask2.
func (r *rig) tasks() {
	r.put64(rigGDT+selTSS2, 0x67|rigTSS2<<16|0x89<<40, uint64(selTSS2)<<16|0xe5<<40)
	r.ram[rigGDT+selTSS+5] = 0x8b
	put := func(off uint64, v uint32) { binary.LittleEndian.PutUint32(r.ram[rigTSS2+off:], v) }
	put(32, rigTask2)
	put(36, flagsFixed|flagCF)
	for i := uint64(0); i < 8; i++ {
		put(40+4*i, uint32(0x100+i))
	}
	put(56, 0x5000) // ESP
	for i, sel := range [...]uint32{selData, selCode32, selData, selData, 0, selData} {
		put(72+4*uint64(i), sel)
	}
}

func TestTaskSwitch(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		nested     bool
	}{
		{"call tss", "9a000000005000", true},
		{"call gate", "9a000000005800", true},
		{"jmp tss", "ea000000005000", false},
		{"jmp gate", "ea000000005800", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.protected32(0)
			r.tasks()
			r.put(rigCode, tt.code)
			r.put(rigTask2, "cf")
			r.R[RBX] = 0x55
			r.Step()
			require.Equal(t, uint64(rigTask2), r.RIP)
			assert.Equal(t, uint16(selTSS2), r.TR.Sel)
			assert.Equal(t, []uint64{0x101, 0x5000, 0x107}, []uint64{r.R[RCX], r.R[RSP], r.R[RDI]})
			assert.NotZero(t, r.CR0&cr0TS)
			assert.Equal(t, byte(0x8b), r.ram[rigGDT+selTSS2+5])
			assert.Equal(t, uint32(rigCode+7), r.get32(rigTSS+32), "saved EIP")
			assert.Equal(t, uint32(0x55), r.get32(rigTSS+52), "saved EBX")
			assert.Equal(t, tt.nested, r.RFLAGS&flagNT != 0)
			if !tt.nested {
				assert.Equal(t, byte(0x89), r.ram[rigGDT+selTSS+5])
				return
			}
			assert.Equal(t, uint16(selTSS), r.get16(rigTSS2))
			r.Step() // iret
			assert.Equal(t, uint64(rigCode+7), r.RIP)
			assert.Equal(t, uint64(0x55), r.R[RBX])
			assert.Equal(t, byte(0x89), r.ram[rigGDT+selTSS2+5])
			assert.Zero(t, r.get32(rigTSS2+36)&flagNT)
		})
	}
}

func TestTaskGateTakesFaults(t *testing.T) {
	r := newRig(t)
	r.protected32(3)
	r.tasks()
	r.put64(rigIDT+8*vecGP, uint64(selTSS2)<<16|0x85<<40)
	r.put(rigCode, "f4")
	r.Step()
	require.Equal(t, uint64(rigTask2), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
	assert.Equal(t, uint64(0x4ffc), r.R[RSP])
	assert.Equal(t, uint32(0), r.get32(0x4ffc), "error code")
	assert.Equal(t, uint32(rigCode), r.get32(rigTSS+32))
	assert.Equal(t, uint32(selUser32), r.get32(rigTSS+76))
	assert.NotZero(t, r.get32(rigTSS+36)&flagRF)
	assert.Equal(t, uint64(1), r.Count)
}

func TestTaskSwitchFaults(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(r *rig)
		vec   uint64
		err   uint32
		eip   uint32
	}{
		{"busy", func(r *rig) { r.ram[rigGDT+selTSS2+5] = 0x8b }, vecGP, selTSS2, rigCode},
		{"absent", func(r *rig) { r.ram[rigGDT+selTSS2+5] = 0x09 }, vecNP, selTSS2, rigCode},
		{"short", func(r *rig) { r.ram[rigGDT+selTSS2] = 0x60 }, vecTS, selTSS2, rigCode},
		{"null cs", func(r *rig) { r.ram[rigTSS2+76] = 0 }, vecTS, 0, rigTask2},
		{"ss is code", func(r *rig) { r.ram[rigTSS2+80] = selCode32 }, vecTS, selCode32, rigTask2},
		{"gs is a tss", func(r *rig) { r.ram[rigTSS2+92] = selTSS }, vecTS, selTSS, rigTask2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.protected32(0)
			r.tasks()
			tt.spoil(r)
			r.put(rigCode, "ea000000005000")
			// The handler's own task, so that a broken new task can be left.
			if tt.eip == rigTask2 {
				require.False(t, func() bool { r.materialize(); return r.fetch() && r.execute() }())
				assert.Equal(t, Fault{Vec: uint8(tt.vec), HasErr: true, Err: tt.err}, r.fault)
				assert.Equal(t, uint64(rigTask2), r.RIP)
				assert.Equal(t, uint16(selTSS2), r.TR.Sel)
				return
			}
			r.Step()
			require.Equal(t, isr(tt.vec), r.RIP)
			assert.Equal(t, tt.err, r.get32(r.R[RSP]))
			assert.Equal(t, tt.eip, r.get32(r.R[RSP]+4))
			assert.Equal(t, uint16(selCode32), r.Seg[isa.CS].Sel)
		})
	}
}

// TestTaskOfVM86: IRET with NT goes back to a task of virtual-8086 mode, and a task
// gate from there to a task of protected mode.
func TestTaskOfVM86(t *testing.T) {
	r := newRig(t)
	r.protected32(0)
	r.tasks()
	put := func(off uint64, v uint32) { binary.LittleEndian.PutUint32(r.ram[rigTSS2+off:], v) }
	put(32, 0x10)
	put(36, flagsFixed|flagVM)
	for i, sel := range [...]uint32{0x1111, rigTask2>>4 - 1, 0x2222, 0x3333, 0x4444, 0x5555} {
		put(72+4*uint64(i), sel)
	}
	r.ram[rigGDT+selTSS2+5] = 0x8b
	r.put(rigTSS, "5000") // the link
	r.put64(rigIDT+8*vecUD, uint64(selTSS)<<16|0x85<<40)
	r.put(rigCode, "cf 90")
	r.put(rigTask2, "0f0b")
	r.RFLAGS |= flagNT
	r.Step()
	require.Equal(t, uint64(0x10), r.RIP)
	assert.Equal(t, uint8(3), r.CPL)
	assert.NotZero(t, r.RFLAGS&flagVM)
	for i, s := range []int{isa.ES, isa.CS, isa.SS, isa.DS, isa.FS, isa.GS} {
		sel := []uint16{0x1111, rigTask2>>4 - 1, 0x2222, 0x3333, 0x4444, 0x5555}[i]
		assert.Equal(t, Segment{Sel: sel, Attr: vmSegment, Limit: 0xffff, Base: uint64(sel) << 4}, r.Seg[s])
	}
	assert.Equal(t, byte(0x89), r.ram[rigGDT+selTSS+5], "left by IRET")
	assert.Zero(t, r.get32(rigTSS+36)&flagNT, "saved without NT")
	r.Step() // ud2
	require.Equal(t, uint64(rigCode+1), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
	assert.Equal(t, []byte{0x8b, 0x8b}, []byte{r.ram[rigGDT+selTSS+5], r.ram[rigGDT+selTSS2+5]})
	assert.Equal(t, uint16(selTSS2), r.get16(rigTSS))
	assert.Equal(t, []uint64{flagNT, 0}, []uint64{r.RFLAGS & flagNT, r.RFLAGS & flagVM})
	assert.NotZero(t, r.get32(rigTSS2+36)&flagVM)
	assert.Equal(t, uint32(0x3333), r.get32(rigTSS2+84), "DS is saved")
}

// TestTaskInConformingCode: a task may run conforming code of level 0 at level 3.
func TestTaskInConformingCode(t *testing.T) {
	r := newRig(t)
	r.protected32(0)
	r.tasks()
	r.put64(rigGDT+selCode16, 0x00cf9f000000ffff)
	put := func(off uint64, v uint32) { binary.LittleEndian.PutUint32(r.ram[rigTSS2+off:], v) }
	for i, sel := range [...]uint32{selUserDS, selCode16 | 3, selUserDS, selUserDS, selUserDS, selUserDS} {
		put(72+4*uint64(i), sel)
	}
	r.put(rigCode, "9a000000005000")
	r.put(rigTask2, "cf")
	r.Step()
	require.Equal(t, uint64(rigTask2), r.RIP)
	assert.Equal(t, uint8(3), r.CPL)
	r.Step()
	assert.Equal(t, uint64(rigCode+7), r.RIP)
	assert.Equal(t, uint8(0), r.CPL)
}
