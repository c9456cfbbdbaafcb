package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// What single instructions compute is compared with silicon in tests/insn. Here
// is what a process cannot try: control bits, modes, devices and page faults.

// one executes the instruction given in hex and tells the exception, or -1.
func (r *rig) one(code string) int {
	r.put(rigCode, code)
	r.RIP = rigCode
	r.Step()
	if v := (r.RIP - rigISR) / 16; r.RIP >= rigISR && v < 32 {
		return int(v)
	}
	return -1
}

// sseRig is a rig in 64-bit mode at level 3 with a page at linear 200000, of
// physical 50000, before one that is not present.
func sseRig(t *testing.T) *rig {
	r := newRig(t)
	r.model = r.model.With("aes pclmulqdq sha_ni bmi1 bmi2 adx")
	r.long(3)
	r.put64(rigPML4+0x2000+8, 0x60000|7)
	r.put64(0x60000, 0x50000|7)
	return r
}

// Every instruction of MMX, SSE to SSE4.2, AES, SHA and BMI is there.
func TestVectorInstructionsComplete(t *testing.T) {
	for row := 1; row < len(isa.Rows); row++ {
		r := &isa.Rows[row]
		if r.Attrs&isa.AttrAVX != 0 {
			continue
		}
		name := isa.Features[r.CPUID]
		switch name {
		case "bmi1", "bmi2", "adx":
		default:
			if r.Attrs&(isa.AttrMMX|isa.AttrSSE) == 0 {
				continue
			}
		}
		assert.NotNil(t, handlers[r.Op], "%s: %s", r.Text, r.Enc)
	}
}

// Control bits decide whether vector instructions exist [SDM 3A 2.5].
func TestVectorControl(t *testing.T) {
	const (
		xorps, paddb, pavgb, cvtpi2ps = "0f57c1", "0ffcc1", "0fe0c1", "0f2ac1"
		movnti, pcmpistri, crc        = "0fc306", "660f3a63c100", "f20f38f0c1"
	)
	for _, c := range []struct {
		code, name string
		cr0, cr4   uint64 // bits toggled
		fsw        uint16
		want       int
	}{
		{xorps, "plain", 0, 0, 0, -1},
		{paddb, "plain", 0, 0, 0, -1},
		{cvtpi2ps, "plain", 0, 0, 0, -1},
		{xorps, "EM", cr0EM, 0, 0, vecUD},
		{paddb, "EM", cr0EM, 0, 0, vecUD},
		{cvtpi2ps, "EM", cr0EM, 0, 0, vecUD},
		{xorps, "TS", cr0TS, 0, 0, vecNM},
		{paddb, "TS", cr0TS, 0, 0, vecNM},
		{pcmpistri, "TS", cr0TS, 0, 0, vecNM},
		{xorps, "EM TS", cr0EM | cr0TS, 0, 0, vecUD},
		{paddb, "EM TS", cr0EM | cr0TS, 0, 0, vecUD},
		{xorps, "no OSFXSR", 0, cr4OSFXSR, 0, vecUD},
		{cvtpi2ps, "no OSFXSR", 0, cr4OSFXSR, 0, vecUD},
		{xorps, "no OSFXSR, TS", cr0TS, cr4OSFXSR, 0, vecUD},
		{paddb, "no OSFXSR", 0, cr4OSFXSR, 0, -1},
		{pavgb, "no OSFXSR", 0, cr4OSFXSR, 0, -1},
		{xorps, "#MF pending", 0, 0, 0x81, -1},
		{paddb, "#MF pending", 0, 0, 0x81, vecMF},
		{cvtpi2ps, "#MF pending", 0, 0, 0x81, vecMF},
		{movnti, "EM TS no OSFXSR", cr0EM | cr0TS, cr4OSFXSR, 0, -1},
		{crc, "EM TS no OSFXSR", cr0EM | cr0TS, cr4OSFXSR, 0, -1},
	} {
		r := sseRig(t)
		r.R[RSI] = 0x200000
		r.CR0, r.CR4, r.FSW = r.CR0^c.cr0, r.CR4^c.cr4, c.fsw
		r.FCW = 0x37e // #IA unmasked
		assert.Equal(t, c.want, r.one(c.code), "%s with %s", c.code, c.name)
	}
}

// An unmasked exception is #XM, or #UD where the system knows none; its flag is
// set and the destination stays [SDM 1 11.5.2].
func TestUnmaskedSIMD(t *testing.T) {
	for _, c := range []struct {
		code        string
		mxcsr, flag uint32
	}{
		{"0f5ec1", 0x1f80 &^ (1 << 9), 1 << 2},    // DIVPS by zero
		{"f20f51c2", 0x1f80 &^ (1 << 7), 1},       // SQRTSD of -1
		{"0f5cd8", 0x1f80 &^ (1 << 12), 1 << 5},   // SUBPS, inexact
		{"f20f2dc3", 0x1f80 &^ (1 << 12), 1 << 5}, // CVTSD2SI
		{"0f2fc4", 0x1f80 &^ (1 << 7), 1},         // COMISS with a NaN
		{"660f3a40c3ff", 0x1f80 &^ (1 << 12), 32}, // DPPS
		{"f20f5ec1", 0x1f80 &^ (1 << 9), 1 << 2},  // DIVSD
		{"0f2dc3", 0x1f80 &^ (1 << 12), 1 << 5},   // CVTPS2PI
		{"660f3a08c300", 0x1f80 &^ (1 << 12), 32}, // ROUNDPS
		{"f30f5ac4", 0x1f80 &^ (1 << 7), 1},       // CVTSS2SD of a signalling NaN
		{"660fc2c401", 0x1f80 &^ (1 << 7), 1},     // CMPLTPD
		{"f20f7cc3", 0x1f80 &^ (1 << 12), 1 << 5}, // HADDPS
	} {
		for _, known := range []bool{true, false} {
			r := sseRig(t)
			r.V[0] = [4]uint64{0x3ff0000140400001, 0x3ff0000140400001, 3, 4}
			r.V[2] = [4]uint64{0xbff0000000000000, 0xbff0000000000000, 5, 6}
			r.V[3] = [4]uint64{0x3ff8000133800001, 0x3ff8000133800001, 7, 8}
			r.V[4] = [4]uint64{0x7ff000017fa00001, 0x7ff000017fa00001, 9, 10}
			r.MXCSR = c.mxcsr
			want := vecXM
			if !known {
				r.CR4 &^= cr4OSXMMEXCPT
				want = vecUD
			}
			before := r.Arch
			assert.Equal(t, want, r.one(c.code), c.code)
			assert.Equal(t, c.mxcsr|c.flag, r.MXCSR, c.code)
			assert.Equal(t, before.V, r.V, c.code)
			assert.Equal(t, before.R[RAX], r.R[RAX], c.code)
			for i := range r.ST {
				assert.Equal(t, before.ST[i], r.ST[i], c.code)
			}
		}
	}
}

// Sixteen bytes are written as a whole or not at all.
func TestVectorStoreIsWhole(t *testing.T) {
	for _, code := range []string{"0f1107", "660f1107", "f30f7f07", "660ff7d1" /* MASKMOVDQU */} {
		for _, blocks := range []bool{false, true} {
			r := sseRig(t)
			r.V[0] = [4]uint64{0x1111111111111111, 0x2222222222222222}
			r.V[1] = [4]uint64{^uint64(0), ^uint64(0)}
			r.V[2] = r.V[0]
			r.R[RDI] = 0x200ff4
			r.put64(0x50ff0, 5, 6)
			r.put(rigCode, code)
			r.RIP = rigCode
			if blocks {
				r.Run(r.Count + 1)
			} else {
				r.Step()
			}
			require.Equal(t, isr(vecPF), r.RIP, code)
			assert.Equal(t, uint64(0x201000), r.CR2, code)
			assert.Equal(t, []uint64{5, 6}, []uint64{r.get64(0x50ff0), r.get64(0x50ff8)}, code)
		}
	}
}

// Across two present pages loads and stores see both, by either engine.
func TestVectorAcrossPages(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		r := sseRig(t)
		r.put64(0x60008, 0x58000|7) // not the next physical page
		r.put64(0x50ff0, 0, 0x8877665544332211)
		r.put64(0x58000, 0x00ffeeddccbbaa99)
		r.R[RSI], r.R[RDI] = 0x200ff9, 0x200ffd
		r.put(rigCode, "0f1006 f30f7f07") // MOVUPS xmm0, [rsi]; MOVDQU [rdi], xmm0
		for i := 0; i < 2; i++ {
			if blocks {
				r.Run(r.Count + 1)
			} else {
				r.Step()
			}
		}
		require.Equal(t, uint64(rigCode+7), r.RIP)
		assert.Equal(t, [4]uint64{0x9988776655443322, 0x00ffeeddccbbaa}, r.V[0])
		assert.Equal(t, []uint64{0x4433225544332211, 0xccbbaa9988776655, 0xffeedd},
			[]uint64{r.get64(0x50ff8), r.get64(0x58000), r.get64(0x58008)})
	}
}

// Devices see two accesses of eight bytes, and only by the reference engine.
func TestVectorDevice(t *testing.T) {
	r := sseRig(t)
	r.put64(0x60000, 0xfe000000|7)
	r.bus.mmio[0xfe000000], r.bus.mmio[0xfe000008] = 7, 9
	r.R[RSI] = 0x200000
	require.Equal(t, -1, r.one("0f2806")) // MOVAPS xmm0, [rsi]
	assert.Equal(t, [4]uint64{7, 9}, r.V[0])
	require.Equal(t, -1, r.one("0f294610")) // MOVAPS [rsi+16], xmm0
	assert.Equal(t, []uint64{7, 9}, []uint64{r.bus.mmio[0xfe000010], r.bus.mmio[0xfe000018]})
}

// Alignment: #GP whatever EFLAGS.AC says, or #AC where it is asked for.
func TestVectorAlignment(t *testing.T) {
	for _, c := range []struct {
		code     string
		off      uint64
		plain    int
		checking int
	}{
		{"0f2806", 8, vecGP, vecGP}, {"660ffc06", 1, vecGP, vecGP}, {"0f2906", 4, vecGP, vecGP}, // MOVAPS, PADDB
		{"0f1006", 8, -1, vecAC}, {"0f1106", 1, -1, vecAC}, {"f20ff006", 8, -1, vecAC}, // MOVUPS, LDDQU
		{"660f3a630600", 4, -1, vecAC}, {"f20f1006", 4, -1, vecAC}, {"f30f1006", 4, -1, -1}, // PCMPISTRI, MOVSD, MOVSS
		{"0f2806", 16, -1, -1}, {"0f1006", 16, -1, -1}, {"660ff7d1", 8, -1, -1}, {"660ff7d1", 4, -1, vecAC}, // MASKMOVDQU
		{"0f38c906", 4, -1, vecAC}, // SHA1MSG1, as on AMD's
	} {
		for _, check := range []bool{false, true} {
			r := sseRig(t)
			r.R[RSI], r.R[RDI] = 0x200000+c.off, 0x200000+c.off
			want := c.plain
			if check {
				r.CR0 |= cr0AM
				r.RFLAGS |= flagAC
				want = c.checking
			}
			assert.Equal(t, want, r.one(c.code), "%s at %d, checking %v", c.code, c.off, check)
		}
	}
}

// VEX-encoded instructions on general registers need protected mode; the others
// do not, and MMX and SSE work in real mode.
func TestVectorRealMode(t *testing.T) {
	r := newRig(t)
	r.model = r.model.With("bmi1 adx")
	r.real()
	r.CR4 |= cr4OSFXSR
	assert.Equal(t, -1, r.one("660fefc1")) // PXOR
	assert.Equal(t, -1, r.one("0ffcc1"))   // PADDB
	assert.Equal(t, -1, r.one("660f38f6c1"))
	sp := r.R[RSP]
	r.put(rigCode, "c4e278f2c1") // ANDN
	r.RIP = rigCode
	r.Step()
	assert.Equal(t, isr(vecUD), r.RIP)
	assert.Equal(t, sp-6, r.R[RSP])
}

// Segment limits hold for all sixteen bytes.
func TestVectorLimit(t *testing.T) {
	for _, c := range []struct {
		limit uint32
		want  int
	}{{0x5000f, -1}, {0x5000e, vecGP}, {0x50007, vecGP}} {
		r := newRig(t)
		r.protected32(0)
		r.CR4 |= cr4OSFXSR
		r.Seg[isa.DS].Limit = c.limit
		r.R[RSI] = 0x50000
		assert.Equal(t, c.want, r.one("0f2806"), fmt.Sprintf("%#x", c.limit))
	}
}

// MMX instructions take the x87 registers over, EMMS gives them back.
func TestMMXAlias(t *testing.T) {
	r := sseRig(t)
	r.FSW, r.FTW = 5<<11|0x4100, 0x81
	r.ST[1] = F80{Mant: 5, SE: 0x1234}
	r.ST[2] = F80{Mant: 7, SE: 0x4321}
	require.Equal(t, -1, r.one("0ffed1")) // PADDD mm2, mm1
	assert.Equal(t, F80{Mant: 12, SE: 0xffff}, r.ST[2])
	assert.Equal(t, F80{Mant: 5, SE: 0x1234}, r.ST[1], "a source stays")
	assert.Equal(t, uint16(0x4100), r.FSW)
	assert.Equal(t, uint8(0xff), r.FTW)
	require.Equal(t, -1, r.one("0f77"))
	assert.Equal(t, uint8(0), r.FTW)
}

// Handlers do not allocate.
func TestVectorAllocations(t *testing.T) {
	for _, code := range []string{
		"660ffcc1", "0f58c1", "f20f5ec1", "0ffcc1", "0f63c1", "660f3800c1", "660f3a63c10c", "660f38dcc1",
		"660f2ac1", "0f2dc1", "f20f2ac0", "660f3a0fc105", "0f38c8c1", "f20f38f1c0", "c4e2f8f2c1", "660f3a40c1ff", "0f2806", "0f2906",
	} {
		r := sseRig(t)
		r.MXCSR = 0x1fa0
		r.R[RSI] = 0x200000
		require.Equal(t, -1, r.one(code), code)
		assert.Zero(t, testing.AllocsPerRun(20, func() { r.RIP = rigCode; r.Step() }), code)
	}
}
