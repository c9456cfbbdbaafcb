/* shell.c: the commands and the line editor. */
#include "tiny.h"

enum { LINE = 256, ARGS = 8 };

struct command {
	const char *name, *args, *help;
	int min, max; /* arguments */
	void (*run)(int argc, char **argv, const char *rest);
};
static const struct command commands[];

/* num reads argument i, or complains. */
static bool num(char **argv, int i, u64 *out)
{
	if (parse_num(argv[i], out))
		return true;
	printf("%s: %s is not a number\n", argv[0], argv[i]);
	return false;
}

static void cmd_echo(int argc, char **argv, const char *rest) { printf("%s\n", rest); }
static void cmd_mem(int argc, char **argv, const char *rest) { mm_print(); }
static void cmd_ticks(int argc, char **argv, const char *rest) { printf("%lu\n", ticks()); }
static void cmd_free(int argc, char **argv, const char *rest)
{
	hog_release();
	printf("free: %lu pages\n", frames_free());
}

static void cmd_uptime(int argc, char **argv, const char *rest)
{
	u64 t = ticks();
	printf("%lu.%02lu s, %s\n", t / HZ, t % HZ * 100 / HZ, irq_mode());
}

/* cmd_count prints after each 1000 steps of Knuth's MMIX generator from 0. */
static void cmd_count(int argc, char **argv, const char *rest)
{
	u64 n, x = 0;
	if (!num(argv, 1, &n))
		return;
	for (u64 i = 1; i <= n && !interrupted(); i++) {
		for (int k = 0; k < 1000; k++)
			x = x * 6364136223846793005ul + 1442695040888963407ul;
		printf("%lu %016lx\n", i, x);
	}
}

/* cmd_spin runs Marsaglia's xorshift64 (13, 7, 17) from 1. */
static void cmd_spin(int argc, char **argv, const char *rest)
{
	u64 n, x = 1;
	if (!num(argv, 1, &n))
		return;
	for (u64 i = 0; i < n && !interrupted(); i++) {
		for (int k = 0; k < 1000000; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
	}
	printf("spin: %016lx\n", x);
}

static void cmd_sleep(int argc, char **argv, const char *rest)
{
	u64 ms;
	if (num(argv, 1, &ms) && !sleep_ms(ms))
		printf("sleep: lapic timer silent, ticks used\n");
}

struct access {
	u64 addr, val;
	bool write;
};

static void do_access(void *arg)
{
	struct access *a = arg;
	volatile u64 *p = (volatile u64 *)a->addr;
	if (a->write)
		*p = a->val;
	else
		a->val = *p;
}

static bool guarded(const char *name, struct access *a)
{
	int vec = try(do_access, a, false);
	if (vec >= 0)
		printf("%s: #%s error %lx at %lx\n", name, vec_name((u64)vec), last_fault.err, a->addr);
	return vec < 0;
}

static void cmd_peek(int argc, char **argv, const char *rest)
{
	struct access a = { 0, 0, false };
	u64 n = 1;
	if (!num(argv, 1, &a.addr) || (argc > 2 && !num(argv, 2, &n)))
		return;
	for (; n > 0 && guarded("peek", &a); n--, a.addr += 8)
		printf("%016lx: %016lx\n", a.addr, a.val);
}

static void cmd_poke(int argc, char **argv, const char *rest)
{
	struct access a = { 0, 0, true };
	if (num(argv, 1, &a.addr) && num(argv, 2, &a.val))
		guarded("poke", &a);
}

#define READ_CR(n, v) asm volatile("mov %%cr" #n ", %0" : "=r"(v))

static void cmd_regs(int argc, char **argv, const char *rest)
{
	u64 cr0, cr2, cr3, cr4, rsp, flags;
	u16 tr, idt[5], gdt[5];
	READ_CR(0, cr0);
	READ_CR(2, cr2);
	READ_CR(3, cr3);
	READ_CR(4, cr4);
	asm volatile("mov %%rsp, %0; pushfq; popq %1; str %2" : "=r"(rsp), "=r"(flags), "=r"(tr));
	asm volatile("sidt %0; sgdt %1" : "=m"(idt), "=m"(gdt));
	printf("cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx\n", cr0, cr2, cr3, cr4, rdmsr(0xc0000080));
	printf("rsp %lx rflags %lx tr %x gdt %x%04x+%x idt %x%04x+%x\n", rsp, flags, (u32)tr, (u32)gdt[2],
	       (u32)gdt[1], (u32)gdt[0], (u32)idt[2], (u32)idt[1], (u32)idt[0]);
}

static void fault_div(void *arg)
{
	u64 zero = 0;
	asm volatile("xor %%edx, %%edx; mov $1, %%eax; divq %0" : : "r"(zero) : "rax", "rdx", "cc");
}
static void fault_ud(void *arg) { asm volatile("ud2"); }
static void fault_pf(void *arg) { *(volatile u64 *)0x7ffffffff000ul = 1; }
static void fault_gp(void *arg) { *(volatile u64 *)0x8000000000000000ul = 1; }
static void fault_bp(void *arg) { asm volatile("int3"); }
static void fault_wp(void *arg) { *(volatile u8 *)commands = 0; }
static void fault_null(void *arg) { *(volatile u64 *)arg = 0; }

static const struct {
	const char *name;
	void (*fn)(void *);
} faults[] = {
	{ "div", fault_div }, { "ud", fault_ud }, { "pf", fault_pf },     { "gp", fault_gp },
	{ "bp", fault_bp },   { "wp", fault_wp }, { "null", fault_null },
};

static void cmd_fault(int argc, char **argv, const char *rest)
{
	for (u32 i = 0; i < ARRAY_LEN(faults); i++) {
		if (!streq(faults[i].name, argv[1]))
			continue;
		int vec = try(faults[i].fn, NULL, true);
		if (vec < 0)
			printf("fault: none\n");
		else
			printf("fault: recovered from #%s\n", vec_name((u64)vec));
		return;
	}
	printf("fault: unknown kind %s\n", argv[1]);
}

static void cmd_selftest(int argc, char **argv, const char *rest) { selftest(); }

static void cmd_hog(int argc, char **argv, const char *rest)
{
	u64 mib, rate, passes = 0;
	int pattern = hog_pattern(argv[3]);
	if (!num(argv, 1, &mib) || !num(argv, 2, &rate) || (argc > 4 && !num(argv, 4, &passes)))
		return;
	if (pattern < 0)
		printf("hog: unknown pattern %s\n", argv[3]);
	else
		hog(mib, rate, pattern, passes);
}

static u64 text_at_boot;

static void cmd_check(int argc, char **argv, const char *rest)
{
	u64 h = text_hash();
	if (h != text_at_boot) {
		printf("check: BAD text have %016lx want %016lx\n", h, text_at_boot);
		return;
	}
	if (!mm_check(&h))
		return;
	if (hog_check(&h))
		printf("check: ok %016lx\n", h);
	else
		printf("check: BAD hog\n");
}

static void cmd_reboot(int argc, char **argv, const char *rest)
{
	reboot();
	printf("reboot: nothing happened\n");
}

static void cmd_exit(int argc, char **argv, const char *rest)
{
	u64 code;
	if (!num(argv, 1, &code))
		return;
	outb(0xf4, (u8)code);
	printf("exit: no debug exit port\n");
}

static void cmd_poweroff(int argc, char **argv, const char *rest)
{
	poweroff();
	printf("poweroff: nothing happened\n");
}

static void cmd_help(int argc, char **argv, const char *rest)
{
	for (const struct command *c = commands; c->name; c++)
		printf("  %s%s%s%s%s\n", c->name, *c->args ? " " : "", c->args, *c->help ? ": " : "", c->help);
}

static const struct command commands[] = {
	{ "help", "", "this list", 0, 0, cmd_help },
	{ "echo", "TEXT", "", 0, ARGS, cmd_echo },
	{ "mem", "", "memory map and pages", 0, 0, cmd_mem },
	{ "ticks", "", "timer interrupts so far", 0, 0, cmd_ticks },
	{ "uptime", "", "the same in seconds", 0, 0, cmd_uptime },
	{ "count", "N", "N lines, each after 1000 steps of a generator", 1, 1, cmd_count },
	{ "sleep", "MS", "wait in HLT", 1, 1, cmd_sleep },
	{ "spin", "N", "N million steps of xorshift64", 1, 1, cmd_spin },
	{ "peek", "ADDR [N]", "print 64-bit words", 1, 2, cmd_peek },
	{ "poke", "ADDR VAL", "write a 64-bit word", 2, 2, cmd_poke },
	{ "regs", "", "control registers", 0, 0, cmd_regs },
	{ "fault", "KIND", "div ud pf gp bp wp null", 1, 1, cmd_fault },
	{ "selftest", "", "instructions and paging, with known answers", 0, 0, cmd_selftest },
	{ "hog", "MIB RATE PATTERN [PASSES]", "write memory: seq page rand zero alt", 3, 4, cmd_hog },
	{ "check", "", "verify kernel, page tables and hog area", 0, 0, cmd_check },
	{ "free", "", "give the hog area back", 0, 0, cmd_free },
	{ "reboot", "", "", 0, 0, cmd_reboot },
	{ "exit", "CODE", "debug exit, port f4", 1, 1, cmd_exit },
	{ "poweroff", "", "ACPI S5", 0, 0, cmd_poweroff },
	{ NULL, NULL, NULL, 0, 0, NULL },
};

/* execute runs one line; it changes the line. */
static void execute(char *line)
{
	char *argv[ARGS + 1];
	int argc = 0;
	while (*line == ' ')
		line++;
	const char *rest = line;
	char copy[LINE];
	memcpy(copy, line, strlen(line) + 1);
	for (char *p = copy; *p && argc <= ARGS;) {
		argv[argc++] = p;
		while (*p && *p != ' ')
			p++;
		while (*p == ' ')
			*p++ = 0;
	}
	if (argc == 0)
		return;
	rest += strlen(argv[0]);
	while (*rest == ' ')
		rest++;
	for (const struct command *c = commands; c->name; c++) {
		if (!streq(c->name, argv[0]))
			continue;
		if (argc - 1 < c->min || (argc - 1 > c->max && c->max < ARGS))
			printf("usage: %s %s\n", c->name, c->args);
		else
			c->run(argc, argv, rest);
		interrupt_clear();
		return;
	}
	printf("%s: unknown command, try help\n", argv[0]);
}

static const char prompt[] = "tiny> ";

/* shell_run executes commands separated by ';', shown as if they were typed. */
void shell_run(const char *list)
{
	char line[LINE];
	while (*list) {
		size_t n = 0;
		while (*list == ' ')
			list++;
		for (; *list && *list != ';'; list++)
			if (n < LINE - 1)
				line[n++] = *list;
		if (*list == ';')
			list++;
		while (n > 0 && line[n - 1] == ' ')
			n--;
		line[n] = 0;
		if (n == 0)
			continue;
		printf("%s%s\n", prompt, line);
		execute(line);
	}
}

/* next_key drops escape sequences of the arrow and function keys. */
static int next_key(void)
{
	int c = getc();
	if (c != 0x1b)
		return c;
	c = getc();
	if (c != '[' && c != 'O')
		return 0;
	do
		c = getc();
	while (c < 0x40);
	return 0;
}

static void read_line(char *line)
{
	static bool after_cr;
	size_t n = 0;
	for (;;) {
		int c = next_key();
		bool lf_of_crlf = c == '\n' && after_cr;
		after_cr = c == '\r';
		if (lf_of_crlf)
			continue;
		if (c == '\r' || c == '\n')
			break;
		if ((c == '\b' || c == 0x7f) && n > 0) {
			n--;
			printf("\b \b");
		} else if (c >= ' ' && c < 0x7f && n < LINE - 1) {
			line[n++] = (char)c;
			putc((char)c);
		}
	}
	line[n] = 0;
	putc('\n');
}

void shell(void)
{
	char line[LINE];
	for (;;) {
		printf("%s", prompt);
		read_line(line);
		execute(line);
	}
}

void shell_init(void) { text_at_boot = text_hash(); }
