/* selftest_alu.c: two- and one-operand arithmetic and logic at every width. */
#include "selftest.h"

typedef struct res (*op2)(u64 a, u64 b, u64 fl);

/* Each operation is run with chosen flags before it and all flags after it.
 * Registers only: an operand relative to RSP would move with the pushes. */
#define OP2(op, w)                                                                                 \
	static struct res op##_##w(u64 a, u64 b, u64 fl)                                               \
	{                                                                                              \
		asm volatile("pushq %[f]; popfq; " #op " %" #w "[b], %" #w "[a]; pushfq; popq %[f]"        \
		             : [a] "+r"(a), [b] "+r"(b), [f] "+r"(fl)                                      \
		             :                                                                             \
		             : "cc", "memory");                                                            \
		return (struct res){ a, fl };                                                              \
	}
#define OP1(op, w)                                                                                 \
	static struct res op##_##w(u64 a, u64 b, u64 fl)                                               \
	{                                                                                              \
		asm volatile("pushq %[f]; popfq; " #op " %" #w "[a]; pushfq; popq %[f]"                    \
		             : [a] "+r"(a), [f] "+r"(fl)                                                   \
		             :                                                                             \
		             : "cc", "memory");                                                            \
		return (struct res){ a, fl };                                                              \
	}
#define WIDE(kind, op) kind(op, b) kind(op, w) kind(op, k) kind(op, q)
#define ROW(op) { op##_b, op##_w, op##_k, op##_q }

/* op is also the mnemonic; the operand gives the size, for OP1 the register. */
WIDE(OP2, add) WIDE(OP2, adc) WIDE(OP2, sub) WIDE(OP2, sbb) WIDE(OP2, cmp)
WIDE(OP2, and) WIDE(OP2, or) WIDE(OP2, xor) WIDE(OP2, test) WIDE(OP2, xadd)
WIDE(OP1, inc) WIDE(OP1, dec) WIDE(OP1, neg) WIDE(OP1, not)

/* ripple adds bit by bit: CF is the carry out, AF that of bit 3, OF the
 * disagreement of the carries into and out of the top bit. */
static struct res ripple(u64 a, u64 b, u64 carry, int bits)
{
	struct res r = { 0, 0 };
	u64 into = 0;
	for (int i = 0; i < bits; i++) {
		u64 x = a >> i & 1, y = b >> i & 1;
		into = carry;
		r.v |= (x ^ y ^ carry) << i;
		carry = (x & y) | (x & carry) | (y & carry);
		if (i == 3 && carry)
			r.fl |= FL_AF;
	}
	r.fl |= (carry ? FL_CF : 0) | (into != carry ? FL_OF : 0) | result_flags(r.v, bits);
	return r;
}

/* subtract is the addition of the complement with carries inverted. */
static struct res subtract(u64 a, u64 b, u64 borrow, int bits)
{
	struct res r = ripple(a, ~b, !borrow, bits);
	r.fl ^= FL_CF | FL_AF;
	return r;
}

/* logic applies a truth table: bit 2x+y of it is the result for bits x, y. */
static struct res logic(u64 a, u64 b, u64 table, int bits)
{
	struct res r = { 0, 0 };
	for (int i = 0; i < bits; i++)
		r.v |= (table >> ((a >> i & 1) * 2 + (b >> i & 1)) & 1) << i;
	r.fl = result_flags(r.v, bits);
	return r;
}

enum model { ADD, SUB, LOGIC, INC, DEC, NEG, NOT };

static const struct {
	const char *name;
	op2 fn[WIDTHS];
	u8 model, table; /* table: of LOGIC */
	bool carry, discard; /* takes CF; sets flags only */
} ops[] = {
	{ "add", ROW(add), ADD, 0, false, false },    { "adc", ROW(adc), ADD, 0, true, false },
	{ "sub", ROW(sub), SUB, 0, false, false },    { "sbb", ROW(sbb), SUB, 0, true, false },
	{ "cmp", ROW(cmp), SUB, 0, false, true },     { "and", ROW(and), LOGIC, 8, false, false },
	{ "or", ROW(or), LOGIC, 14, false, false },   { "xor", ROW(xor), LOGIC, 6, false, false },
	{ "test", ROW(test), LOGIC, 8, false, true }, { "xadd", ROW(xadd), ADD, 0, false, false },
	{ "inc", ROW(inc), INC, 0, false, false },    { "dec", ROW(dec), DEC, 0, false, false },
	{ "neg", ROW(neg), NEG, 0, false, false },    { "not", ROW(not), NOT, 0, false, false },
};

static struct res model(int i, u64 a, u64 b, u64 fl, int bits)
{
	u64 carry = ops[i].carry ? fl & FL_CF : 0;
	struct res r;
	switch (ops[i].model) {
	case ADD:
		return ripple(a, b, carry, bits);
	case SUB:
		return subtract(a, b, carry, bits);
	case LOGIC:
		return logic(a, b, ops[i].table, bits);
	case NEG:
		return subtract(0, a, 0, bits);
	case NOT:
		return (struct res){ logic(a, ~0ul, 6, bits).v, fl };
	case INC:
		r = ripple(a, 1, 0, bits);
		break;
	default:
		r = subtract(a, 1, 0, bits);
	}
	r.fl = (r.fl & ~FL_CF) | (fl & FL_CF); /* INC and DEC keep CF */
	return r;
}

static void check_op(int i, u64 a, u64 b, u64 fl)
{
	for (int w = 0; w < WIDTHS; w++) {
		int bits = 8 << w;
		struct res have = ops[i].fn[w](a, b, fl);
		struct res want = model(i, a, b, fl, bits);
		want.v = ops[i].discard ? a : merge(a, want.v, bits);
		expect_res(ops[i].name, bits, have, want, ops[i].model == LOGIC ? FL_AF : 0);
	}
}

void selftest_alu(void)
{
	for (int i = 0; i < (int)ARRAY_LEN(ops); i++)
		for (int a = 0; a < SAMPLES; a++)
			for (int b = 0; b < (ops[i].model >= INC ? 1 : SAMPLES); b++) {
				check_op(i, samples[a], samples[b], FL_BASE);
				check_op(i, samples[a], samples[b], FL_BASE | FL_ALL);
			}
}
