// The lecture's program: an array written int by int, for ever. Before an int is
// overwritten it is compared with what was written there in the pass before.
// usage: writer MIB seq|rand|page|alt
typedef unsigned int u32;
typedef unsigned long u64;

static long call(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return n;
}

static void say(const char *s, u64 v)
{
	char b[64], d[20];
	int n = 0, k = 0;
	while (*s)
		b[n++] = *s++;
	do
		d[k++] = '0' + v % 10;
	while (v /= 10);
	while (k)
		b[n++] = d[--k];
	b[n++] = '\n';
	call(1, 1, (long)b, n, 0, 0, 0);
}

// value is what a pass writes to int i.
static u32 value(char pattern, u32 pass, u32 i)
{
	if (pattern == 'a')
		pass &= 1;
	return (pass * 2654435761u ^ i * 2246822519u) | 1;
}

static void run(u64 *sp)
{
	char **argv = (char **)(sp + 1);
	u64 mib = 0;
	for (char *p = argv[1]; *p; p++)
		mib = mib * 10 + *p - '0';
	char pattern = argv[2][0];
	u32 ints = mib << 18, step = pattern == 'p' ? 1024 : 1;
	volatile u32 *a = (u32 *)call(9, 0, mib << 20, 3, 0x22, -1, 0);
	for (u32 pass = 1;; pass++) {
		for (u32 k = 0; k < ints; k += step) {
			u32 i = k;
			if (pattern == 'r') { // pages in another order, each once: the factor is a prime
				u32 pages = ints >> 10, page = k >> 10;
				i = (page * 48271u + pass * 7) % pages << 10 | (k & 1023);
			}
			if (pass > 1 && a[i] != value(pattern, pass - 1, i)) {
				say("writer: CORRUPT at int ", i);
				call(231, 1, 0, 0, 0, 0, 0);
			}
			a[i] = value(pattern, pass, i);
		}
		say("writer: pass ", pass);
	}
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall run_\n");
void run_(u64 *sp) { run(sp); }
