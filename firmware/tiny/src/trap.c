/* trap.c: descriptor tables, exceptions and recovery from them. */
#include "tiny.h"

struct gate {
	u16 off0, sel;
	u8 ist, type;
	u16 off1;
	u32 off2, zero;
};
struct tss {
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iomap;
} __attribute__((packed));
struct table_ptr {
	u16 limit;
	u64 base;
} __attribute__((packed));

extern char trap_stubs[], fault_stack_top[];
extern u64 gdt[];

enum { GATE_INT = 0x8e, VECTORS = 64, NMI = 2, DF = 8, MC = 18 };

static struct gate idt[256] __attribute__((aligned(16)));
static struct tss tss;

struct fault last_fault;
static struct mark *guard; /* where a fault resumes, or null */
static bool guard_verbose;

static const char *const names[] = {
	"DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "09", "TS",
	"NP", "SS", "GP", "PF", "0f", "MF", "AC", "MC", "XM", "VE", "CP",
};

const char *vec_name(u64 vec) { return vec < ARRAY_LEN(names) ? names[vec] : "??"; }

static void set_gate(int vec, int ist)
{
	u64 a = (u64)trap_stubs + (u64)vec * 16;
	idt[vec] = (struct gate){ (u16)a, 8, (u8)ist, GATE_INT, (u16)(a >> 16), (u32)(a >> 32), 0 };
}

/* trap_init loads the IDT and a TSS whose IST1 serves NMI, #DF and #MC
 * [SDM 3A 6.14.5]. Vectors above 63 stay absent: using one is a #GP. */
void trap_init(void)
{
	for (int v = 0; v < VECTORS; v++)
		set_gate(v, v == NMI || v == DF || v == MC);
	struct table_ptr p = { sizeof(idt) - 1, (u64)idt };
	asm volatile("lidt %0" : : "m"(p));

	u64 a = (u64)&tss;
	tss.ist[0] = (u64)fault_stack_top;
	tss.iomap = sizeof(tss);
	gdt[3] = (sizeof(tss) - 1) | (a & 0xffffff) << 16 | 0x89ul << 40 | (a >> 24 & 0xff) << 56;
	gdt[4] = a >> 32;
	asm volatile("ltr %w0" : : "r"(0x18));
}

static void dump(const struct frame *f, u64 cr2)
{
	printf("#%s vector %u error %lx rip %016lx cr2 %016lx\n", vec_name(f->vec), (u32)f->vec,
	       f->err, f->rip, cr2);
	printf("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	printf("rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
	printf("r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
	printf("r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
	printf("cs %lx ss %lx rflags %lx\n", f->cs, f->ss, f->rflags);
}

static void resume_at(struct frame *f, const struct mark *m)
{
	f->rbx = m->rbx;
	f->rbp = m->rbp;
	f->r12 = m->r12;
	f->r13 = m->r13;
	f->r14 = m->r14;
	f->r15 = m->r15;
	f->rsp = m->rsp;
	f->rip = m->rip;
	f->rax = f->vec + 1;
	f->rflags = FL_IF | 2;
}

/* trap is where every stub of boot.S lands. */
void trap(struct frame *f)
{
	u64 cr2 = 0;
	if (f->vec >= VEC_PIC && irq_handle(f->vec))
		return;
	if (f->vec == VEC_PF) {
		asm volatile("mov %%cr2, %0" : "=r"(cr2));
		if (demand_fault(cr2, f->err))
			return;
	}
	last_fault = (struct fault){ f->vec, f->err, f->rip, cr2, f->rcx, f->rsi, f->rdi };
	if (guard) {
		if (guard_verbose)
			dump(f, cr2);
		resume_at(f, guard);
		guard = NULL;
		return;
	}
	printf("\ntiny: unexpected exception\n");
	dump(f, cr2);
	printf("tiny: halted\n");
	for (;;)
		asm volatile("cli; hlt");
}

/* try calls fn(arg). It returns -1, or the vector of the exception that ended
 * fn, with last_fault filled in. Does not nest. */
int try(void (*fn)(void *), void *arg, bool verbose)
{
	struct mark m;
	int r = mark(&m);
	if (r)
		return r - 1;
	guard_verbose = verbose;
	guard = &m;
	asm volatile("" : : : "memory");
	fn(arg);
	asm volatile("" : : : "memory");
	guard = NULL;
	return -1;
}
