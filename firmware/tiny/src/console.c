/* console.c: the first serial port and printf. Output polls THRE, input comes
 * by interrupt into a ring [PC16550D 8]. */
#include "tiny.h"

enum { COM1 = 0x3f8, RBR = COM1, THR = COM1, DLL = COM1, DLM = COM1 + 1, IER = COM1 + 1,
       IIR = COM1 + 2, FCR = COM1 + 2, LCR = COM1 + 3, MCR = COM1 + 4, LSR = COM1 + 5 };
enum { FIFO = 16, RING = 4096, CTRL_C = 3 };

static u8 ring[RING];
static volatile u32 ring_in, ring_out; /* free running */
static volatile bool ctrl_c, paused;
static bool by_irq;
static int room; /* bytes the transmit FIFO surely takes */

void console_init(void)
{
	outb(IER, 0);
	outb(LCR, 0x80);
	outb(DLL, 1); /* 115200 */
	outb(DLM, 0);
	outb(LCR, 0x03); /* 8n1 */
	outb(FCR, 0x07); /* FIFOs on and cleared, interrupt at one byte */
	outb(MCR, 0x0b); /* DTR, RTS, OUT2: the interrupt's gate */
}

void console_irq_enable(void)
{
	by_irq = true;
	outb(IER, 1);
}

/* console_irq moves received bytes to the ring until the UART has none.
 * Why: when the ring is full the receive interrupt goes off instead of bytes
 * being dropped; the FIFO then fills and the sender sees it. */
void console_irq(void)
{
	inb(IIR);
	while (inb(LSR) & 1) {
		if (ring_in - ring_out == RING) {
			paused = true;
			outb(IER, 0);
			return;
		}
		u8 c = inb(RBR);
		if (c == CTRL_C)
			ctrl_c = true;
		else
			ring[ring_in++ % RING] = c;
	}
}

static void send(u8 c)
{
	if (room == 0) {
		while (!(inb(LSR) & 0x20))
			;
		room = FIFO;
	}
	room--;
	outb(THR, c);
}

void putc(char c)
{
	if (c == '\n')
		send('\r');
	send((u8)c);
}

bool key_waiting(void) { return ring_in != ring_out || ctrl_c; }
bool interrupted(void) { return ctrl_c; }
void interrupt_clear(void) { ctrl_c = false; }

/* getc waits in HLT for a byte. */
int getc(void)
{
	cli();
	while (ring_in == ring_out) {
		ctrl_c = false; /* at the prompt ^C does nothing */
		sti_hlt_cli();
	}
	int c = ring[ring_out++ % RING];
	if (paused && ring_in - ring_out <= RING / 2) {
		paused = false;
		outb(IER, 1);
		console_irq();
	}
	sti();
	return c;
}

static void put_str(const char *s)
{
	while (*s)
		putc(*s++);
}

static void put_num(u64 v, u64 base, int width, char pad)
{
	char buf[24];
	int n = 0;
	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	for (; width > n; width--)
		putc(pad);
	while (n > 0)
		putc(buf[--n]);
}

/* printf knows %s %c %d %u %x %%, the flag 0, a width and the length l. */
void printf(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			putc(*fmt);
			continue;
		}
		char pad = ' ';
		int width = 0;
		bool wide = false;
		if (*++fmt == '0')
			pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		if (*fmt == 'l') {
			wide = true;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			put_str(va_arg(ap, const char *));
			break;
		case 'c':
			putc((char)va_arg(ap, int));
			break;
		case 'd':
			put_num((u64)va_arg(ap, int), 10, width, pad);
			break;
		case 'u':
			put_num(wide ? va_arg(ap, u64) : va_arg(ap, u32), 10, width, pad);
			break;
		case 'x':
			put_num(wide ? va_arg(ap, u64) : va_arg(ap, u32), 16, width, pad);
			break;
		default:
			putc(*fmt);
		}
	}
	va_end(ap);
}
