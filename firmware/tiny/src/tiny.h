/* tiny.h: everything the files of tiny share. Manuals are cited as in docs/REFERENCES.md. */
#ifndef TINY_H
#define TINY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE 4096ul
#define HZ 100u /* PIT interrupts a second */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Virtual areas mapped on demand; the identity map lies below both. */
#define HOG_BASE 0x400000000000ul
#define TEST_BASE 0x500000000000ul

/* Page table entry bits [SDM 3A 4.5]. */
#define PTE_P 0x1ul
#define PTE_W 0x2ul
#define PTE_PWT 0x8ul
#define PTE_PCD 0x10ul
#define PTE_A 0x20ul
#define PTE_D 0x40ul
#define PTE_PS 0x80ul
#define PTE_NX (1ul << 63)
#define PTE_ADDR 0x000ffffffffff000ul

/* RFLAGS bits. */
#define FL_CF 0x1ul
#define FL_PF 0x4ul
#define FL_AF 0x10ul
#define FL_ZF 0x40ul
#define FL_SF 0x80ul
#define FL_TF 0x100ul
#define FL_IF 0x200ul
#define FL_DF 0x400ul
#define FL_OF 0x800ul

/* Interrupt vectors. */
enum { VEC_PF = 14, VEC_PIC = 32, VEC_PIT = 32, VEC_COM1 = 36, VEC_LAPIC_TIMER = 48, VEC_SPURIOUS = 63 };

static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { asm volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port)
{
	u8 v;
	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u16 inw(u16 port)
{
	u16 v;
	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)));
}
static inline void cpuid(u32 leaf, u32 r[4])
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}
static inline void cli(void) { asm volatile("cli" : : : "memory"); }
static inline void sti(void) { asm volatile("sti" : : : "memory"); }
/* Preconditions: interrupts off. No interrupt is lost between STI and HLT. */
static inline void sti_hlt_cli(void) { asm volatile("sti; hlt; cli" : : : "memory"); }
static inline void invlpg(u64 va) { asm volatile("invlpg (%0)" : : "r"(va) : "memory"); }

/* string.c */
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
bool streq(const char *a, const char *b);
bool parse_num(const char *s, u64 *out);
u64 hash_fold(u64 h, u64 v);

/* console.c */
void console_init(void);
void console_irq_enable(void);
void console_irq(void);
void putc(char c);
void printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int getc(void);
bool key_waiting(void);
bool interrupted(void);
void interrupt_clear(void);

/* boot.S, trap.c */
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vec, err, rip, cs, rflags, rsp, ss;
};
struct mark {
	u64 rbx, rbp, r12, r13, r14, r15, rsp, rip;
};
struct fault {
	u64 vec, err, rip, cr2;
	u64 rcx, rsi, rdi; /* how far a string instruction came */
};
int mark(struct mark *m) __attribute__((returns_twice));
void trap_init(void);
int try(void (*fn)(void *), void *arg, bool verbose);
extern struct fault last_fault;
const char *vec_name(u64 vec);

/* irq.c */
void irq_init(bool force_pic);
bool irq_handle(u64 vec);
u64 ticks(void);
bool sleep_ms(u64 ms);
const char *irq_mode(void);

/* acpi.c */
struct acpi {
	u64 lapic, ioapic;
	u32 irq_gsi[16], irq_flags[16];
	u32 gsi_base;
	u16 pm1a_cnt, smi_cmd;
	u8 acpi_enable, slp_typ;
	bool have_pm, have_s5, have_reset;
	u16 reset_port;
	u8 reset_value;
};
extern struct acpi acpi;
void acpi_init(u64 rsdp);
void poweroff(void);
void reboot(void);

/* mm.c */
struct start_info;
bool mm_init(const struct start_info *si);
u64 mm_ram_bytes(void);
void mm_print(void);
u64 frame_alloc(void);
void frame_free(u64 pa);
u64 frames_free(void);
bool map_page(u64 va, u64 pa, u64 flags);
u64 unmap_page(u64 va);
u64 *find_pte(u64 va);
bool have_nx(void);
void demand_area(u64 pages);
bool demand_fault(u64 va, u64 err);
u64 text_hash(void);
bool mm_check(u64 *h);

/* hog.c, selftest.c, shell.c */
void hog(u64 mib, u64 rate, int pattern, u64 passes);
int hog_pattern(const char *name);
void hog_release(void);
bool hog_check(u64 *h);
void selftest(void);
void shell_init(void);
void shell_run(const char *list);
void shell(void) __attribute__((noreturn));

/* selftest*.c share these. */
void expect(const char *what, u64 have, u64 want);
void selftest_alu(void);
void selftest_shift(void);
void selftest_muldiv(void);
void selftest_misc(void);
void selftest_string(void);
void selftest_system(void);

#endif
