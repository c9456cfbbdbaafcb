package cpu

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/fp"
	"godwit/cpu/isa"
)

// pointers gives the x87 an environment with all pointers set.
func (r *rig) pointers() {
	r.FCW, r.FSW, r.FTW = 0x027f, 5<<11|0x4100, 0x60
	r.ST[5], r.ST[6] = F80{}, F80(fp.Indefinite)
	r.FOP, r.FIP, r.FCS, r.FDP, r.FDS = 0x5a3, 0x00045678, 0x1234, 0x000789ab, 0x4321
}

// TestX87Environment has the formats of [SDM 1 8.1.10], figures 8-9 to 8-12.
// Linear addresses are 12340 + 45678 and 43210 + 789ab.
func TestX87Environment(t *testing.T) {
	long := func(r *rig) { r.long(3) }
	for _, tt := range []struct {
		name string
		mode func(r *rig)
		code string // FNSTENV [BX], [EBX], [RBX]
		want string
	}{
		{"16-bit real", (*rig).real, "d937", "7f02 0069 ffe7 b879 a355 bbbb 00b0"},
		{"32-bit real", (*rig).real, "66d937", "7f02ffff 0069ffff ffe7ffff b879ffff a3550000 bbbbffff 00b00000"},
		{"16-bit virtual-8086", (*rig).virtual, "d937", "7f02 0069 ffe7 b879 a355 bbbb 00b0"},
		{"16-bit protected", func(r *rig) { r.protected32(0) }, "66d933", "7f02 0069 ffe7 7856 3412 ab89 2143"},
		{"32-bit protected", func(r *rig) { r.protected32(0) }, "d933", "7f02ffff 0069ffff ffe7ffff 78560400 3412a305 ab890700 2143ffff"},
		{"64-bit", long, "d933", "7f02ffff 0069ffff ffe7ffff 78560400 3412a305 ab890700 2143ffff"},
		{"64-bit with 66", long, "66d933", "7f02 0069 ffe7 7856 3412 ab89 2143"},
		{"64-bit with REX.W", long, "48d933", "7f02ffff 0069ffff ffe7ffff 78560400 3412a305 ab890700 2143ffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.mode(r)
			r.pointers()
			r.put(rigCode, tt.code)
			r.R[RBX] = 0x5000
			before := r.Arch
			r.Step()
			want, err := hex.DecodeString(stripBlanks(tt.want))
			require.NoError(t, err)
			assert.Equal(t, want, r.ram[0x5000:0x5000+len(want)])
			assert.Zero(t, r.ram[0x5000+len(want)])
			assert.EqualValues(t, 0x027f, r.FCW, "all exceptions are masked")

			// FLDENV brings back what the format holds.
			r.FCW, r.FSW, r.FTW, r.FOP, r.FIP, r.FCS, r.FDP, r.FDS = fcwInit, 0, 0, 1, 1, 1, 1, 1
			r.ram[rigCode+uint64(len(tt.code)/2)-1] -= 0x10
			r.RIP = rigCode
			r.Step()
			assert.Equal(t, []uint16{before.FCW, before.FSW, uint16(before.FTW)}, []uint16{r.FCW, r.FSW, uint16(r.FTW)})
			r.Arch.FCW, r.ram[0x5000] = before.FCW, 0
			r.ram[rigCode+uint64(len(tt.code)/2)-1] += 0x10
			r.RIP = rigCode
			r.Step()
			if r.linearEnv() || len(want) == 28 {
				assert.Equal(t, want, r.ram[0x5000:0x5000+len(want)])
			}
		})
	}
}

func stripBlanks(s string) string {
	var b []byte
	for _, ch := range []byte(s) {
		if ch != ' ' {
			b = append(b, ch)
		}
	}
	return string(b)
}

// virtual puts the CPU into virtual-8086 mode at 0000:8000.
func (r *rig) virtual() {
	r.protected32(3)
	for i := range r.Seg {
		r.Seg[i] = Segment{Attr: 0xf3, Limit: 0xffff}
	}
	r.RFLAGS |= flagVM
	r.changed()
}

// TestX87Checks: what waiting instructions wait for, and others do not.
func TestX87Checks(t *testing.T) {
	const es = fswSummary | uint16(fp.ZE)
	for _, tt := range []struct {
		name string
		code string
		cr0  uint64 // added
		fsw  uint16
		want int // vector, or -1
	}{
		{"fld1", "d9e8", 0, 0, -1},
		{"fld1, task switched", "d9e8", cr0TS, 0, vecNM},
		{"fld1, emulated", "d9e8", cr0EM, 0, vecNM},
		{"fld1, pending", "d9e8", 0, es, vecMF},
		{"fld1, task switched and pending", "d9e8", cr0TS, es, vecNM},
		{"fldenv, pending", "d923", 0, es, vecMF},
		{"frstor, pending", "dd23", 0, es, vecMF},
		{"fnop, pending", "d9d0", 0, es, vecMF},
		{"fnstenv, pending", "d933", 0, es, -1},
		{"fnstenv, task switched", "d933", cr0TS, 0, vecNM},
		{"fnsave, pending", "dd33", 0, es, -1},
		{"fneni, pending", "dbe0", 0, es, -1},
		{"fneni, emulated", "dbe0", cr0EM, 0, vecNM},
		{"fwait, pending", "9b", 0, es, vecMF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(3)
			r.FCW, r.FSW = fcwInit&^uint16(fp.ZE), tt.fsw
			r.CR0 |= tt.cr0
			r.R[RBX] = 0x5000
			r.put(rigCode, tt.code)
			before := r.Arch
			got := -1
			if !r.fetch() || !r.execute() {
				got = int(r.fault.Vec)
				before.R = r.R // RIP's place in it is no state
				assert.Equal(t, before, r.Arch)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestX87NoFerr: with CR0.NE clear the pending exception stays in FSW.
func TestX87NoFerr(t *testing.T) {
	r := newRig(t)
	r.real()
	r.FTW = 0
	r.FCW, r.FSW = fcwInit&^uint16(fp.ZE), fswSummary|uint16(fp.ZE)
	r.put(rigCode, "d9e8")
	r.steps(1)
	assert.EqualValues(t, 7<<11|fswSummary|uint16(fp.ZE), r.FSW)
	assert.EqualValues(t, rigCode+2, r.RIP)
}

// TestX87Pointers: prefixes belong to the instruction that FIP points to, but not
// to FOP, and FDP is the offset within its segment.
func TestX87Pointers(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		at         uint64
		fop        uint16
		fdp        uint64
		fds        uint16
	}{
		{"register", "d9e8", rigCode, 0x1e8, 0x77, 0x66},
		{"memory", "dc4310", rigCode, 0x443, 0x5010, 0x2b},
		{"wide displacement", "dc8310000000", rigCode, 0x483, 0x5010, 0x2b},
		{"prefixes", "64 48 dc4310", rigCode, 0x443, 0x5010, 0x53},
		{"across pages", "64 48 dc4310", rigCode + 0xffd, 0x443, 0x5010, 0x53},
		{"ignored override", "2e dc4310", rigCode, 0x443, 0x5010, 0x2b},
		{"stack", "dc0424", rigCode, 0x404, 0x6000, 0x2d},
		{"no operation", "d9d0", rigCode, 0x1d0, 0x77, 0x66},
		{"stack fault", "d9c1", rigCode, 0x1c1, 0x77, 0x66},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.long(3)
			r.FCW, r.FTW, r.FDP, r.FDS = fcwInit, 1, 0x77, 0x66
			r.Seg[isa.FS].Sel, r.Seg[isa.SS].Sel = 0x53, 0x2d
			r.put(tt.at, tt.code)
			r.R[RBX], r.RIP = 0x5000, tt.at
			r.steps(1)
			assert.Equal(t, tt.fop, r.FOP)
			assert.Equal(t, []uint64{tt.at, tt.fdp}, []uint64{r.FIP, r.FDP})
			assert.Equal(t, []uint16{selUser64, tt.fds}, []uint16{r.FCS, r.FDS})

			r.put(r.RIP, "db e2 d9 3b d9 2b 9b 9b") // control instructions
			r.put(0x5000, "7f03")
			r.steps(4)
			assert.Equal(t, tt.fop, r.FOP)
			assert.Equal(t, []uint64{tt.at, tt.fdp}, []uint64{r.FIP, r.FDP})
		})
	}
}

// TestX87Restart: an instruction whose memory faults has changed nothing.
func TestX87Restart(t *testing.T) {
	const bad = 0x200000 // not mapped
	for _, tt := range []struct{ name, code string }{
		{"fld m32", "d903"},
		{"fld m64", "dd03"},
		{"fld m80", "db2b"},
		{"fild m16", "df03"},
		{"fbld", "df23"},
		{"fst m32", "d913"},
		{"fstp m64", "dd1b"},
		{"fstp m80", "db3b"},
		{"fistp m16", "df1b"},
		{"fisttp m64", "dd0b"},
		{"fbstp", "df33"},
		{"fadd m32", "d803"},
		{"fidivr m32", "da3b"},
		{"ficomp m16", "de1b"},
		{"fldenv", "d923"},
		{"fnstenv", "d933"},
		{"fnsave", "dd33"},
		{"frstor", "dd23"},
	} {
		for _, back := range []uint64{0, 1, 9} { // wholly there, and across
			t.Run(tt.name, func(t *testing.T) {
				r := newRig(t)
				r.long(3)
				r.checkRestart(tt.code, bad, back)
			})
		}
	}
}

// images are the sizes of images in 64-bit mode.
var images = map[isa.Op]uint64{isa.FLDENV: 28, isa.FNSTENV: 28, isa.FNSAVE: 108, isa.FRSTOR: 108}

func (r *rig) checkRestart(code string, bad, back uint64) {
	r.pointers()
	r.FTW = 0x7f
	r.put(rigCode, code)
	r.R[RBX] = bad - back
	before := r.Arch
	if !assert.True(r.t, r.fetch()) || r.execute() {
		assert.LessOrEqual(r.t, uint64(r.in.ArgSize(0)), back, "reached %#x", bad)
		assert.NotZero(r.t, r.in.ArgSize(0))
		return
	}
	at := bad
	if size := images[r.in.Op]; back >= 4 && size > 0 { // the last byte is looked at before the middle
		at = bad - back + size - 1
	}
	assert.Equal(r.t, Fault{Vec: vecPF, HasErr: true, Err: r.fault.Err, Addr: at}, r.fault)
	before.R, before.CR2 = r.R, r.CR2
	assert.Equal(r.t, before, r.Arch)
}

// TestX87Alignment: with EFLAGS.AC the parts of an operand are aligned.
func TestX87Alignment(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		align      uint64
	}{
		{"fld m32", "d903", 4},
		{"fld m64", "dd03", 8},
		{"fld m80", "db2b", 8},
		{"fstp m80", "db3b", 8},
		{"fist m16", "df13", 2},
		{"fbstp", "df33", 8},
		{"fnstenv", "d933", 4},
		{"fnstenv 16", "66d933", 2},
		{"fnsave", "dd33", 4},
		{"frstor 16", "66dd23", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for off := uint64(0); off < 8; off++ {
				r := newRig(t)
				r.long(3)
				r.RFLAGS |= flagAC
				r.CR0 |= cr0AM
				r.put(rigCode, tt.code)
				r.R[RBX] = 0x5000 + off
				require.True(t, r.fetch())
				assert.Equal(t, off%tt.align == 0, r.execute(), "offset %d", off)
				if off%tt.align != 0 {
					assert.EqualValues(t, vecAC, r.fault.Vec)
				}
			}
		})
	}
}

// TestX87Blocks: blocks and reference agree, operands across pages and into the
// code's own page included.
func TestX87Blocks(t *testing.T) {
	var end [2]Arch
	var ram [2][]byte
	for i := range end {
		r := newRig(t)
		r.long(3)
		r.FCW = fcwInit
		// again: fld1; fldpi; faddp; fld st0; fsin; fstp m80 [rbx]; fld m80 [rbx];
		// fstp m80 [rsi]; fnstenv [rbx+16]; fldenv [rbx+16]; fstp m32 [rdi];
		// fnsave [rbx]; frstor [rbx]; inc rbx; jmp again
		r.put(rigCode, "d9e8 d9eb dec1 d9c0 d9fe db3b db2b db3e d97310 d96310 d91f dd33 dd23 48ffc3 ebdf")
		r.R[RBX], r.R[RSI], r.R[RDI] = 0x5f80, rigCode+0x100, rigCode+0xffe
		run := r.Run
		if i == 1 {
			run = r.RunReference
		}
		for calls := 0; r.Count < 3000; calls++ {
			require.Less(t, calls, 3000)
			require.Equal(t, Running, r.Activity)
			run(3000)
		}
		r.materialize()
		assert.Equal(t, i == 0, r.stats.Steps < 3000, "%d steps", r.stats.Steps)
		end[i], ram[i] = r.Arch, append([]byte(nil), r.ram...)
	}
	end[0].R[isa.RegRIP], end[1].R[isa.RegRIP] = 0, 0
	assert.NotZero(t, end[0].FIP)
	assert.Equal(t, end[1], end[0])
	assert.Equal(t, ram[1], ram[0])
}

// TestX87Allocates: handlers are called through function values, and allocate
// nothing all the same.
func TestX87Allocates(t *testing.T) {
	r := x87Rig(t)
	q := x87Request{Code: [7]uint8{0xd8, 0xc1}, Len: 2} // fadd st0, st1
	assert.Zero(t, testing.AllocsPerRun(100, func() { q.run(r) }))
}
