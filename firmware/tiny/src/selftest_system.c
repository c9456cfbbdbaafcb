/* selftest_system.c: exceptions, paging and the few system registers tiny needs. */
#include "selftest.h"

#define VA TEST_BASE
#define P(va) ((volatile u64 *)(va))

/* Page fault error code bits [SDM 3A 4.7]. */
enum { PF_P = 1, PF_W = 2, PF_RSVD = 8, PF_I = 16 };

#define ANY ~0ul /* an error code that is not compared */

static u64 mark_rip; /* where an exception should say it happened */

#define NOTE_RIP "leaq 1f(%%rip), %%rax; movq %%rax, %0; "
static void do_de(void *arg)
{
	asm volatile(NOTE_RIP "xorl %%edx, %%edx; movl $1, %%eax; xorl %%ecx, %%ecx; 1: divl %%ecx"
	             : "=m"(mark_rip) : : "rax", "rcx", "rdx", "cc");
}
static void do_ud(void *arg)
{
	asm volatile(NOTE_RIP "1: ud2" : "=m"(mark_rip) : : "rax");
}
static void do_bp(void *arg)
{
	asm volatile(NOTE_RIP "int3; 1:" : "=m"(mark_rip) : : "rax");
}
static void do_db(void *arg)
{
	asm volatile(NOTE_RIP "pushfq; orl $0x100, (%%rsp); popfq; nop; 1: nop"
	             : "=m"(mark_rip) : : "rax", "cc", "memory");
}
static void do_gp(void *arg)
{
	asm volatile(NOTE_RIP "movabsq $0x8000000000000000, %%rcx; 1: movq (%%rcx), %%rcx"
	             : "=m"(mark_rip) : : "rax", "rcx");
}
static void do_gate(void *arg)
{
	asm volatile(NOTE_RIP "1: int $0x50" : "=m"(mark_rip) : : "rax");
}
static void do_selector(void *arg)
{
	asm volatile(NOTE_RIP "movl $0x31, %%ecx; 1: movl %%ecx, %%ds" : "=m"(mark_rip) : : "rax", "rcx");
}
static const struct {
	const char *name;
	void (*fn)(void *);
	u64 vec, err;
} exceptions[] = {
	{ "de", do_de, 0, 0 },
	{ "db single step", do_db, 1, 0 },
	{ "bp", do_bp, 3, 0 },
	{ "ud", do_ud, 6, 0 },
	{ "gp not canonical", do_gp, 13, 0 },
	{ "gp empty gate", do_gate, 13, ANY }, /* QEMU 7.2 gives 16 * vector + 2, not 8 * */
	{ "gp selector", do_selector, 13, 0x30 }, /* RPL is not part of the code */
};

static void check_exceptions(void)
{
	for (int i = 0; i < (int)ARRAY_LEN(exceptions); i++) {
		expect(exceptions[i].name, (u64)try(exceptions[i].fn, NULL, false), exceptions[i].vec);
		if (exceptions[i].err != ANY)
			expect(exceptions[i].name, last_fault.err, exceptions[i].err);
		expect(exceptions[i].name, last_fault.rip, mark_rip);
	}
}

static void do_read(void *va) { (void)*P(va); }
static void do_write(void *va) { *P(va) = 0x1122334455667788; }
static void do_call(void *va) { ((void (*)(void))va)(); }
static void do_copy(void *va)
{
	u64 n = 100;
	asm volatile("rep stosb" : "+D"(va), "+c"(n) : "a"(7) : "memory");
}

/* expect_pf requires a page fault with this error code and address. */
static void expect_pf(const char *what, void (*fn)(void *), u64 va, u64 err, u64 cr2)
{
	expect(what, (u64)try(fn, (void *)va, false), VEC_PF);
	expect(what, last_fault.err, err);
	expect(what, last_fault.cr2, cr2);
}

static void expect_none(const char *what, void (*fn)(void *), u64 va)
{
	expect(what, (u64)try(fn, (void *)va, false), ~0ul);
}

static void set_pte(u64 va, u64 pte)
{
	*find_pte(va) = pte;
	invlpg(va);
}

static void check_mapping(u64 f, u64 g)
{
	map_page(VA, f, PTE_W);
	*(u64 *)f = 42;
	expect("map read", *P(VA), 42);
	expect("accessed", *find_pte(VA) & (PTE_A | PTE_D), PTE_A);
	*P(VA) = 43;
	expect("map write", *(u64 *)f, 43);
	expect("dirty", *find_pte(VA) & (PTE_A | PTE_D), PTE_A | PTE_D);
	map_page(VA + PAGE, f, PTE_W);
	P(VA + PAGE)[1] = 44;
	expect("alias", P(VA)[1], 44);
	*(u64 *)g = 45;
	set_pte(VA, g | PTE_P | PTE_W);
	expect("remap invlpg", *P(VA), 45);
	*find_pte(VA) = f | PTE_P | PTE_W;
	asm volatile("movq %%cr3, %%rax; movq %%rax, %%cr3" : : : "rax", "memory");
	expect("remap cr3", *P(VA), 43);
}

/* Preconditions: VA and VA + PAGE are mapped to f, as check_mapping leaves them. */
static void check_protection(u64 f)
{
	set_pte(VA, f | PTE_P);
	expect_none("read only read", do_read, VA);
	expect_pf("read only write", do_write, VA + 8, PF_P | PF_W, VA + 8);
	expect("read only kept", P(VA)[1], 44);
	*(u8 *)(f + 256) = 0xc3; /* RET */
	set_pte(VA, f | PTE_P | PTE_W);
	expect_none("execute", do_call, VA + 256);
	if (have_nx()) {
		set_pte(VA, f | PTE_P | PTE_W | PTE_NX);
		expect_pf("no execute", do_call, VA + 256, PF_P | PF_I, VA + 256);
		expect_none("no execute read", do_read, VA + 256);
	}
	u32 r[4];
	cpuid(0x80000008, r);
	if ((r[0] & 0xff) < 52) {
		set_pte(VA, f | PTE_P | PTE_W | 1ul << 51);
		expect("reserved bit", (u64)try(do_read, (void *)VA, false), VEC_PF);
		/* Why not PF_P: QEMU 7.2 leaves it clear here. */
		expect("reserved bit", last_fault.err & PF_RSVD, PF_RSVD);
	}
	set_pte(VA, f | PTE_P | PTE_W);
}

/* check_split: an access over a page boundary is all or nothing. */
static void check_split(u64 f, u64 g)
{
	u64 edge = VA + PAGE - 4;
	unmap_page(VA + PAGE);
	*(u32 *)(f + PAGE - 4) = 0xaaaaaaaa;
	expect_pf("split write", do_write, edge, PF_W, VA + PAGE);
	expect("split nothing written", *(u32 *)(f + PAGE - 4), 0xaaaaaaaa);
	expect_pf("split read", do_read, edge, 0, VA + PAGE);
	expect_pf("string stops", do_copy, VA + PAGE - 10, PF_W, VA + PAGE);
	expect("string rcx", last_fault.rcx, 90);
	expect("string rdi", last_fault.rdi, VA + PAGE);
	expect("string wrote", *(u8 *)(f + PAGE - 1), 7);
	map_page(VA + PAGE, g, PTE_W);
	expect_none("split mapped", do_write, edge);
	expect("split low", *(u32 *)(f + PAGE - 4), 0x55667788);
	expect("split high", *(u32 *)g, 0x11223344);
	expect("split back", *P(edge), 0x1122334455667788);
}

static void check_unmap(u64 f, u64 g)
{
	expect("unmap", unmap_page(VA), f);
	expect("unmap next", unmap_page(VA + PAGE), g);
	expect("unmap again", unmap_page(VA), 0);
	expect_pf("absent read", do_read, VA, 0, VA);
	expect_pf("absent write", do_write, VA + 16, PF_W, VA + 16);
	expect_pf("absent call", do_call, VA, have_nx() ? PF_I : 0, VA);
}

static void check_paging(void)
{
	u64 f = frame_alloc(), g = frame_alloc();
	if (!f || !g || !map_page(VA, f, PTE_W)) {
		expect("frames", 0, 1);
		return;
	}
	check_mapping(f, g);
	check_protection(f);
	check_split(f, g);
	check_unmap(f, g);
	frame_free(f);
	frame_free(g);
}

/* check_segments: FS and GS bases live in MSRs and SWAPGS exchanges them. */
static void check_segments(void)
{
	enum { FS_BASE = 0xc0000100u, GS_BASE, KERNEL_GS_BASE };
	static u64 x[2] = { 0x1234, 0x5678 };
	u64 a, b, c;
	wrmsr(FS_BASE, (u64)&x[0]);
	wrmsr(GS_BASE, (u64)&x[0]);
	wrmsr(KERNEL_GS_BASE, (u64)&x[1]);
	asm volatile("movq %%fs:8, %0; movq %%gs:0, %1; swapgs; movq %%gs:0, %2; swapgs"
	             : "=r"(a), "=r"(b), "=r"(c));
	expect("fs base", a, 0x5678);
	expect("gs base", b, 0x1234);
	expect("swapgs", c, 0x5678);
	expect("rdmsr", rdmsr(GS_BASE), (u64)&x[0]);
	wrmsr(FS_BASE, 0);
	wrmsr(GS_BASE, 0);
}

void selftest_system(void)
{
	check_exceptions();
	check_paging();
	check_segments();
}
