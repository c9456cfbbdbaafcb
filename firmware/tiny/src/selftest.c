/* selftest.c: runs the batteries and counts. */
#include "selftest.h"

enum { SHOWN = 10 };
static u64 good, bad;

const u64 samples[SAMPLES] = {
	0, 1, 0x7f, 0x80, 0x7fff8000, 0xffffffff, 0x123456789abcdef0,
	0x7fffffffffffffff, 0x8000000080008080, ~0ul,
};

/* expect counts one comparison and prints the first few failures. */
void expect(const char *what, u64 have, u64 want)
{
	if (have == want) {
		good++;
		return;
	}
	if (bad++ < SHOWN)
		printf("selftest: FAIL %s have %lx want %lx\n", what, have, want);
}

/* expect_res compares a result and its flags but for the undefined ones. */
void expect_res(const char *op, int bits, struct res have, struct res want, u64 undefined)
{
	have.fl &= FL_ALL & ~undefined;
	want.fl &= FL_ALL & ~undefined;
	if (have.v == want.v && have.fl == want.fl) {
		good++;
		return;
	}
	if (bad++ < SHOWN)
		printf("selftest: FAIL %s %d bits have %lx flags %lx want %lx flags %lx\n", op, bits, have.v,
		       have.fl, want.v, want.fl);
}

/* result_flags gives ZF, SF and PF of the low bits of v. */
u64 result_flags(u64 v, int bits)
{
	u64 fl = FL_ZF;
	int ones = 0;
	for (int i = 0; i < bits; i++) {
		if (!(v >> i & 1))
			continue;
		fl &= ~FL_ZF;
		if (i < 8)
			ones++;
		if (i == bits - 1)
			fl |= FL_SF;
	}
	return ones % 2 ? fl : fl | FL_PF;
}

void selftest(void)
{
	good = bad = 0;
	selftest_alu();
	selftest_shift();
	selftest_muldiv();
	selftest_misc();
	selftest_string();
	selftest_system();
	if (bad)
		printf("selftest: %lu ok, %lu FAILED\n", good, bad);
	else
		printf("selftest: %lu ok\n", good);
}
