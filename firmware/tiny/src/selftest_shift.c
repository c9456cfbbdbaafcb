/* selftest_shift.c: shifts and rotates by CL, by one and in pairs, and the bit
 * instructions. */
#include "selftest.h"

typedef struct res (*shift_fn)(u64 a, u64 n, u64 fl);
typedef struct res (*pair_fn)(u64 a, u64 b, u64 n, u64 fl);

#define SHIFT(op, w)                                                                               \
	static struct res op##_##w(u64 a, u64 n, u64 fl)                                               \
	{                                                                                              \
		asm volatile("pushq %[f]; popfq; " #op " %%cl, %" #w "[a]; pushfq; popq %[f]"              \
		             : [a] "+r"(a), [f] "+r"(fl)                                                   \
		             : "c"(n)                                                                      \
		             : "cc", "memory");                                                            \
		return (struct res){ a, fl };                                                              \
	}
#define PAIR(op, w)                                                                                \
	static struct res op##_##w(u64 a, u64 b, u64 n, u64 fl)                                        \
	{                                                                                              \
		asm volatile("pushq %[f]; popfq; " #op " %%cl, %" #w "[b], %" #w "[a]; pushfq; popq %[f]"  \
		             : [a] "+r"(a), [f] "+r"(fl)                                                   \
		             : "c"(n), [b] "r"(b)                                                          \
		             : "cc", "memory");                                                            \
		return (struct res){ a, fl };                                                              \
	}
#define WIDE(op) SHIFT(op, b) SHIFT(op, w) SHIFT(op, k) SHIFT(op, q)
#define ROW(op) { op##_b, op##_w, op##_k, op##_q }

WIDE(shl) WIDE(shr) WIDE(sar) WIDE(rol) WIDE(ror) WIDE(rcl) WIDE(rcr)
PAIR(shld, w) PAIR(shld, k) PAIR(shld, q) PAIR(shrd, w) PAIR(shrd, k) PAIR(shrd, q)

enum kind { SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD };

static const struct {
	const char *name;
	shift_fn fn[WIDTHS];
} shifts[] = {
	{ "shl", ROW(shl) }, { "shr", ROW(shr) }, { "sar", ROW(sar) }, { "rol", ROW(rol) },
	{ "ror", ROW(ror) }, { "rcl", ROW(rcl) }, { "rcr", ROW(rcr) },
};

static const u8 counts[] = { 0, 1, 2, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255 };

/* step moves a by one place, b supplying the bits of SHLD and SHRD. */
static void step(int kind, u64 *a, u64 *b, u64 *cf, int bits)
{
	u64 top = *a >> (bits - 1) & 1, low = *a & 1, in;
	switch (kind) {
	case SHL: case ROL: case RCL: case SHLD:
		in = kind == ROL ? top : kind == RCL ? *cf : kind == SHLD ? *b >> (bits - 1) & 1 : 0;
		*a = (*a * 2 + in) & mask_of(bits);
		*b *= 2;
		*cf = top;
		return;
	default:
		in = kind == SAR ? top : kind == ROR ? low : kind == RCR ? *cf : kind == SHRD ? *b & 1 : 0;
		*a = *a / 2 | in << (bits - 1);
		*b /= 2;
		*cf = low;
	}
}

/* model shifts place by place. The count is taken modulo 64 for 64-bit operands,
 * else modulo 32; a count of 0 changes no flag [SDM 2 SAL], and OF is defined
 * for counts of 1 only. */
static struct res model(int kind, u64 a, u64 b, u64 n, u64 fl, int bits)
{
	u64 v = a & mask_of(bits), cf = fl & FL_CF, before = 0;
	bool rotate = kind >= ROL && kind <= RCR;
	n &= bits == 64 ? 63 : 31;
	for (u64 i = 0; i < n; i++) {
		before = v;
		step(kind, &v, &b, &cf, bits);
	}
	struct res r = { merge(a, v, bits), fl };
	if (n == 0)
		return r;
	r.fl = rotate ? fl & ~(FL_CF | FL_OF) : result_flags(v, bits);
	r.fl |= cf;
	if ((before ^ v) >> (bits - 1) & 1)
		r.fl |= FL_OF; /* for a count of 1 OF says that the sign changed */
	return r;
}

/* undefined_flags lists what [SDM 2] leaves open for this count. */
static u64 undefined_flags(int kind, u64 n, int bits)
{
	bool rotate = kind >= ROL && kind <= RCR;
	n &= bits == 64 ? 63 : 31;
	u64 u = 0;
	if (n != 0 && !rotate)
		u |= FL_AF;
	if (n > 1)
		u |= FL_OF;
	if (n >= (u64)bits && (kind == SHL || kind == SHR))
		u |= FL_CF;
	return u;
}

static void check_shift(int kind, u64 a, u64 n, u64 fl)
{
	for (int w = 0; w < WIDTHS; w++) {
		int bits = 8 << w;
		struct res have = shifts[kind].fn[w](a, n, fl);
		struct res want = model(kind, a, 0, n, fl, bits);
		expect_res(shifts[kind].name, bits, have, want, undefined_flags(kind, n, bits));
	}
}

static void check_pairs(u64 a, u64 b, u64 n, u64 fl)
{
	static const pair_fn left[] = { shld_w, shld_k, shld_q }, right[] = { shrd_w, shrd_k, shrd_q };
	for (int w = 0; w < 3; w++) {
		int bits = 16 << w;
		if (bits == 16 && (n & 31) > 16)
			continue; /* the result is undefined [SDM 2 SHLD] */
		expect_res("shld", bits, left[w](a, b, n, fl), model(SHLD, a, b & mask_of(bits), n, fl, bits),
		           undefined_flags(SHLD, n, bits));
		expect_res("shrd", bits, right[w](a, b, n, fl), model(SHRD, a, b & mask_of(bits), n, fl, bits),
		           undefined_flags(SHRD, n, bits));
	}
}

/* check_by_one covers the encodings with an implied count and an immediate. */
static void check_by_one(u64 a)
{
	u64 x = a, y = a, z = a;
	asm("shlq %0; sarq %1; rorl $7, %k2" : "+r"(x), "+r"(y), "+r"(z) : : "cc");
	expect("shl by one", x, model(SHL, a, 0, 1, 0, 64).v);
	expect("sar by one", y, model(SAR, a, 0, 1, 0, 64).v);
	expect("ror by seven", z, model(ROR, a, 0, 7, 0, 32).v);
}

static int lowest(u64 a, int from, int by)
{
	for (; from >= 0 && from < 64; from += by)
		if (a >> from & 1)
			break;
	return from;
}

static void check_scan(u64 a)
{
	u64 f = 0, r = 0, swapped = a, want = 0, narrow = a;
	bool fz, rz;
	asm("bsfq %2, %0" : "=r"(f), "=@ccz"(fz) : "r"(a));
	asm("bsrq %2, %0" : "=r"(r), "=@ccz"(rz) : "r"(a));
	expect("bsf zf", fz, a == 0);
	expect("bsr zf", rz, a == 0);
	if (a) {
		expect("bsf", f, (u64)lowest(a, 0, 1));
		expect("bsr", r, (u64)lowest(a, 63, -1));
	}
	for (int i = 0; i < 8; i++)
		want |= (a >> 8 * i & 0xff) << (56 - 8 * i);
	asm("bswapq %0" : "+r"(swapped));
	asm("bswapl %k0" : "+r"(narrow));
	expect("bswap 64", swapped, want);
	expect("bswap 32", narrow, want >> 32);
}

/* check_bit covers BT, BTS, BTR, BTC on a register (the offset wraps) and on
 * memory (the offset reaches beyond the operand, also backwards). */
static void check_bit(u64 a, u64 n)
{
	u64 bit = 1ul << (n & 63), old = (a & bit) != 0, s = a, r = a, c = a;
	bool b0, b1, b2, b3;
	asm("btq %2, %1" : "=@ccc"(b0) : "r"(a), "r"(n));
	asm("btsq %2, %0" : "+r"(s), "=@ccc"(b1) : "r"(n));
	asm("btrq %2, %0" : "+r"(r), "=@ccc"(b2) : "r"(n));
	asm("btcq %2, %0" : "+r"(c), "=@ccc"(b3) : "r"(n));
	expect("bt cf", (u64)(b0 + b1 + b2 + b3), old * 4);
	expect("bts", s, a | bit);
	expect("btr", r, a & ~bit);
	expect("btc", c, a ^ bit);
}

static void check_bit_string(void)
{
	u64 m[4] = { 0, 0, 0, 0 };
	asm volatile("lock btsq %1, %0" : "+m"(m[1]) : "r"(130l) : "memory", "cc");
	asm volatile("lock btsq %1, %0" : "+m"(m[1]) : "r"(-1l) : "memory", "cc");
	asm volatile("btsw %w1, %0" : "+m"(m[1]) : "r"(17l) : "memory", "cc");
	asm volatile("btsl $33, %0" : "+m"(m[2]) : : "memory", "cc");
	expect("bts memory -1", m[0], 1ul << 63);
	expect("bts memory 17", m[1], 1ul << 17);
	expect("bts memory imm", m[2], 2);
	expect("bts memory 130", m[3], 4);
}

void selftest_shift(void)
{
	for (int a = 0; a < SAMPLES; a++) {
		check_by_one(samples[a]);
		check_scan(samples[a]);
		for (int c = 0; c < (int)ARRAY_LEN(counts); c++) {
			for (int k = 0; k < (int)ARRAY_LEN(shifts); k++) {
				check_shift(k, samples[a], counts[c], FL_BASE);
				check_shift(k, samples[a], counts[c], FL_BASE | FL_ALL);
			}
			check_pairs(samples[a], samples[(a + 3) % SAMPLES], counts[c], FL_BASE);
			check_bit(samples[a], counts[c]);
		}
	}
	check_bit_string();
}
