/* hog.c: the memory hog. It writes an area over and over so that at any moment
 * every word's right value follows from (pattern, pass, index), reads each word
 * back before overwriting it, and folds what it read into a chain. A page lost,
 * stale, torn or misplaced by whoever moves this machine is named. */
#include "tiny.h"

enum { SEQ, PAGE_BYTE, RAND, ZERO, ALT, PATTERNS };

/* Pass 0 fills the area, which before it, after "pass -1", is zero. */
#define FILL 0ul
#define FRESH ~0ul

static const char *const names[PATTERNS] = { "seq", "page", "rand", "zero", "alt" };

/* One pass's contents. With x = w * step + term, word w of the area is
 * (x ^ x >> 29) * mul; for seq, int i is the low half of i * step + term. All
 * zero members give a zero area. Why so plain: the loops below keep x by one
 * addition and are what the hog's speed hangs on. */
struct gen {
	u64 term, step, mul;
};

static struct {
	u64 pages, pass, cursor, span, chain, passes, rate;
	u64 start, moved; /* pacing: ticks at the start, pages written since */
	int pattern;
	bool bad, torn; /* something was wrong; the pass ended inside a page */
} s;

int hog_pattern(const char *name)
{
	for (int i = 0; i < PATTERNS; i++)
		if (streq(name, names[i]))
			return i;
	return -1;
}

static inline u64 word(u64 w, struct gen g)
{
	u64 x = w * g.step + g.term;
	return (x ^ x >> 29) * g.mul;
}

/* fold is hash_fold without its last step, which each page adds at its end. */
static inline u64 fold(u64 h, u64 v) { return (h ^ v) * 0x9e3779b97f4a7c15ul; }

/* gen_of gives the contents after a pass; FRESH is before the first. */
static struct gen gen_of(u64 pass)
{
	const struct gen none = { 0, 0, 0 };
	struct gen g = { 0, 0x9e3779b97f4a7c15ul, 0xbf58476d1ce4e5b9ul };
	if (pass == FRESH || (s.pattern == ZERO && (pass & 1)))
		return none;
	if (s.pattern == ALT)
		pass &= 1;
	if (s.pattern != PAGE_BYTE)
		g.term = pass * 0xd1b54a32d192ed03ul;
	g.term += (u64)s.pattern + 1;
	return g;
}

static bool corrupt(const volatile void *at, u64 have, u64 want)
{
	printf("hog: CORRUPT at %lx have %lx want %lx\n", (u64)at, have, want);
	s.bad = true;
	return false;
}

/* seq_page is the lecture's program: an array written int by int. */
static bool seq_page(u64 page, struct gen old, struct gen new, bool write, u64 *chain)
{
	volatile u32 *a = (volatile u32 *)(HOG_BASE + page * PAGE), *end = a + PAGE / 4;
	u32 first = (u32)(page * (PAGE / 4));
	u32 want = first * (u32)old.step + (u32)old.term, next = first * (u32)new.step + (u32)new.term;
	u64 h = *chain;
	for (; a < end; a++) {
		u32 have = *a;
		if (have != want)
			return corrupt(a, have, want);
		h = fold(h, have);
		if (write)
			*a = next;
		want += (u32)old.step;
		next += (u32)new.step;
	}
	*chain = h ^ h >> 32;
	return true;
}

/* words checks, and rewrites if write is set, words w..end-1 of the area. */
static bool words(u64 w, u64 end, struct gen old, struct gen new, bool write, u64 *chain)
{
	volatile u64 *a = (volatile u64 *)HOG_BASE + w, *stop = (volatile u64 *)HOG_BASE + end;
	u64 x = w * old.step + old.term, y = w * new.step + new.term, h = *chain;
	for (; a < stop; a++) {
		u64 have = *a, want = (x ^ x >> 29) * old.mul;
		if (have != want)
			return corrupt(a, have, want);
		h = fold(h, have);
		if (write)
			*a = (y ^ y >> 29) * new.mul;
		x += old.step;
		y += new.step;
	}
	*chain = h ^ h >> 32;
	return true;
}

/* byte_page checks a whole page of which earlier passes changed one byte, and
 * changes that byte once more. */
static bool byte_page(u64 page, u64 pass, bool write, u64 *chain)
{
	u64 off = page * 61 % PAGE, first = page * (PAGE / 8), special = first + off / 8;
	struct gen g = gen_of(FILL);
	volatile u64 *a = (volatile u64 *)HOG_BASE + special;
	u64 shift = off % 8 * 8, want = word(special, g), have = *a;
	u64 byte = (want >> shift) + pass;
	want = (want & ~(0xfful << shift)) | (byte & 0xff) << shift;
	if (have != want)
		return corrupt(a, have, want);
	*chain = fold(*chain, have);
	if (!words(first, special, g, g, false, chain))
		return false;
	if (!words(special + 1, first + PAGE / 8, g, g, false, chain))
		return false;
	if (write)
		((volatile u8 *)a)[off % 8] = (u8)(byte + 1);
	return true;
}

/* page_step checks a page that holds pass's contents and, if write is set,
 * writes those of the next pass. */
static bool page_step(u64 page, u64 pass, bool write, u64 *chain)
{
	if (s.pattern == PAGE_BYTE && pass != FRESH)
		return byte_page(page, pass, write, chain);
	struct gen old = gen_of(pass), new = gen_of(pass + 1);
	if (s.pattern == SEQ)
		return seq_page(page, old, new, write, chain);
	return words(page * (PAGE / 8), (page + 1) * (PAGE / 8), old, new, write, chain);
}

/* order turns a cursor into a page. For rand it is a bijection of [0, span),
 * span a power of two, so that each pass meets every page once; values outside
 * the area are skipped. */
static u64 order(u64 c, u64 pass)
{
	if (s.pattern != RAND || pass == FILL)
		return c;
	u64 m = s.span - 1;
	int half = (64 - __builtin_clzl(s.span)) / 2;
	c = (c * 0x9e3779b97f4a7c15ul + pass * 0x632be59bd9b4e019ul) & m;
	c ^= c >> half;
	c = (c * 0xbf58476d1ce4e5b9ul + pass) & m;
	return c ^ c >> half;
}

static bool stop_wanted(void)
{
	if (!key_waiting())
		return false;
	interrupt_clear();
	while (key_waiting())
		getc();
	return true;
}

/* pace waits until rate MiB a second allow the pages written so far. */
static bool pace(void)
{
	bool stop = stop_wanted();
	cli();
	while (!stop && s.rate && s.moved * HZ > s.rate * 256 * (ticks() - s.start)) {
		sti_hlt_cli();
		if (key_waiting()) {
			sti();
			stop = stop_wanted();
			cli();
		}
	}
	sti();
	return !stop;
}

/* run_pass writes pass s.pass. False: stopped by a key or by corruption, with
 * s.cursor telling how far it came. */
static bool run_pass(void)
{
	for (s.cursor = 0; s.cursor < s.span; s.cursor++) {
		u64 page = order(s.cursor, s.pass);
		if (page >= s.pages)
			continue;
		if (s.pass != FILL && !pace())
			return false;
		if (s.pass == FILL && stop_wanted())
			return false;
		if (!page_step(page, s.pass - 1, true, &s.chain))
			return false;
		s.moved++;
	}
	return true;
}

void hog_release(void)
{
	demand_area(0);
	memset(&s, 0, sizeof(s));
}

static bool prepare(u64 mib, u64 rate, int pattern, u64 passes)
{
	hog_release();
	u64 avail = frames_free(), pages = mib * 256;
	if (mib == 0 || mib > 1 << 20 || pages + pages / 512 + 8 > avail) {
		printf("hog: %lu MiB asked, %lu MiB free\n", mib, avail / 256);
		return false;
	}
	s.pages = s.span = pages;
	s.pattern = pattern;
	s.rate = rate;
	s.passes = passes;
	if (pattern == RAND)
		for (s.span = 1; s.span < pages;)
			s.span *= 2;
	demand_area(pages);
	return true;
}

/* loop runs passes and reports each if their number was given, else about one
 * a second. */
static void loop(void)
{
	u64 shown = ticks();
	while (run_pass()) {
		if (s.pass != FILL && (s.passes || ticks() - shown >= HZ)) {
			printf("hog: pass %lu chain %016lx\n", s.pass, s.chain);
			shown = ticks();
		}
		if (s.pass == FILL) {
			s.start = ticks();
			s.moved = 0;
		}
		if (s.passes && s.pass == s.passes) {
			printf("hog: done\n");
			s.cursor = s.span;
			return;
		}
		s.pass++;
	}
	s.torn = s.bad;
	if (!s.bad)
		printf("hog: stopped in pass %lu at page %lu of %lu\n", s.pass, s.cursor, s.span);
}

/* hog allocates mib MiB and writes them at rate MiB a second (0: unlimited) for
 * ever, until a key is pressed, or passes times. The area stays for `check`. */
void hog(u64 mib, u64 rate, int pattern, u64 passes)
{
	if (!prepare(mib, rate, pattern, passes))
		return;
	printf("hog: %lu MiB at %lx, %s, rate %lu\n", mib, HOG_BASE, names[pattern], rate);
	loop();
}

/* hog_check verifies every page of the area: those before the cursor hold the
 * current pass, the others the one before. After corruption the page in hand is
 * half written, and the verdict is known. */
bool hog_check(u64 *h)
{
	if (s.torn)
		return false;
	for (u64 c = 0; s.pages && c < s.span; c++) {
		u64 page = order(c, s.pass);
		if (page >= s.pages)
			continue;
		if (!page_step(page, c < s.cursor ? s.pass : s.pass - 1, false, h))
			return false;
	}
	return true;
}
