/* selftest_misc.c: conditions, exchanges, extensions, addressing, stack, calls. */
#include "selftest.h"

typedef u64 (*cond_fn)(u64 fl);

/* Bit 0: SETcc said yes, bit 1: CMOVcc moved, bit 2: Jcc jumped. */
#define COND(cc)                                                                                   \
	static u64 cond_##cc(u64 fl)                                                                   \
	{                                                                                              \
		u64 s = 0, m = 0, j = 4, two = 2;                                                          \
		asm volatile("pushq %[f]; popfq; set" #cc " %b[s]; cmov" #cc " %[two], %[m];"              \
		             "j" #cc " 1f; movl $0, %k[j]; 1:"                                             \
		             : [s] "+r"(s), [m] "+r"(m), [j] "+r"(j)                                       \
		             : [f] "r"(fl), [two] "r"(two)                                                 \
		             : "cc", "memory");                                                            \
		return s | m | j;                                                                          \
	}
COND(o) COND(no) COND(b) COND(ae) COND(e) COND(ne) COND(be) COND(a)
COND(s) COND(ns) COND(p) COND(np) COND(l) COND(ge) COND(le) COND(g)

static const cond_fn conds[16] = {
	cond_o, cond_no, cond_b, cond_ae, cond_e, cond_ne, cond_be, cond_a,
	cond_s, cond_ns, cond_p, cond_np, cond_l, cond_ge, cond_le, cond_g,
};

/* holds evaluates condition code cc as [SDM 1 B.1] lists them. */
static bool holds(int cc, u64 fl)
{
	bool c = fl & FL_CF, z = fl & FL_ZF, s = fl & FL_SF, o = fl & FL_OF, p = fl & FL_PF;
	const bool even[8] = { o, c, z, c || z, s, p, s != o, z || s != o };
	return even[cc / 2] != (cc & 1);
}

static void check_conditions(void)
{
	static const u64 flags[5] = { FL_CF, FL_ZF, FL_SF, FL_OF, FL_PF };
	for (int i = 0; i < 32; i++) {
		u64 fl = FL_BASE;
		for (int b = 0; b < 5; b++)
			fl |= i >> b & 1 ? flags[b] : 0;
		for (int cc = 0; cc < 16; cc++)
			expect("condition", conds[cc](fl), holds(cc, fl) ? 7 : 0);
	}
}

static void check_exchange(u64 a, u64 b)
{
	u64 m = a, r = b, x = ~b, old = ~a, h = a;
	bool equal;
	asm volatile("lock xaddq %1, %0" : "+m"(m), "+r"(r) : : "cc", "memory");
	expect("xadd sum", m, a + b);
	expect("xadd old", r, a);
	asm volatile("xchgq %1, %0" : "+m"(m), "+r"(x) : : "memory");
	expect("xchg stores", m, ~b);
	expect("xchg loads", x, a + b);
	m = a;
	asm volatile("lock cmpxchgq %3, %1" : "+a"(old), "+m"(m), "=@ccz"(equal) : "r"(b) : "memory");
	expect("cmpxchg other", equal, 0);
	expect("cmpxchg loads", old, a);
	asm volatile("lock cmpxchgq %3, %1" : "+a"(old), "+m"(m), "=@ccz"(equal) : "r"(b) : "memory");
	expect("cmpxchg same", equal, 1);
	expect("cmpxchg stores", m, b);
	asm("movb %%bl, %%ah; xchgb %%ah, %%al" : "+a"(h) : "b"(b));
	expect("high byte", h, merge(a, (a & 0xff) << 8 | (b & 0xff), 16));
}

/* check_wide_exchange covers CMPXCHG8B, failing and succeeding. */
static void check_wide_exchange(void)
{
	u64 m = 0x1111111122222222;
	u32 lo = 0, hi = 0;
	bool equal;
	asm volatile("lock cmpxchg8b %1" : "=@ccz"(equal), "+m"(m), "+a"(lo), "+d"(hi)
	             : "b"(3), "c"(4) : "memory");
	expect("cmpxchg8b other", equal | (u64)hi << 32, 0x1111111100000000);
	expect("cmpxchg8b loads", lo, 0x22222222);
	asm volatile("lock cmpxchg8b %1" : "=@ccz"(equal), "+m"(m), "+a"(lo), "+d"(hi)
	             : "b"(3), "c"(4) : "memory");
	expect("cmpxchg8b same", equal, 1);
	expect("cmpxchg8b stores", m, 0x400000003);
}

static u64 extend(u64 v, int from, int to)
{
	u64 r = v & mask_of(from);
	if (r >> (from - 1))
		r |= mask_of(to) & ~mask_of(from);
	return r;
}

static void check_extension(u64 a)
{
	u64 r;
	asm("movsbw %b1, %w0" : "=r"(r) : "r"(a), "0"(0l));
	expect("movsbw", r, extend(a, 8, 16));
	asm("movsbl %b1, %k0" : "=r"(r) : "r"(a));
	expect("movsbl", r, extend(a, 8, 32));
	asm("movsbq %b1, %0" : "=r"(r) : "r"(a));
	expect("movsbq", r, extend(a, 8, 64));
	asm("movswl %w1, %k0" : "=r"(r) : "r"(a));
	expect("movswl", r, extend(a, 16, 32));
	asm("movswq %w1, %0" : "=r"(r) : "r"(a));
	expect("movswq", r, extend(a, 16, 64));
	asm("movslq %k1, %0" : "=r"(r) : "r"(a));
	expect("movslq", r, extend(a, 32, 64));
	asm("movzbl %b1, %k0" : "=r"(r) : "r"(a));
	expect("movzbl", r, a & 0xff);
	asm("movzwl %w1, %k0" : "=r"(r) : "r"(a));
	expect("movzwl", r, a & 0xffff);
	asm("movzbl %h1, %k0" : "=Q"(r) : "Q"(a));
	expect("movzbl high", r, a >> 8 & 0xff);
	asm("movl %k1, %k0" : "=r"(r) : "r"(a), "0"(~0ul));
	expect("movl clears", r, a & 0xffffffff);
	asm("movb %b1, %b0" : "=r"(r) : "r"(a), "0"(0x1234567890l));
	expect("movb keeps", r, merge(0x1234567890, a, 8));
	asm("movw %w1, %w0" : "=r"(r) : "r"(a), "0"(0x1234567890l));
	expect("movw keeps", r, merge(0x1234567890, a, 16));
	asm("cbtw" : "=a"(r) : "0"(a));
	expect("cbw", r, merge(a, extend(a, 8, 16), 16));
	asm("cwtl" : "=a"(r) : "0"(a));
	expect("cwde", r, extend(a, 16, 32));
	asm("cltq" : "=a"(r) : "0"(a));
	expect("cdqe", r, extend(a, 32, 64));
	asm("cwtd" : "=d"(r) : "a"(a), "0"(~a));
	expect("cwd", r, merge(~a, extend(a >> 15 & 1, 1, 16), 16));
	asm("cltd" : "=d"(r) : "a"(a));
	expect("cdq", r, extend(a >> 31 & 1, 1, 32));
	asm("cqto" : "=d"(r) : "a"(a));
	expect("cqo", r, extend(a >> 63, 1, 64));
}

static void check_addressing(u64 a, u64 b)
{
	static const u64 table[4] = { 11, 22, 33, 44 };
	u64 r, i = 2;
	u8 al = 1;
	asm("leaq 0x12345678(%1, %2, 8), %0" : "=r"(r) : "r"(a), "r"(b));
	expect("lea", r, a + (b << 3) + 0x12345678);
	asm("leal -1(%1, %2, 2), %k0" : "=r"(r) : "r"(a), "r"(b));
	expect("lea 32", r, (a + 2 * b - 1) & 0xffffffff);
	asm("leaq -128(,%1,4), %0" : "=r"(r) : "r"(a));
	expect("lea no base", r, 4 * a - 128);
	asm("leal 4(%k1), %k0" : "=r"(r) : "r"(a));
	expect("lea addr32", r, (a + 4) & 0xffffffff);
	asm("movq 8(%1, %2, 8), %0" : "=r"(r) : "r"(table), "r"(i - 1), "m"(table));
	expect("base index", r, 33);
	asm("movq -8(%k1, %k2, 8), %0" : "=r"(r) : "r"(table), "r"(i), "m"(table));
	expect("addr32 base index", r, 22);
	asm("xlatb" : "+a"(al) : "b"((const u8 *)table + 7), "m"(table));
	expect("xlat", al, 22);
	asm("movabsq $0x8877665544332211, %0" : "=r"(r));
	expect("movabs", r, 0x8877665544332211);
}

/* has_lahf: early 64-bit processors lack LAHF and SAHF in 64-bit mode. */
static bool has_lahf(void)
{
	u32 r[4];
	cpuid(0x80000001, r);
	return r[2] & 1;
}

static void check_flags_moves(void)
{
	u64 fl, ah;
	if (has_lahf()) {
		asm volatile("movb $0xd5, %%ah; sahf; lahf; pushfq; popq %1"
		             : "=a"(ah), "=r"(fl) : "0"(0l) : "cc", "memory");
		expect("lahf", ah >> 8, 0xd7);
		expect("sahf", fl & 0xff, 0xd7);
	}
	asm volatile("stc; cmc; pushfq; popq %0" : "=r"(fl) : : "cc", "memory");
	expect("cmc", fl & FL_CF, 0);
	asm volatile("clc; cmc; pushfq; popq %0" : "=r"(fl) : : "cc", "memory");
	expect("stc", fl & FL_CF, FL_CF);
	asm volatile("std; pushfq; popq %0; cld" : "=r"(fl) : : "cc", "memory");
	expect("std", fl & FL_DF, FL_DF);
	asm volatile("cli; pushfq; popq %0; sti" : "=r"(fl) : : "cc", "memory");
	expect("cli", fl & FL_IF, 0);
}

static void check_stack(void)
{
	u64 r, s, d;
	asm volatile("pushq $-5; popq %0; pushw $0x1234; popw %w1" : "=r"(r), "=r"(s) : "1"(0l) : "memory");
	expect("push imm8", r, -5ul);
	expect("push 16", s, 0x1234);
	asm volatile("movq %%rsp, %0; pushq %%rsp; popq %1" : "=&r"(r), "=r"(s) : : "memory");
	expect("push rsp", s, r);
	asm volatile("movq %%rsp, %0; enterq $32, $0; movq %%rsp, %1; leaveq; movq %%rsp, %2"
	             : "=&r"(r), "=&r"(s), "=&r"(d) : : "memory");
	expect("enter", r - s, 40);
	expect("leave", d, r);
}

static void check_calls(void)
{
	u64 r = 0, s;
	asm volatile("call 1f; jmp 2f; 1: addl $1, %k0; ret; 2:" : "+r"(r) : : "cc", "memory");
	expect("call", r, 1);
	asm volatile("leaq 1f(%%rip), %%rax; pushq $9; call *%%rax; jmp 2f; 1: addl $2, %k0; ret $8; 2:"
	             : "+r"(r) : : "rax", "cc", "memory");
	expect("call indirect, ret imm", r, 3);
	asm volatile("movl $10, %%ecx; xorl %k0, %k0; 1: addq %%rcx, %0; loop 1b" : "=r"(r) : : "rcx", "cc");
	expect("loop", r, 55);
	asm volatile("xorl %%ecx, %%ecx; movl $1, %k0; jrcxz 1f; movl $2, %k0; 1:" : "=r"(r) : : "rcx");
	expect("jrcxz", r, 1);
	asm volatile("movl $5, %%ecx; xorl %k0, %k0; 1: incl %k0; cmpl $3, %k0; loopne 1b; movq %%rcx, %1"
	             : "=&r"(r), "=r"(s) : : "rcx", "cc");
	expect("loopne", r * 10 + s, 32);
}

void selftest_misc(void)
{
	check_conditions();
	check_wide_exchange();
	check_flags_moves();
	check_stack();
	check_calls();
	for (int a = 0; a < SAMPLES; a++) {
		check_extension(samples[a]);
		for (int b = 0; b < SAMPLES; b++) {
			check_addressing(samples[a], samples[b]);
			check_exchange(samples[a], samples[b]);
		}
	}
}
