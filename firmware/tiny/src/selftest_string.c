/* selftest_string.c: string instructions, both directions, every width, with and
 * without a repeat count of zero. */
#include "selftest.h"

enum { LEN = 64, MID = 24 };

struct string {
	u64 di, si, cx, ax, fl;
};
typedef void (*string_fn)(struct string *s);

#define STRING(name, insn)                                                                         \
	static void name(struct string *s)                                                             \
	{                                                                                              \
		asm volatile("pushq %[f]; popfq; " insn "; pushfq; popq %[f]; cld"                         \
		             : "+D"(s->di), "+S"(s->si), "+c"(s->cx), "+a"(s->ax), [f] "+r"(s->fl)         \
		             :                                                                             \
		             : "cc", "memory");                                                            \
	}
#define WIDE(op)                                                                                   \
	STRING(rep_##op##b, "rep " #op "b") STRING(rep_##op##w, "rep " #op "w")                        \
	STRING(rep_##op##l, "rep " #op "l") STRING(rep_##op##q, "rep " #op "q")
#define WIDE2(op)                                                                                  \
	WIDE(op)                                                                                       \
	STRING(repne_##op##b, "repne " #op "b") STRING(repne_##op##w, "repne " #op "w")                \
	STRING(repne_##op##l, "repne " #op "l") STRING(repne_##op##q, "repne " #op "q")
#define ROW(op) { op##b, op##w, op##l, op##q }
WIDE(movs) WIDE(stos) WIDE(lods) WIDE2(scas) WIDE2(cmps)
STRING(movsb_once, "movsb") STRING(stosq_once, "stosq") STRING(addr32_movsl, "addr32 rep movsl")

static const string_fn movs_fn[] = ROW(rep_movs), stos_fn[] = ROW(rep_stos), lods_fn[] = ROW(rep_lods);
static const string_fn scas_fn[2][4] = { ROW(rep_scas), ROW(repne_scas) };
static const string_fn cmps_fn[2][4] = { ROW(rep_cmps), ROW(repne_cmps) };

static u8 have[LEN], want[LEN], other[LEN];

static void fill(u8 *p, u64 seed)
{
	for (int i = 0; i < LEN; i++)
		p[i] = (u8)((u64)i * 37 + seed);
}

static void expect_bytes(const char *what)
{
	int i = 0;
	while (i < LEN && have[i] == want[i])
		i++;
	expect(what, (u64)i, LEN);
}

/* model_move copies unit by unit, so an overlap repeats as on the hardware. */
static void model_move(int dst, int src, int n, int size, int dir)
{
	for (; n > 0; n--, dst += dir * size, src += dir * size) {
		u8 unit[8];
		for (int i = 0; i < size; i++)
			unit[i] = want[src + i];
		for (int i = 0; i < size; i++)
			want[dst + i] = unit[i];
	}
}

static void check_movs(int w, int dir, int n, int dst)
{
	int size = 1 << w;
	struct string s = { (u64)&have[dst], (u64)&have[MID], (u64)n, 0, FL_BASE | (dir < 0 ? FL_DF : 0) };
	fill(have, 1);
	fill(want, 1);
	model_move(dst, MID, n, size, dir);
	movs_fn[w](&s);
	expect_bytes("movs bytes");
	expect("movs rdi", s.di, (u64)&have[dst] + (u64)(dir * n * size));
	expect("movs rsi", s.si, (u64)&have[MID] + (u64)(dir * n * size));
	expect("movs rcx", s.cx, 0);
}

static void check_stos(int w, int dir, int n)
{
	int size = 1 << w;
	u64 v = 0x8877665544332211;
	struct string s = { (u64)&have[MID], 0, (u64)n, v, FL_BASE | (dir < 0 ? FL_DF : 0) };
	fill(have, 1);
	fill(want, 1);
	for (int k = 0; k < n; k++)
		for (int i = 0; i < size; i++)
			want[MID + dir * k * size + i] = (u8)(v >> 8 * i);
	stos_fn[w](&s);
	expect_bytes("stos bytes");
	expect("stos rdi", s.di, (u64)&have[MID] + (u64)(dir * n * size));
}

static void check_lods(int w, int dir)
{
	int size = 1 << w;
	u64 v = 0, junk = 0x9999999999999999;
	struct string s = { 0, (u64)&have[MID], 2, junk, FL_BASE | (dir < 0 ? FL_DF : 0) };
	fill(have, 1);
	for (int i = 0; i < size; i++)
		v |= (u64)have[MID + dir * size + i] << 8 * i;
	lods_fn[w](&s);
	expect("lods", s.ax, merge(junk, v, 8 * size));
	expect("lods rsi", s.si, (u64)&have[MID] + (u64)(dir * 2 * size));
}

/* check_scas searches for a unit that ends the run after `at` steps, or never. */
static void check_scas(int w, int dir, bool until_equal, int at)
{
	int size = 1 << w, n = 3, steps = at < n ? at + 1 : n;
	u64 odd = 0x5a5a5a5a5a5a5a5a, same = 0x0101010101010101;
	memset(have, until_equal ? 0x5a : 1, LEN);
	if (at < n)
		memset(&have[MID + dir * at * size], until_equal ? 1 : 0x5a, (size_t)size);
	struct string s = { (u64)&have[MID], 0, (u64)n, same, FL_BASE | (dir < 0 ? FL_DF : 0) };
	scas_fn[until_equal][w](&s);
	bool ends_equal = until_equal == (at < n);
	expect("scas rcx", s.cx, (u64)(n - steps));
	expect("scas rdi", s.di, (u64)&have[MID] + (u64)(dir * steps * size));
	expect("scas zf", (s.fl & FL_ZF) != 0, ends_equal);
	expect("scas cf", s.fl & FL_CF, same % 256 < (ends_equal ? 1 : odd % 256) ? FL_CF : 0);
}

static void check_cmps(int w, int dir, bool until_equal, int at)
{
	int size = 1 << w, n = 3, steps = at < n ? at + 1 : n;
	fill(have, 1);
	fill(other, until_equal ? 2 : 1);
	if (at < n)
		memcpy(&other[MID + dir * at * size], &have[MID + dir * at * size], (size_t)size);
	if (at < n && !until_equal)
		other[MID + dir * at * size + size - 1]++; /* the top byte differs: CF tells which is less */
	struct string s = { (u64)&other[MID], (u64)&have[MID], (u64)n, 0, FL_BASE | (dir < 0 ? FL_DF : 0) };
	cmps_fn[until_equal][w](&s);
	bool ends_equal = until_equal == (at < n);
	expect("cmps rcx", s.cx, (u64)(n - steps));
	expect("cmps rsi", s.si, (u64)&have[MID] + (u64)(dir * steps * size));
	expect("cmps rdi", s.di, (u64)&other[MID] + (u64)(dir * steps * size));
	expect("cmps zf", (s.fl & FL_ZF) != 0, ends_equal);
	if (!until_equal)
		expect("cmps cf", s.fl & FL_CF, ends_equal ? 0 : FL_CF);
}

/* check_none: with a count of zero nothing moves and no flag changes. */
static void check_none(void)
{
	struct string s = { (u64)have, (u64)other, 0, 5, FL_BASE | FL_ALL };
	movs_fn[3](&s);
	stos_fn[2](&s);
	scas_fn[0][1](&s);
	cmps_fn[1][0](&s);
	expect("rep 0 rdi", s.di, (u64)have);
	expect("rep 0 rsi", s.si, (u64)other);
	expect("rep 0 flags", s.fl & FL_ALL, FL_ALL);
}

static void check_single(void)
{
	struct string s = { (u64)&have[1], (u64)&have[9], 77, 0x1111, FL_BASE };
	fill(have, 1);
	fill(want, 1);
	want[1] = want[9];
	movsb_once(&s);
	memset(&want[2], 0, 8);
	want[2] = want[3] = 0x11;
	stosq_once(&s);
	expect_bytes("movsb, stosq");
	expect("no rep keeps rcx", s.cx, 77);
	s = (struct string){ 0xabcd00000000ul | (u64)&have[4], (u64)&have[32], 2, 0, FL_BASE };
	addr32_movsl(&s);
	memcpy(&want[4], &want[32], 8);
	expect_bytes("addr32 movsl");
	expect("addr32 rdi", s.di, (u64)&have[12]);
}

void selftest_string(void)
{
	for (int w = 0; w < WIDTHS; w++)
		for (int dir = -1; dir <= 1; dir += 2) {
			for (int n = 0; n <= 3; n++) {
				check_movs(w, dir, n, MID + 8);
				check_movs(w, dir, n, MID + 1);
				check_movs(w, dir, n, MID - 3);
				check_stos(w, dir, n);
			}
			check_lods(w, dir);
			for (int at = 0; at <= 3; at++)
				for (int until = 0; until < 2; until++) {
					check_scas(w, dir, until, at);
					check_cmps(w, dir, until, at);
				}
		}
	check_none();
	check_single();
}
