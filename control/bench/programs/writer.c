/* The program that no migration was said to survive: it writes an array of
 * integers from one end to the other, for ever. Each pass checks what the pass
 * before has written. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	size_t mib = argc > 1 ? strtoul(argv[1], 0, 0) : 64, n = (mib << 20) / sizeof(int);
	volatile int *a = calloc(n, sizeof(int));
	if (!a)
		return puts("writer: no memory"), 1;
	for (int pass = 1;; pass++) {
		for (size_t i = 0; i < n; i++) {
			if (a[i] != pass - 1)
				return printf("writer: CORRUPT at %zu: %d, want %d\n", i, a[i], pass - 1), 1;
			a[i] = pass;
		}
		if (pass == 1 || pass % 16 == 0)
			printf("writer: pass %d\n", pass), fflush(stdout);
	}
}
