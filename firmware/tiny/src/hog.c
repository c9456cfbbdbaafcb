/* hog.c: the memory hog. It writes an area over and over so that at any moment
 * every word's right value follows from (pattern, pass, index), reads each word
 * back before overwriting it, and folds what it read into a chain. A page lost,
 * stale, torn or misplaced by whoever moves this machine is named. */
#include "tiny.h"

enum { SEQ, PAGE_BYTE, RAND, ZERO, ALT, PATTERNS };
enum { FILL = 0 }; /* pass 0 fills the fresh area; before it all is zero */

static const char *const names[PATTERNS] = { "seq", "page", "rand", "zero", "alt" };

/* One pass's contents: word w of the area is zero, or mix(w, term). */
struct gen {
	bool zero;
	u64 term;
};

static struct {
	u64 pages, pass, cursor, span, chain, passes, rate;
	u64 start, moved; /* pacing: ticks at the start, pages written since */
	int pattern;
	bool bad;
} s;

int hog_pattern(const char *name)
{
	for (int i = 0; i < PATTERNS; i++)
		if (streq(name, names[i]))
			return i;
	return -1;
}

static inline u64 mix(u64 w, u64 term)
{
	u64 x = w * 0x9e3779b97f4a7c15ul + term;
	x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ul;
	return x ^ x >> 32;
}

static inline u32 mix32(u32 i, u32 term)
{
	u32 x = i * 0x9e3779b1u + term;
	return x ^ x >> 15;
}

static inline u64 word(u64 w, struct gen g) { return g.zero ? 0 : mix(w, g.term); }
static inline u32 int_at(u32 i, struct gen g) { return g.zero ? 0 : mix32(i, (u32)g.term); }

/* gen_of gives the contents after a pass; pass -1 is the fresh area. */
static struct gen gen_of(u64 pass)
{
	struct gen g = { false, 0 };
	switch (s.pattern) {
	case ALT:
		g.term = (pass & 1) * 0xd1b54a32d192ed03ul + 1;
		break;
	case ZERO:
		g.zero = pass & 1;
		g.term = pass * 0xd1b54a32d192ed03ul + 2;
		break;
	case PAGE_BYTE:
		g.term = 3;
		break;
	default:
		g.term = pass * 0xd1b54a32d192ed03ul + 4;
	}
	if (pass == ~0ul)
		g = (struct gen){ true, 0 };
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
	volatile u32 *a = (volatile u32 *)(HOG_BASE + page * PAGE);
	u32 first = (u32)(page * (PAGE / 4));
	u64 h = *chain;
	for (u32 i = 0; i < PAGE / 4; i++) {
		u32 have = a[i], want = int_at(first + i, old);
		if (have != want)
			return corrupt(&a[i], have, want);
		h = hash_fold(h, have);
		if (write)
			a[i] = int_at(first + i, new);
	}
	*chain = h;
	return true;
}

static bool word_page(u64 page, struct gen old, struct gen new, bool write, u64 *chain)
{
	volatile u64 *a = (volatile u64 *)(HOG_BASE + page * PAGE);
	u64 first = page * (PAGE / 8), h = *chain;
	for (u64 i = 0; i < PAGE / 8; i++) {
		u64 have = a[i], want = word(first + i, old);
		if (have != want)
			return corrupt(&a[i], have, want);
		h = hash_fold(h, have);
		if (write)
			a[i] = word(first + i, new);
	}
	*chain = h;
	return true;
}

/* byte_page checks a whole page of which earlier passes changed one byte, and
 * changes that byte once more. */
static bool byte_page(u64 page, u64 pass, bool write, u64 *chain)
{
	volatile u8 *base = (volatile u8 *)(HOG_BASE + page * PAGE);
	u64 off = page * 61 % PAGE, first = page * (PAGE / 8), h = *chain;
	struct gen g = gen_of(FILL);
	u64 changed = word(first + off / 8, g), shift = off % 8 * 8;
	u64 byte = (changed >> shift) + pass;
	changed = (changed & ~(0xfful << shift)) | (byte & 0xff) << shift;
	for (u64 i = 0; i < PAGE / 8; i++) {
		volatile u64 *a = (volatile u64 *)base + i;
		u64 have = *a, want = i == off / 8 ? changed : word(first + i, g);
		if (have != want)
			return corrupt(a, have, want);
		h = hash_fold(h, have);
	}
	if (write)
		base[off] = (u8)(byte + 1);
	*chain = h;
	return true;
}

/* page_step checks a page that holds pass's contents and, if write is set,
 * writes those of the next pass. */
static bool page_step(u64 page, u64 pass, bool write, u64 *chain)
{
	if (s.pattern == PAGE_BYTE && pass != ~0ul)
		return byte_page(page, pass, write, chain);
	struct gen old = gen_of(pass), new = gen_of(pass + 1);
	if (s.pattern == SEQ)
		return seq_page(page, old, new, write, chain);
	return word_page(page, old, new, write, chain);
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
	s.pages = 0;
}

static bool prepare(u64 mib, u64 rate, int pattern, u64 passes)
{
	hog_release();
	memset(&s, 0, sizeof(s));
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
 * current pass, the others the one before. */
bool hog_check(u64 *h)
{
	bool all_pages_done = s.pages == 0;
	for (u64 c = 0; !all_pages_done && c < s.span; c++) {
		u64 page = order(c, s.pass);
		if (page >= s.pages)
			continue;
		if (!page_step(page, c < s.cursor ? s.pass : s.pass - 1, false, h))
			return false;
	}
	return true;
}
