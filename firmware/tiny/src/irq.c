/* irq.c: interrupt controllers, the 100 Hz tick of the PIT and the LAPIC timer.
 * IOAPIC and LAPIC when they answer, else (or with `pic` on the command line)
 * the two 8259s. */
#include "tiny.h"

enum { PIT_DIVISOR = 11932 }; /* 1193182 / 100 [8254] */
enum { PIC0 = 0x20, PIC1 = 0xa0, PIC_EOI = 0x20 };
/* LAPIC registers by offset [SDM 3A 11.4.1]. */
enum { L_VERSION = 0x30, L_TPR = 0x80, L_EOI = 0xb0, L_SVR = 0xf0, L_TIMER = 0x320, L_LINT0 = 0x350,
       L_LINT1 = 0x360, L_INIT = 0x380, L_COUNT = 0x390, L_DIV = 0x3e0 };
enum { LVT_MASKED = 1 << 16, LVT_EXTINT = 0x700, LVT_NMI = 0x400, DIV_16 = 3 };

static volatile u64 tick_count;
static volatile bool timer_fired;
static bool have_lapic, have_ioapic;
static u64 lapic_per_ms; /* 0: not yet measured */

static u32 lapic_read(u32 reg) { return *(volatile u32 *)(acpi.lapic + reg); }
static void lapic_write(u32 reg, u32 v) { *(volatile u32 *)(acpi.lapic + reg) = v; }

static u32 ioapic_read(u32 reg)
{
	*(volatile u32 *)acpi.ioapic = reg;
	return *(volatile u32 *)(acpi.ioapic + 0x10);
}

static void ioapic_write(u32 reg, u32 v)
{
	*(volatile u32 *)acpi.ioapic = reg;
	*(volatile u32 *)(acpi.ioapic + 0x10) = v;
}

static bool answers(u32 version) { return version != 0 && version != ~0u; }

/* pic_init moves the 8259s to vectors 32-47 [8259A]; mask is of IRQ 0-7. */
static void pic_init(u8 mask)
{
	outb(PIC0, 0x11);
	outb(PIC1, 0x11);
	outb(PIC0 + 1, VEC_PIC);
	outb(PIC1 + 1, VEC_PIC + 8);
	outb(PIC0 + 1, 4);
	outb(PIC1 + 1, 2);
	outb(PIC0 + 1, 1);
	outb(PIC1 + 1, 1);
	outb(PIC0 + 1, mask);
	outb(PIC1 + 1, 0xff);
}

static void lapic_init(u32 lint0)
{
	lapic_write(L_SVR, 0x100 | VEC_SPURIOUS);
	lapic_write(L_TPR, 0);
	lapic_write(L_LINT0, lint0);
	lapic_write(L_LINT1, LVT_NMI);
	lapic_write(L_TIMER, LVT_MASKED | VEC_LAPIC_TIMER);
	lapic_write(L_DIV, DIV_16);
}

/* route sends an ISA interrupt to this CPU, with the polarity and trigger mode
 * of the MADT's override [ACPI 6.5 5.2.12.5]. */
static void route(int irq, u8 vec)
{
	u32 pin = acpi.irq_gsi[irq] - acpi.gsi_base, flags = acpi.irq_flags[irq];
	u32 low = vec;
	if ((flags & 3) == 3)
		low |= 1 << 13;
	if ((flags >> 2 & 3) == 3)
		low |= 1 << 15;
	ioapic_write(0x11 + 2 * pin, 0); /* physical destination, APIC 0 */
	ioapic_write(0x10 + 2 * pin, low);
}

static void ioapic_init(void)
{
	u32 pins = (ioapic_read(1) >> 16 & 0xff) + 1;
	for (u32 i = 0; i < pins; i++)
		ioapic_write(0x10 + 2 * i, LVT_MASKED);
	route(0, VEC_PIT);
	route(4, VEC_COM1);
}

void irq_init(bool force_pic)
{
	have_lapic = answers(lapic_read(L_VERSION));
	have_ioapic = have_lapic && !force_pic && answers(ioapic_read(1));
	pic_init(have_ioapic ? 0xff : (u8)~(1 << 0 | 1 << 4));
	if (have_lapic)
		lapic_init(have_ioapic ? LVT_MASKED : LVT_EXTINT);
	if (have_ioapic)
		ioapic_init();
	outb(0x43, 0x34); /* counter 0, both bytes, mode 2 */
	outb(0x40, PIT_DIVISOR & 0xff);
	outb(0x40, PIT_DIVISOR >> 8);
	console_irq_enable();
	sti();
}

const char *irq_mode(void) { return have_ioapic ? "ioapic" : "pic"; }

static void eoi(u64 vec)
{
	if (have_ioapic || vec == VEC_LAPIC_TIMER)
		lapic_write(L_EOI, 0);
	else
		outb(PIC0, PIC_EOI);
}

/* irq_handle serves one interrupt; false for a vector nobody asked for.
 * Vector 39 is the 8259's spurious IRQ7; like 63 it wants no EOI. */
bool irq_handle(u64 vec)
{
	switch (vec) {
	case VEC_PIT:
		tick_count++;
		break;
	case VEC_COM1:
		console_irq();
		break;
	case VEC_LAPIC_TIMER:
		timer_fired = true;
		break;
	case VEC_PIC + 7:
	case VEC_SPURIOUS:
		return true;
	default:
		return false;
	}
	eoi(vec);
	return true;
}

u64 ticks(void) { return tick_count; }

static void wait_tick(u64 until)
{
	cli();
	while (tick_count < until && !interrupted())
		sti_hlt_cli();
	sti();
}

/* measure counts LAPIC timer steps over five ticks, once. */
static void measure(void)
{
	wait_tick(tick_count + 1);
	u64 t0 = tick_count;
	lapic_write(L_INIT, ~0u);
	wait_tick(t0 + 5);
	u64 ms = (tick_count - t0) * 1000 / HZ;
	lapic_per_ms = ms ? (~0u - lapic_read(L_COUNT)) / ms : 0;
	lapic_write(L_INIT, 0);
	if (!lapic_per_ms)
		lapic_per_ms = 1;
}

/* one_shot waits for ms (at most 1000) on the LAPIC timer; false if it did not
 * fire within twice that time and ten ticks more. */
static bool one_shot(u64 ms)
{
	u64 limit = tick_count + 2 * ms * HZ / 1000 + 10;
	u64 n = ms * lapic_per_ms;
	timer_fired = false;
	lapic_write(L_TIMER, VEC_LAPIC_TIMER);
	lapic_write(L_INIT, n > ~0u ? ~0u : (u32)n);
	cli();
	while (!timer_fired && tick_count < limit && !interrupted())
		sti_hlt_cli();
	sti();
	lapic_write(L_TIMER, LVT_MASKED | VEC_LAPIC_TIMER);
	return timer_fired || interrupted();
}

/* sleep_ms returns false if the LAPIC timer was silent and ticks had to serve. */
bool sleep_ms(u64 ms)
{
	if (have_lapic && !lapic_per_ms)
		measure();
	bool good = true;
	while (ms && !interrupted()) {
		u64 part = ms > 1000 ? 1000 : ms;
		if (!have_lapic)
			wait_tick(tick_count + (part * HZ + 999) / 1000);
		else if (!one_shot(part))
			good = false;
		ms -= part;
	}
	return good;
}
