/* selftest_muldiv.c: multiplication and division by shift and add. */
#include "selftest.h"

struct pair {
	u64 lo, hi;
};
struct mul_res {
	u64 lo, hi, fl;
};

#define MUL(op, w)                                                                                 \
	static struct mul_res op##_##w(u64 lo, u64 hi, u64 b)                                          \
	{                                                                                              \
		u64 fl;                                                                                    \
		asm volatile(#op " %" #w "[b]; pushfq; popq %[f]"                                          \
		             : "+a"(lo), "+d"(hi), [f] "=r"(fl)                                            \
		             : [b] "r"(b)                                                                  \
		             : "cc", "memory");                                                            \
		return (struct mul_res){ lo, hi, fl };                                                     \
	}
#define WIDE(op) MUL(op, b) MUL(op, w) MUL(op, k) MUL(op, q)
#define ROW(op) { op##_b, op##_w, op##_k, op##_q }
WIDE(mul) WIDE(imul) WIDE(div) WIDE(idiv)

typedef struct mul_res (*mul_fn)(u64 lo, u64 hi, u64 b);
static const mul_fn muls[] = ROW(mul), imuls[] = ROW(imul), divs[] = ROW(div), idivs[] = ROW(idiv);

static struct pair shl1(struct pair p, u64 in)
{
	return (struct pair){ p.lo << 1 | in, p.hi << 1 | p.lo >> 63 };
}

/* product multiplies modulo 2^128, b's bits from the top. */
static struct pair product(struct pair a, struct pair b)
{
	struct pair r = { 0, 0 };
	for (int i = 127; i >= 0; i--) {
		r = shl1(r, 0);
		if (!((i < 64 ? b.lo >> i : b.hi >> (i - 64)) & 1))
			continue;
		u64 lo = r.lo + a.lo;
		r.hi += a.hi + (lo < r.lo);
		r.lo = lo;
	}
	return r;
}

static u64 sign_extend(u64 v, int bits)
{
	u64 top = 1ul << (bits - 1);
	v &= mask_of(bits);
	return v & top ? v | ~mask_of(bits) : v;
}

static struct pair widen(u64 v, int bits, bool is_signed)
{
	u64 x = is_signed ? sign_extend(v, bits) : v & mask_of(bits);
	return (struct pair){ x, is_signed && x >> 63 ? ~0ul : 0 };
}

/* halves splits a product as the instruction leaves it in RDX:RAX, or AX. */
static void halves(struct pair p, int bits, u64 *lo, u64 *hi)
{
	u64 low = p.lo & mask_of(bits), high = bits == 64 ? p.hi : p.lo >> bits & mask_of(bits);
	if (bits == 8) {
		*lo = merge(*lo, low | high << 8, 16);
		return;
	}
	*lo = merge(*lo, low, bits);
	*hi = merge(*hi, high, bits);
}

static void check_mul(u64 a, u64 b, int w, bool is_signed)
{
	int bits = 8 << w;
	u64 junk = 0x1122334455667788, lo = a, hi = junk;
	struct pair p = product(widen(a, bits, is_signed), widen(b, bits, is_signed));
	halves(p, bits, &lo, &hi);
	struct pair fits = widen(p.lo, bits, is_signed);
	bool over = bits == 64 ? fits.hi != p.hi : fits.lo != p.lo;
	struct mul_res r = (is_signed ? imuls : muls)[w](a, junk, b);
	const char *name = is_signed ? "imul" : "mul";
	expect_res(name, bits, (struct res){ r.lo, r.fl }, (struct res){ lo, over ? FL_CF | FL_OF : 0 },
	           FL_ALL & ~(FL_CF | FL_OF));
	expect("mul high", r.hi, hi);
}

/* quotient divides n by d (not 0) bit by bit. */
static struct pair quotient(struct pair n, u64 d, u64 *rem)
{
	struct pair q = { 0, 0 };
	u64 r = 0;
	for (int i = 127; i >= 0; i--) {
		u64 carry = r >> 63;
		r = r << 1 | ((i < 64 ? n.lo >> i : n.hi >> (i - 64)) & 1);
		bool fits = carry || r >= d;
		if (fits)
			r -= d;
		q = shl1(q, fits);
	}
	*rem = r;
	return q;
}

static struct pair negate(struct pair p)
{
	return (struct pair){ -p.lo, ~p.hi + (p.lo == 0) };
}

struct division {
	u64 lo, hi, b;
	int w;
	bool is_signed;
	struct mul_res out;
};

static void divide(void *arg)
{
	struct division *d = arg;
	d->out = (d->is_signed ? idivs : divs)[d->w](d->lo, d->hi, d->b);
}

/* model_div returns false where the instruction raises #DE. */
static bool model_div(const struct division *d, u64 *q, u64 *r)
{
	int bits = 8 << d->w;
	u64 m = mask_of(bits), b = d->b & m;
	struct pair n = { d->lo, d->hi };
	if (bits == 8)
		n = (struct pair){ d->lo & 0xffff, 0 };
	else if (bits < 64)
		n = (struct pair){ (d->lo & m) | (d->hi & m) << bits, 0 };
	bool n_neg = false, b_neg = false;
	if (d->is_signed) {
		if (bits < 64)
			n = widen(n.lo, 2 * bits, true);
		n_neg = n.hi >> 63;
		b_neg = b >> (bits - 1);
		n = n_neg ? negate(n) : n;
		b = b_neg ? -b & m : b;
	}
	if (b == 0)
		return false;
	struct pair p = quotient(n, b, r);
	u64 limit = d->is_signed ? (m >> 1) + (n_neg != b_neg) : m;
	if (p.hi || p.lo > limit)
		return false;
	*q = (n_neg != b_neg ? -p.lo : p.lo) & m;
	*r = (n_neg ? -*r : *r) & m;
	return true;
}

static void check_div(u64 lo, u64 hi, u64 b, int w, bool is_signed)
{
	struct division d = { lo, hi, b, w, is_signed, { 0, 0, 0 } };
	int bits = 8 << w, vec = try(divide, &d, false);
	u64 q = 0, r = 0;
	if (!model_div(&d, &q, &r)) {
		expect("div overflow", (u64)vec, 0);
		return;
	}
	expect("div vector", (u64)vec, ~0ul);
	expect("quotient", d.out.lo, bits == 8 ? merge(lo, q | r << 8, 16) : merge(lo, q, bits));
	expect("remainder", d.out.hi, bits == 8 ? hi : merge(hi, r, bits));
}

/* check_imul2 covers the two- and three-operand forms. */
static void check_imul2(u64 a, u64 b)
{
	u64 x = a, y, z;
	asm("imulq %1, %0" : "+r"(x) : "r"(b) : "cc");
	asm("imulq $-7, %1, %0" : "=r"(y) : "r"(a) : "cc");
	asm("imull $1000000, %k1, %k0" : "=r"(z) : "r"(a) : "cc");
	expect("imul r, r", x, product((struct pair){ a, 0 }, (struct pair){ b, 0 }).lo);
	expect("imul r, r, imm8", y, product((struct pair){ a, 0 }, (struct pair){ (u64)-7l, 0 }).lo);
	expect("imul r, r, imm32", z, product((struct pair){ a, 0 }, (struct pair){ 1000000, 0 }).lo & ~0u);
}

void selftest_muldiv(void)
{
	for (int a = 0; a < SAMPLES; a++)
		for (int b = 0; b < SAMPLES; b++) {
			u64 x = samples[a], y = samples[b];
			check_imul2(x, y);
			for (int w = 0; w < WIDTHS; w++)
				for (int s = 0; s < 2; s++) {
					check_mul(x, y, w, s);
					check_div(x, 0, y, w, s);
					check_div(x, y >> 2, ~x | 1, w, s);
				}
		}
}
