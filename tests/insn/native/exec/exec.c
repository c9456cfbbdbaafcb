/* Executes single instructions in user mode on the processor underneath.
 *
 *   gcc -O2 -ffreestanding -nostdlib -nostartfiles -static-pie -fPIE -fno-stack-protector
 *       -mgeneral-regs-only -o exec exec.c
 *   exec < cases > results
 *
 * Everything happens inside a signal handler. A case is loaded by rewriting the
 * signal frame, which holds all registers, CS, SS and the extended state; the
 * return from the handler starts it. What follows the instruction is INT3, so
 * every case ends in the next signal, whose frame is the result: with it, any
 * stack pointer, code segment, branch target or fault is possible in a test.
 * There is no C library, and nothing of this program is mapped below 4 GiB, so
 * that 32-bit addresses reach test memory or fault.
 *
 * Records are those of proto.go, little-endian. Keep both in step. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum {
	CODE_BASE = 0x10000000, CODE_SIZE = 0x10000,
	MAX_CODE = 32, MAX_WIN = 16, MAX_DIFF = 4096,
	FLAG_VEC = 1,
};

/* Test memory: data, stack, and the top of the 16-bit stack segment. */
static const struct { u64 base, size; } region[] = {
	{0x20000000, 0x2000}, {0x30000000, 0x2000}, {0x30010000, 0x1000},
};
enum { REGIONS = 3, QWORDS = 0x5000 / 8 };

struct vec { u16 fcw, fsw, ftw, fop; u32 mxcsr, pad; u64 fip, fdp; u8 st[8][16]; u8 xmm[16][16]; u8 ymmh[16][16]; };
struct window { u64 addr, val; };
struct input {
	u32 id; u8 flags, len, nwin, pad;
	u16 sel[6]; u32 pad2; /* ES CS SS DS FS GS */
	u8 code[MAX_CODE];
	u64 r[16], rflags, rip, fsbase, gsbase;
	struct window win[MAX_WIN];
};
struct output {
	u32 id; int trap; u32 err, ndiff;
	u64 cr2, r[16], rflags, rip, fsbase, gsbase;
	u16 sel[8];
};

struct ucontext {
	u64 flags, link, ss_sp; u32 ss_flags, pad; u64 ss_size;
	u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u8 *fpstate;
};
enum { UC_SS = 2, UC_STRICT_SS = 4 };

static long syscall6(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r)
		: "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}
#define SYS(n, a, b, c) syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
enum {
	SYS_READ = 0, SYS_WRITE = 1, SYS_MMAP = 9, SYS_SIGACTION = 13, SYS_SETITIMER = 38, SYS_EXIT = 60,
	SYS_FTRUNCATE = 77, SYS_SIGALTSTACK = 131, SYS_MODIFY_LDT = 154, SYS_ARCH_PRCTL = 158, SYS_MEMFD = 319,
	ARCH_SET_GS = 0x1001, ARCH_SET_FS = 0x1002,
};

void *memcpy(void *d, const void *s, u64 n)
{
	void *r = d;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return r;
}
void *memset(void *d, int v, u64 n)
{
	void *r = d;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory");
	return r;
}
static int memcmp(const void *a, const void *b, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (((const u8 *)a)[i] != ((const u8 *)b)[i])
			return 1;
	return 0;
}
static void die(const char *m)
{
	u64 n = 0;
	while (m[n])
		n++;
	SYS(SYS_WRITE, 2, m, n);
	SYS(SYS_EXIT, 1, 0, 0);
}

static u8 inbuf[1 << 18], outbuf[1 << 18];
static u64 inpos, inlen, outpos;

static void flush(void)
{
	for (u64 at = 0; at < outpos;) {
		long k = SYS(SYS_WRITE, 1, outbuf + at, outpos - at);
		if (k <= 0)
			SYS(SYS_EXIT, 2, 0, 0);
		at += k;
	}
	outpos = 0;
}
static void emit(const void *p, u64 n)
{
	if (outpos + n > sizeof outbuf)
		flush();
	memcpy(outbuf + outpos, p, n);
	outpos += n;
}
/* take reads n bytes. At the end of the input it ends the program. */
static void take(void *p, u64 n)
{
	u8 *d = p;
	while (n) {
		if (inpos == inlen) {
			flush();
			long k = SYS(SYS_READ, 0, inbuf, sizeof inbuf);
			if (k <= 0)
				SYS(SYS_EXIT, k < 0, 0, 0);
			inpos = 0, inlen = k;
		}
		u64 k = inlen - inpos < n ? inlen - inpos : n;
		memcpy(d, inbuf + inpos, k);
		d += k, inpos += k, n -= k;
	}
}

static struct input in;
static struct vec vin, vout;
static struct output out;
static struct window diff[MAX_DIFF];
static u64 plain[QWORDS]; /* test memory without a case's own values */
static u64 before[QWORDS];
static u8 *code; /* CODE_BASE, writable */
static u8 altstack[1 << 16] __attribute__((aligned(64)));
static int running, alarmed;
static u8 ldt; /* see has_ldt */

/* mix makes test memory's content of its address; see fill in proto.go. */
static u64 mix(u64 x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* own tells whether n bytes at a are test memory. */
static int own(u64 a, u64 n)
{
	for (int i = 0; i < REGIONS; i++)
		if (a - region[i].base < region[i].size && region[i].base + region[i].size - a >= n)
			return 1;
	return 0;
}

/* used tells which components are not in their initial state, as AMD's processors
 * do themselves: Intel's take for used whatever was loaded from memory. */
static u64 used(void)
{
	static const u8 zero[sizeof vin.xmm];
	static const u16 init[4] = {0x37f};
	u64 u = 0;
	if (memcmp(&vin, init, sizeof init) || vin.fip | vin.fdp || memcmp(vin.st, zero, sizeof vin.st))
		u |= 1;
	if (memcmp(vin.xmm, zero, sizeof zero))
		u |= 2;
	if (memcmp(vin.ymmh, zero, sizeof zero))
		u |= 4;
	return u;
}

/* set_base sets a segment's base. A kernel in user mode may not know of the instruction and
 * lose what that has set. */
static void set_base(int how, u64 base)
{
	if (!ldt && SYS(SYS_ARCH_PRCTL, how, base, 0) == 0)
		return;
	if (how == ARCH_SET_FS)
		__asm__ volatile("wrfsbase %0" : : "r"(base));
	else
		__asm__ volatile("wrgsbase %0" : : "r"(base));
}

/* load makes the frame that of the case in in. */
static void load(struct ucontext *u)
{
	u64 *s = before;
	for (int i = 0; i < REGIONS; i++)
		memcpy((u8 *)region[i].base, plain + (s - before), region[i].size), s += region[i].size / 8;
	for (int i = 0; i < in.nwin; i++)
		for (int k = 0; k < 8; k++)
			if (own(in.win[i].addr + k, 1))
				*(u8 *)(in.win[i].addr + k) = in.win[i].val >> 8 * k;
	s = before;
	for (int i = 0; i < REGIONS; i++)
		memcpy(s, (u8 *)region[i].base, region[i].size), s += region[i].size / 8;
	u64 off = (u32)in.rip + (in.sel[1] == 0x0f ? CODE_BASE : 0) - CODE_BASE;
	for (int i = 0; i < in.len; i++)
		if (off + i < CODE_SIZE)
			code[off + i] = in.code[i];

	u->rax = in.r[0], u->rcx = in.r[1], u->rdx = in.r[2], u->rbx = in.r[3];
	u->rsp = in.r[4], u->rbp = in.r[5], u->rsi = in.r[6], u->rdi = in.r[7];
	u->r8 = in.r[8], u->r9 = in.r[9], u->r10 = in.r[10], u->r11 = in.r[11];
	u->r12 = in.r[12], u->r13 = in.r[13], u->r14 = in.r[14], u->r15 = in.r[15];
	u->rip = in.rip, u->rflags = in.rflags;
	u->cs = in.sel[1], u->ss = in.sel[2];
	u->flags |= UC_SS | UC_STRICT_SS;
	__asm__ volatile("mov %0,%%es" : : "r"((u32)in.sel[0]));
	__asm__ volatile("mov %0,%%ds" : : "r"((u32)in.sel[3]));
	__asm__ volatile("mov %0,%%fs" : : "r"((u32)in.sel[4]));
	__asm__ volatile("mov %0,%%gs" : : "r"((u32)in.sel[5]));
	if (in.sel[4] == 0)
		set_base(ARCH_SET_FS, in.fsbase);
	if (in.sel[5] == 0)
		set_base(ARCH_SET_GS, in.gsbase);

	u8 *f = u->fpstate;
	if (in.flags & FLAG_VEC) {
		*(u16 *)f = vin.fcw, *(u16 *)(f + 2) = vin.fsw, f[4] = vin.ftw, *(u32 *)(f + 24) = vin.mxcsr;
		*(u16 *)(f + 6) = vin.fop, *(u64 *)(f + 8) = vin.fip, *(u64 *)(f + 16) = vin.fdp;
		memcpy(f + 32, vin.st, sizeof vin.st);
		memcpy(f + 160, vin.xmm, sizeof vin.xmm);
		*(u64 *)(f + 512) = used();
		memcpy(f + 576, vin.ymmh, sizeof vin.ymmh);
	} else
		*(u64 *)(f + 512) = 0; /* all in its initial state */
	running = 1;
}

/* store takes the result out of the frame. */
static void store(struct ucontext *u)
{
	out.id = in.id;
	out.err = u->err;
	out.cr2 = u->trapno == 14 ? u->cr2 : 0;
	u64 r[16] = {u->rax, u->rcx, u->rdx, u->rbx, u->rsp, u->rbp, u->rsi, u->rdi,
		u->r8, u->r9, u->r10, u->r11, u->r12, u->r13, u->r14, u->r15};
	memcpy(out.r, r, sizeof r);
	out.rflags = u->rflags, out.rip = u->rip;
	out.sel[1] = u->cs, out.sel[2] = u->ss;
	__asm__ volatile("mov %%es,%0" : "=r"(out.sel[0]));
	__asm__ volatile("mov %%ds,%0" : "=r"(out.sel[3]));
	__asm__ volatile("mov %%fs,%0" : "=r"(out.sel[4]));
	__asm__ volatile("mov %%gs,%0" : "=r"(out.sel[5]));
	__asm__ volatile("rdfsbase %0" : "=r"(out.fsbase));
	__asm__ volatile("rdgsbase %0" : "=r"(out.gsbase));
	u32 n = 0;
	u64 *s = before;
	for (int i = 0; i < REGIONS; i++)
		for (u64 a = region[i].base; a < region[i].base + region[i].size; a += 8, s++)
			if (*(u64 *)a != *s)
				diff[n].addr = a, diff[n++].val = *(u64 *)a;
	out.ndiff = n;
	emit(&out, sizeof out);
	emit(diff, n * sizeof *diff);
	if (in.flags & FLAG_VEC) {
		u8 *f = u->fpstate;
		u64 bv = *(u64 *)(f + 512);
		memset(&vout, 0, sizeof vout);
		vout.fcw = 0x37f;
		vout.mxcsr = *(u32 *)(f + 24);
		if (bv & 1) {
			vout.fcw = *(u16 *)f, vout.fsw = *(u16 *)(f + 2), vout.ftw = f[4];
			vout.fop = *(u16 *)(f + 6), vout.fip = *(u64 *)(f + 8), vout.fdp = *(u64 *)(f + 16);
			for (int i = 0; i < 8; i++)
				memcpy(vout.st[i], f + 32 + 16 * i, 10);
		}
		if (bv & 2)
			memcpy(vout.xmm, f + 160, sizeof vout.xmm);
		if (bv & 4)
			memcpy(vout.ymmh, f + 576, sizeof vout.ymmh);
		emit(&vout, sizeof vout);
	}
	u64 off = (u32)in.rip + (in.sel[1] == 0x0f ? CODE_BASE : 0) - CODE_BASE;
	for (int i = 0; i < in.len; i++)
		if (off + i < CODE_SIZE)
			code[off + i] = 0xcc;
}

/* on_signal ends one case and starts the next. An alarm during a case starts it
 * again, the second one ends it: it runs in circles. */
__attribute__((used)) void on_signal(int sig, void *info, struct ucontext *u)
{
	(void)info;
	if (sig == 14 && running) {
		if (!alarmed++) {
			load(u);
			return;
		}
		out.trap = -2;
		u->err = u->trapno = 0;
	} else
		out.trap = u->trapno;
	if (running)
		store(u);
	alarmed = running = 0;
	take(&in, sizeof in);
	if (in.flags & FLAG_VEC)
		take(&vin, sizeof vin);
	load(u);
}

void entry(void), restorer(void);
__asm__(
	".globl _start\n_start: xor %ebp,%ebp\n and $-64,%rsp\n call start\n"
	/* The handler begins with the case's AC, NT and ID. */
	".globl entry\nentry: pushq $0x202\n popfq\n jmp on_signal\n"
	".globl restorer\nrestorer: mov $15,%eax\n syscall\n");

/* descriptors are the LDT's; see ldt in machine.go. */
struct descriptor { u32 number, base, limit, flags; };
enum { D32 = 1, DOWN = 1 << 1, CODE = 2 << 1, CONFORMING = 3 << 1, READONLY = 1 << 3, PAGES = 1 << 4, ABSENT = 1 << 5 };

static void make_ldt(void)
{
	const struct descriptor d[] = {
		{0, 0, 0xfffff, D32 | CODE | PAGES},
		{1, CODE_BASE, 0xffff, CODE},
		{2, 0x20000000, 0x1fff, 0},
		{3, 0x30001000, 0xffff, 0},
		{4, 0x20000000, 0x1fff, D32 | READONLY},
		{5, 0x20000000, 0xfff, D32 | DOWN},
		{6, 0x20000000, 0xfff, DOWN},
		{7, 0x20000000, 0x1fff, D32 | ABSENT},
		{8, 0x20000000, 0x1fff, D32 | CODE | READONLY},
		{9, CODE_BASE, 0xffff, CONFORMING | ABSENT},
		{10, 0x20000000, 0xff, D32},
		{11, 0x20000000, 0xffff, 0},
	};
	for (u32 i = 0; i < sizeof d / sizeof *d; i++)
		if (SYS(SYS_MODIFY_LDT, 0x11, d + i, sizeof *d) != 0)
			die("exec: cannot write a descriptor of the LDT\n");
}

/* has_ldt tells whether the LDT is there. It is not where the kernel does not run on the
 * processor itself but in user mode under another one. */
static u8 has_ldt(void)
{
	u8 ok;
	u32 rights;
	__asm__ volatile("lar %2,%0\n setz %1" : "=r"(rights), "=q"(ok) : "r"(0x7));
	return ok;
}

static void map(u64 addr, u64 size, int prot, int fd)
{
	int shared = fd >= 0;
	if ((u64)syscall6(SYS_MMAP, addr, size, prot, (shared ? 1 : 0x22) | 0x10 | 0x100000, fd, 0) != addr)
		die("exec: cannot map test memory\n");
}

__attribute__((used)) void start(void)
{
	int fd = SYS(SYS_MEMFD, "code", 0, 0);
	if (fd < 0 || SYS(SYS_FTRUNCATE, fd, CODE_SIZE, 0) != 0)
		die("exec: cannot make code memory\n");
	map(CODE_BASE, CODE_SIZE, 5, fd);
	code = (u8 *)syscall6(SYS_MMAP, 0, CODE_SIZE, 3, 1, fd, 0);
	memset(code, 0xcc, CODE_SIZE);
	u64 *p = plain;
	for (int i = 0; i < REGIONS; i++) {
		map(region[i].base, region[i].size, 3, -1);
		for (u64 a = region[i].base; a < region[i].base + region[i].size; a += 8)
			*p++ = mix(a);
	}
	make_ldt();
	ldt = has_ldt();
	emit(&ldt, 1);
	flush();
	struct { void *sp; int flags, pad; u64 size; } ss = {altstack, 0, 0, sizeof altstack};
	SYS(SYS_SIGALTSTACK, &ss, 0, 0);
	void *e, *r;
	__asm__("lea entry(%%rip),%0" : "=r"(e));
	__asm__("lea restorer(%%rip),%0" : "=r"(r));
	struct { void *handler; u64 flags; void *restorer; u64 mask; } sa = {e, 0x0c000004, r, ~0ul};
	static const u8 sigs[] = {4, 5, 7, 8, 11, 14};
	for (u64 i = 0; i < sizeof sigs; i++)
		if (syscall6(SYS_SIGACTION, sigs[i], (long)&sa, 0, 8, 0, 0) != 0)
			die("exec: cannot handle a signal\n");
	u64 every[4] = {0, 20000, 0, 20000};
	SYS(SYS_SETITIMER, 0, every, 0);
	__asm__ volatile("int3");
	die("exec: unreachable\n");
}
