/* selftest.h: the models the batteries compare instructions with. They go bit by
 * bit, so that they share no instruction's shortcut with what is tested. */
#ifndef SELFTEST_H
#define SELFTEST_H
#include "tiny.h"

#define FL_ALL (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)
#define FL_BASE (FL_IF | 2) /* interrupts stay on while flags are loaded */

/* A result register and the arithmetic flags. */
struct res {
	u64 v, fl;
};

extern const u64 samples[];
enum { SAMPLES = 10, WIDTHS = 4 };

static inline u64 mask_of(int bits) { return bits == 64 ? ~0ul : (1ul << bits) - 1; }

/* merge gives a 64-bit register after a write of its low bits: 8 and 16 bit
 * writes keep the rest, 32 bit ones clear it [SDM 1 3.4.1.1]. */
static inline u64 merge(u64 old, u64 v, int bits)
{
	u64 m = mask_of(bits);
	return bits >= 32 ? v & m : (old & ~m) | (v & m);
}

u64 result_flags(u64 v, int bits);
void expect_res(const char *op, int bits, struct res have, struct res want, u64 undefined);

#endif
