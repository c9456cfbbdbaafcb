/* selftest.c: runs the batteries and counts. */
#include "tiny.h"

enum { SHOWN = 10 };
static u64 good, bad;

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

void selftest(void)
{
	good = bad = 0;
	selftest_alu();
	selftest_muldiv();
	selftest_misc();
	selftest_string();
	selftest_system();
	if (bad)
		printf("selftest: %lu ok, %lu FAILED\n", good, bad);
	else
		printf("selftest: %lu ok\n", good);
}
