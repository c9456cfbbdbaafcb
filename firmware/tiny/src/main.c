/* main.c: from the loader's start_info to the prompt. */
#include "pvh.h"

enum { CMDLINE = 2048 };
static char cmdline[CMDLINE];

static void copy_cmdline(u64 pa)
{
	const char *p = (const char *)pa;
	for (int i = 0; p && p[i] && i < CMDLINE - 1; i++)
		cmdline[i] = p[i];
}

/* param returns what follows the word name at its first place, or null. */
static const char *param(const char *name)
{
	size_t n = strlen(name);
	for (const char *p = cmdline; *p; p++)
		if ((p == cmdline || p[-1] == ' ') && strlen(p) >= n && memcmp(p, name, n) == 0)
			return p + n;
	return NULL;
}

/* has_word tells whether the command line holds word before any run=. */
static bool has_word(const char *word)
{
	const char *p = param(word), *run = param("run=");
	return p && (*p == 0 || *p == ' ') && (!run || p < run);
}

/* run_param executes run=: all that follows, or what the quotes enclose. */
static void run_param(void)
{
	static char list[CMDLINE];
	const char *p = param("run=");
	if (!p)
		return;
	char end = 0;
	if (*p == '"' || *p == '\'')
		end = *p++;
	int n = 0;
	for (; *p && *p != end; p++)
		list[n++] = *p;
	shell_run(list);
}

static void die(const char *why)
{
	printf("tiny: %s\n", why);
	for (;;)
		asm volatile("cli; hlt");
}

void kmain(const struct start_info *si)
{
	console_init();
	trap_init();
	if (si->magic != PVH_MAGIC)
		die("no pvh start info");
	copy_cmdline(si->cmdline);
	acpi_init(si->rsdp);
	if (!mm_init(si))
		die("no memory map");
	shell_init();
	irq_init(has_word("pic"));
	printf("tiny: %lu MiB, pvh, cmdline \"%s\"\n", (mm_ram_bytes() + (1 << 20) - 1) >> 20, cmdline);
	run_param();
	shell();
}
