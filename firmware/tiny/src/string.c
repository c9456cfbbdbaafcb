/* string.c: the little of libc that tiny uses. */
#include "tiny.h"

void *memset(void *d, int c, size_t n)
{
	void *p = d;
	asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
	return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *p = d;
	asm volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) : : "memory");
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	for (; n > 0; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

bool streq(const char *a, const char *b)
{
	size_t n = strlen(a);
	return strlen(b) == n && memcmp(a, b, n) == 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

/* parse_num reads a whole string as decimal or, after 0x, hexadecimal. */
bool parse_num(const char *s, u64 *out)
{
	u64 base = 10, v = 0;
	if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
	}
	if (!*s)
		return false;
	for (; *s; s++) {
		u64 d = (u64)digit(*s);
		if (d >= base || v > (~0ul - d) / base)
			return false;
		v = v * base + d;
	}
	*out = v;
	return true;
}

/* hash_fold is the step of every hash chain printed by tiny. For a fixed h it
 * is a bijection of v, so no single altered word can go unnoticed. */
u64 hash_fold(u64 h, u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ul;
	return h ^ h >> 32;
}
