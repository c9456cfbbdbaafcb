/* acpi.c: what tiny needs of ACPI: where the interrupt controllers are, how to
 * power off and how to reset [ACPI 6.5 5.2]. There is no AML interpreter: the
 * _S5_ package is found by its bytes. Tables are bounded before they are read. */
#include "tiny.h"

enum { MAX_TABLE = 1 << 20, GRACE_READS = 200000 };
enum { SCI_EN = 1, SLP_EN = 1 << 13 };

struct header {
	char sig[4];
	u32 len;
	u8 rest[28];
} __attribute__((packed));

/* Defaults are those of QEMU's pc, for a loader without ACPI. */
struct acpi acpi = {
	.lapic = 0xfee00000,
	.ioapic = 0xfec00000,
	.irq_gsi = { 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
};

static u16 get16(const u8 *p) { return (u16)(p[0] | p[1] << 8); }
static u32 get32(const u8 *p) { return get16(p) | (u32)get16(p + 2) << 16; }
static u64 get64(const u8 *p) { return get32(p) | (u64)get32(p + 4) << 32; }

static bool sums_to_zero(const u8 *p, size_t n)
{
	u8 sum = 0;
	while (n--)
		sum = (u8)(sum + *p++);
	return sum == 0;
}

/* table returns the table at pa if it is readable and whole, else null. */
static const u8 *table(u64 pa)
{
	const struct header *h = (const struct header *)pa;
	if (pa < PAGE || pa >= (1ul << 32) - MAX_TABLE)
		return NULL;
	if (h->len < sizeof(*h) || h->len > MAX_TABLE || !sums_to_zero((const u8 *)h, h->len))
		return NULL;
	return (const u8 *)h;
}

static void parse_madt(const u8 *t)
{
	u32 len = get32(t + 4);
	bool ioapic_seen = false;
	if (len < 44)
		return;
	acpi.lapic = get32(t + 36);
	for (int i = 0; i < 16; i++)
		acpi.irq_gsi[i] = (u32)i;
	for (u32 o = 44; o + 2 <= len && t[o + 1] >= 2 && o + t[o + 1] <= len; o += t[o + 1]) {
		const u8 *e = t + o;
		if (e[0] == 1 && e[1] >= 12 && !ioapic_seen) {
			acpi.ioapic = get32(e + 4);
			acpi.gsi_base = get32(e + 8);
			ioapic_seen = true;
		} else if (e[0] == 2 && e[1] >= 10 && e[3] < 16) {
			acpi.irq_gsi[e[3]] = get32(e + 4);
			acpi.irq_flags[e[3]] = get16(e + 8);
		}
	}
}

/* parse_s5 looks for Name(_S5_, Package{typ, ...}): "_S5_", PackageOp,
 * PkgLength, count, then a constant [ACPI 6.5 20.2.5]. */
static void parse_s5(const u8 *t)
{
	u32 len = get32(t + 4);
	for (u32 o = 36; o + 12 <= len && !acpi.have_s5; o++) {
		const u8 *p = t + o;
		if (memcmp(p, "_S5_", 4) != 0 || p[4] != 0x12)
			continue;
		p += 5;
		p += 1 + (*p >> 6) + 1; /* PkgLength is 1 to 4 bytes, the count one */
		if (p + 2 > t + len)
			return;
		acpi.slp_typ = (*p == 0x0a ? p[1] : p[0]) & 7; /* BytePrefix, ZeroOp or OneOp */
		acpi.have_s5 = true;
	}
}

static void parse_fadt(const u8 *t)
{
	u32 len = get32(t + 4);
	if (len < 116)
		return;
	acpi.smi_cmd = (u16)get32(t + 48);
	acpi.acpi_enable = t[52];
	acpi.pm1a_cnt = (u16)get32(t + 64);
	if (len >= 184 && !acpi.pm1a_cnt && t[172] == 1)
		acpi.pm1a_cnt = (u16)get64(t + 176); /* X_PM1a_CNT_BLK */
	acpi.have_pm = acpi.pm1a_cnt != 0;
	if (len >= 129 && (get32(t + 112) & 1 << 10) && t[116] == 1) {
		acpi.reset_port = (u16)get64(t + 120);
		acpi.reset_value = t[128];
		acpi.have_reset = true;
	}
	u64 dsdt = len >= 148 ? get64(t + 140) : 0;
	const u8 *d = table(dsdt ? dsdt : get32(t + 40));
	if (d && memcmp(d, "DSDT", 4) == 0)
		parse_s5(d);
}

static void parse_table(const u8 *t)
{
	if (!t)
		return;
	if (memcmp(t, "APIC", 4) == 0)
		parse_madt(t);
	if (memcmp(t, "FACP", 4) == 0)
		parse_fadt(t);
	if (memcmp(t, "SSDT", 4) == 0)
		parse_s5(t);
}

static bool is_rsdp(u64 pa)
{
	const u8 *p = (const u8 *)pa;
	return memcmp(p, "RSD PTR ", 8) == 0 && sums_to_zero(p, 20);
}

static u64 scan_rsdp(void)
{
	for (u64 pa = 0xe0000; pa < 0x100000; pa += 16)
		if (is_rsdp(pa))
			return pa;
	return 0;
}

void acpi_init(u64 rsdp)
{
	if (rsdp < PAGE || rsdp > 0xffffff00 || !is_rsdp(rsdp))
		rsdp = scan_rsdp();
	if (!rsdp)
		return;
	const u8 *r = (const u8 *)rsdp;
	bool x = r[15] >= 2 && get64(r + 24) != 0;
	const u8 *root = table(x ? get64(r + 24) : get32(r + 16));
	if (!root)
		return;
	u32 size = x ? 8 : 4;
	for (u32 o = 36; o + size <= get32(root + 4); o += size)
		parse_table(table(x ? get64(root + o) : get32(root + o)));
}

/* sleep_s5 follows [ACPI 6.5 4.8.3.2.1]: ACPI mode on first, then SLP_EN. */
static void sleep_s5(u16 cnt)
{
	if (!(inw(cnt) & SCI_EN) && acpi.have_pm && acpi.smi_cmd) {
		outb(acpi.smi_cmd, acpi.acpi_enable);
		for (int i = 0; i < 1000 && !(inw(cnt) & SCI_EN); i++)
			;
	}
	outw(cnt, (u16)(SLP_EN | acpi.slp_typ << 10 | SCI_EN));
}

/* grace gives the power time to go, without interrupts, which may not work. */
static void grace(void)
{
	for (int i = 0; i < GRACE_READS; i++)
		inb(0x80);
}

/* poweroff tries the FADT's register, then the ports of QEMU and Bochs, then
 * the debug exit. It returns only if nothing worked. Why the pauses: the power
 * may go a little after the write, and the next attempt would say otherwise. */
void poweroff(void)
{
	if (acpi.have_pm) {
		sleep_s5(acpi.pm1a_cnt);
		grace();
	}
	outw(0x604, SLP_EN);
	outw(0xb004, SLP_EN);
	grace();
	outb(0xf4, 0);
}

/* reboot tries the FADT's reset register, CF9, the keyboard controller, then a
 * triple fault. */
void reboot(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) none = { 0, 0 };
	if (acpi.have_reset) {
		outb(acpi.reset_port, acpi.reset_value);
		grace();
	}
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
	grace();
	outb(0x64, 0xfe);
	grace();
	asm volatile("lidt %0; int3" : : "m"(none));
}
