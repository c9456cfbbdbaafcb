// oracle computes floating-point operations with this host's own SSE and x87
// units, as the reference for package fp. It reads struct request from stdin
// and writes struct answer to stdout, until end of file.
//
// Build: cc -O1 -mavx -mfma -mf16c -o oracle oracle.c
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

struct request { // 56 bytes
	uint16_t op, ctl, imm, pad; // ctl: MXCSR or FCW
	uint64_t a[2], b[2], c[2];
};

struct answer { // 40 bytes
	uint64_t r0[2], r1[2];
	uint32_t flags; // MXCSR, or FSW, after the operation
	uint32_t eflags;
};

static struct request q;
static struct answer r;
static sigjmp_buf trap;
static volatile uint32_t trapped;

static void on_sigfpe(int sig, siginfo_t *info, void *ctx)
{
	trapped = ((ucontext_t *)ctx)->uc_mcontext.fpregs->mxcsr;
	siglongjmp(trap, 1);
}

#define BEGIN "ldmxcsr %[mx]\n"
#define END "stmxcsr %[fl]\n"
#define CTX [mx] "m"(mxcsr)

// Two-operand form: dst = dst op src.
#define BIN(n, insn) \
	case n: \
		asm volatile("movups %[a], %%xmm0\nmovups %[b], %%xmm1\n" BEGIN insn " %%xmm1, %%xmm0\n" END \
			     "movups %%xmm0, %[r]\n" \
			     : [r] "=m"(r.r0), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), [b] "m"(q.b), CTX \
			     : "xmm0", "xmm1"); \
		break;

// One-operand form: xmm0 = op xmm1.
#define UN(n, insn) \
	case n: \
		asm volatile("movups %[a], %%xmm1\nxorps %%xmm0, %%xmm0\n" BEGIN insn " %%xmm1, %%xmm0\n" END \
			     "movups %%xmm0, %[r]\n" \
			     : [r] "=m"(r.r0), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), CTX \
			     : "xmm0", "xmm1"); \
		break;

// xmm0 = a, xmm1 = b, xmm2 = c; the result is in xmm0.
#define TRI(n, insn) \
	case n: \
		asm volatile("movups %[a], %%xmm0\nmovups %[b], %%xmm1\nmovups %[c], %%xmm2\n" BEGIN insn \
			     "\n" END "movups %%xmm0, %[r]\n" \
			     : [r] "=m"(r.r0), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), [b] "m"(q.b), [c] "m"(q.c), CTX \
			     : "xmm0", "xmm1", "xmm2"); \
		break;

#define TOINT(n, insn, reg) \
	case n: \
		asm volatile("movups %[a], %%xmm1\n" BEGIN insn " %%xmm1, %%" reg "\n" END \
			     : "=a"(r.r0[0]), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), CTX \
			     : "xmm1"); \
		break;

#define FROMINT(n, insn) \
	case n: \
		asm volatile("xorps %%xmm0, %%xmm0\n" BEGIN insn " %[a], %%xmm0\n" END "movups %%xmm0, %[r]\n" \
			     : [r] "=m"(r.r0), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), CTX \
			     : "xmm0"); \
		break;

#define COMI(n, insn) \
	case n: \
		asm volatile("movups %[a], %%xmm0\nmovups %[b], %%xmm1\n" BEGIN insn " %%xmm1, %%xmm0\n" \
			     "pushfq\npopq %%rax\n" END \
			     : "=a"(r.eflags), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), [b] "m"(q.b), CTX \
			     : "xmm0", "xmm1", "cc"); \
		break;

#define IMM(i, insn) \
	case i: \
		asm volatile("movups %[a], %%xmm0\nmovups %[b], %%xmm1\n" BEGIN insn "\n" END \
			     "movups %%xmm0, %[r]\n" \
			     : [r] "=m"(r.r0), [fl] "=m"(r.flags) \
			     : [a] "m"(q.a), [b] "m"(q.b), CTX \
			     : "xmm0", "xmm1"); \
		break;
#define IMM8(m, i) m(i) m(i + 1) m(i + 2) m(i + 3) m(i + 4) m(i + 5) m(i + 6) m(i + 7)
#define STR_(x) #x
#define STR(x) STR_(x)
#define CMPS(i) IMM(i, "vcmpss $" STR(i) ", %%xmm1, %%xmm0, %%xmm0")
#define CMPD(i) IMM(i, "vcmpsd $" STR(i) ", %%xmm1, %%xmm0, %%xmm0")
#define RNDS(i) IMM(i, "roundss $" STR(i) ", %%xmm0, %%xmm0")
#define RNDD(i) IMM(i, "roundsd $" STR(i) ", %%xmm0, %%xmm0")
#define CVPH(i) IMM(i, "vcvtps2ph $" STR(i) ", %%xmm0, %%xmm0")

static void immediate(uint32_t mxcsr)
{
	switch (q.op) {
	case 40:
		switch (q.imm) { IMM8(CMPS, 0) IMM8(CMPS, 8) IMM8(CMPS, 16) IMM8(CMPS, 24) }
		break;
	case 41:
		switch (q.imm) { IMM8(CMPD, 0) IMM8(CMPD, 8) IMM8(CMPD, 16) IMM8(CMPD, 24) }
		break;
	case 42:
		switch (q.imm) { IMM8(RNDS, 0) IMM8(RNDS, 8) }
		break;
	case 43:
		switch (q.imm) { IMM8(RNDD, 0) IMM8(RNDD, 8) }
		break;
	case 44:
		switch (q.imm) { IMM8(CVPH, 0) }
		break;
	}
}

static void sse(void)
{
	uint32_t mxcsr = q.ctl, usual = 0x1f80;
	if (sigsetjmp(trap, 0)) {
		asm volatile("ldmxcsr %0" : : "m"(usual));
		r.flags = trapped;
		return;
	}
	switch (q.op) {
		BIN(0, "addss") BIN(1, "subss") BIN(2, "mulss") BIN(3, "divss") UN(4, "sqrtss")
		BIN(5, "minss") BIN(6, "maxss")
		BIN(10, "addsd") BIN(11, "subsd") BIN(12, "mulsd") BIN(13, "divsd") UN(14, "sqrtsd")
		BIN(15, "minsd") BIN(16, "maxsd")
		UN(20, "cvtss2sd") UN(21, "cvtsd2ss")
		FROMINT(22, "cvtsi2ssl") FROMINT(23, "cvtsi2ssq") FROMINT(24, "cvtsi2sdl") FROMINT(25, "cvtsi2sdq")
		TOINT(26, "cvtss2si", "eax") TOINT(27, "cvtss2si", "rax") TOINT(28, "cvtsd2si", "eax")
		TOINT(29, "cvtsd2si", "rax") TOINT(30, "cvttss2si", "eax") TOINT(31, "cvttss2si", "rax")
		TOINT(32, "cvttsd2si", "eax") TOINT(33, "cvttsd2si", "rax")
		COMI(34, "comiss") COMI(35, "ucomiss") COMI(36, "comisd") COMI(37, "ucomisd")
		UN(45, "vcvtph2ps")
		TRI(50, "vfmadd213ss %%xmm2, %%xmm1, %%xmm0") TRI(51, "vfmadd213sd %%xmm2, %%xmm1, %%xmm0")
		TRI(52, "vfmadd132sd %%xmm1, %%xmm2, %%xmm0") TRI(53, "vfmadd231sd %%xmm2, %%xmm1, %%xmm0")
		TRI(54, "vfnmsub213sd %%xmm2, %%xmm1, %%xmm0")
		BIN(55, "addps") BIN(56, "divps") BIN(57, "mulps")
		UN(58, "rcpss") UN(59, "rsqrtss")
	default:
		immediate(mxcsr);
	}
	asm volatile("ldmxcsr %0" : : "m"(usual));
}

// x87: ST0 = a, ST1 = b, then the operation. No instruction between it and
// FNCLEX waits, so unmasked exceptions do not trap.
#define X87(n, insn) \
	case n: \
		asm volatile("fninit\nfldt %[b]\nfldt %[a]\nfldcw %[cw]\n" insn "\n" \
			     "fnstsw %[sw]\nfnclex\nfldcw %[usual]\nfstpt %[r0]\nfstpt %[r1]\nfninit\n" \
			     : [sw] "=m"(sw), [m] "+m"(q.c), [r0] "=m"(r.r0), [r1] "=m"(r.r1) \
			     : [a] "m"(q.a), [b] "m"(q.b), [cw] "m"(cw), [usual] "m"(usual) \
			     : "cc"); \
		break;
#define X87F(n, insn) \
	case n: \
		asm volatile("fninit\nfldt %[b]\nfldt %[a]\nfldcw %[cw]\n" insn "\n" \
			     "pushfq\npopq %%rax\nfnstsw %[sw]\nfnclex\nfninit\n" \
			     : "=a"(r.eflags), [sw] "=m"(sw) \
			     : [a] "m"(q.a), [b] "m"(q.b), [cw] "m"(cw) \
			     : "cc"); \
		break;

static void x87(void)
{
	uint16_t sw = 0, cw = q.ctl, usual = 0x37f;
	memset(&r, 0, sizeof r);
	switch (q.op) {
		X87(100, "fadd %%st(1), %%st") X87(101, "fsub %%st(1), %%st") X87(102, "fmul %%st(1), %%st")
		X87(103, "fdiv %%st(1), %%st") X87(104, "fsqrt") X87(105, "fprem") X87(106, "fprem1")
		X87(107, "fscale") X87(108, "fxtract") X87(109, "frndint") X87(110, "fcom %%st(1)")
		X87(111, "fucom %%st(1)") X87(112, "ftst") X87(113, "fxam")
		X87F(114, "fcomi %%st(1), %%st") X87F(115, "fucomi %%st(1), %%st")
		X87(116, "fsubr %%st(1), %%st") X87(117, "fdivr %%st(1), %%st")
		// memory operands are in c
		X87(120, "flds %[m]") X87(121, "fldl %[m]") X87(122, "filds %[m]") X87(123, "fildl %[m]")
		X87(124, "fildll %[m]") X87(125, "fbld %[m]")
		X87(126, "fadds %[m]") X87(127, "faddl %[m]") X87(128, "fiadds %[m]") X87(129, "fiaddl %[m]")
		X87(130, "fcoms %[m]") X87(131, "fcoml %[m]") X87(132, "fmuls %[m]") X87(133, "fdivrs %[m]")
		X87(134, "fdivl %[m]") X87(135, "fsubrl %[m]")
		X87(140, "fsts %[m]") X87(141, "fstl %[m]") X87(142, "fists %[m]") X87(143, "fistl %[m]")
		X87(144, "fistpll %[m]") X87(145, "fbstp %[m]") X87(146, "fisttps %[m]") X87(147, "fisttpl %[m]")
		X87(148, "fisttpll %[m]")
		X87(150, "fld1") X87(151, "fldl2t") X87(152, "fldl2e") X87(153, "fldpi") X87(154, "fldlg2")
		X87(155, "fldln2") X87(156, "fldz")
		X87(160, "f2xm1") X87(161, "fyl2x") X87(162, "fyl2xp1") X87(163, "fptan") X87(164, "fpatan")
		X87(165, "fsin") X87(166, "fcos") X87(167, "fsincos")
	}
	if (q.op >= 140 && q.op < 150) { // stores: the answer is the memory
		memcpy(r.r0, q.c, 16);
	}
	r.flags = sw;
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGFPE, &act, NULL);
	static char in[1 << 16], out[1 << 16];
	setvbuf(stdin, in, _IOFBF, sizeof in);
	setvbuf(stdout, out, _IOFBF, sizeof out);
	while (fread(&q, sizeof q, 1, stdin) == 1) {
		memset(&r, 0, sizeof r);
		if (q.op < 100)
			sse();
		else
			x87();
		if (fwrite(&r, sizeof r, 1, stdout) != 1)
			return 1;
	}
	return 0;
}
