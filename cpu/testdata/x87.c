// x87 executes single x87 instructions on this host's own FPU, as the reference
// for the x87_*.go files. It reads struct request from stdin and writes struct
// answer to stdout, until end of file.
//
// The instruction stands at CODE + 0x100, right after the instructions that load
// the state. RBX points to the image that holds the state, RAX to mem, and FNSAVE
// stores the result. Nothing of the C library runs in between.
//
// Build: cc -O1 -o x87 x87.c
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define CODE 0x10000000
#define DATA 0x20000000

struct request { // 232 bytes
	uint8_t code[7], len;
	uint32_t flags; // RFLAGS, status flags only
	uint8_t image[108], mem[112]; // image: of FNSAVE, 32-bit protected mode
};

struct answer { // 232 bytes
	uint32_t trap, flags, eax; // trap: 0, or the vector
	uint8_t image[108], mem[112];
};

struct data { // at DATA; mem is first, so that RAX points to it
	uint8_t mem[112];
	uint64_t flags, flags_out, eax_out;
	uint8_t image[108], image_out[108];
};

static sigjmp_buf back;
static struct data *const d = (struct data *)DATA;

static void on_signal(int sig)
{
	siglongjmp(back, sig);
}

static uint8_t *emit(uint8_t *p, const char *bytes, size_t n, uint32_t disp)
{
	memcpy(p, bytes, n);
	memcpy(p + n, &disp, 4);
	return p + n + 4;
}

// assemble makes a function of the instruction; pushes keep the stack aligned.
static void assemble(const struct request *q)
{
	uint8_t *p = (uint8_t *)CODE + 0x100 - 19;

	p = emit(p, "\x53\xbb", 2, DATA);				   // push rbx; mov ebx, DATA
	p = emit(p, "\xdd\xa3", 2, offsetof(struct data, image));	   // frstor [rbx+]
	p = emit(p, "\xff\xb3", 2, offsetof(struct data, flags));	   // push [rbx+]
	memcpy(p, "\x9d", 1);						   // popf
	p++;
	memcpy(p, q->code, q->len);
	p += q->len;
	p = emit(p, "\xdd\xb3", 2, offsetof(struct data, image_out));	   // fnsave [rbx+]
	p = emit(p, "\x9c\x8f\x83", 3, offsetof(struct data, flags_out));  // pushf; pop [rbx+]
	p = emit(p, "\x48\x89\x83", 3, offsetof(struct data, eax_out));	   // mov [rbx+], rax
	memcpy(p, "\x5b\xc3", 2);					   // pop rbx; ret
}

static void run(const struct request *q, struct answer *r)
{
	uint64_t ax = DATA;

	assemble(q);
	memset(d, 0, sizeof *d);
	memcpy(d->mem, q->mem, sizeof d->mem);
	memcpy(d->image, q->image, sizeof d->image);
	d->flags = q->flags | 0x202;
	int sig = sigsetjmp(back, 1);
	if (sig == 0)
		asm volatile("call *%1" : "+a"(ax) : "r"((uint64_t)CODE + 0x100 - 19) : "rcx", "rdx", "cc", "memory");
	asm volatile("fninit");
	memset(r, 0, sizeof *r);
	r->trap = sig == SIGFPE ? 16 : sig == SIGILL ? 6 : sig;
	r->flags = d->flags_out & 0x8d5;
	r->eax = d->eax_out;
	memcpy(r->image, d->image_out, sizeof r->image);
	memcpy(r->mem, d->mem, sizeof r->mem);
}

int main(void)
{
	int prot = PROT_READ | PROT_WRITE | PROT_EXEC, how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	static struct request q;
	static struct answer r;

	if (mmap((void *)CODE, 4096, prot, how, -1, 0) == MAP_FAILED || mmap((void *)DATA, 4096, prot, how, -1, 0) == MAP_FAILED)
		return 1;
	for (int i = 0; i < 2; i++)
		signal((int[]){SIGFPE, SIGILL}[i], on_signal);
	while (fread(&q, sizeof q, 1, stdin) == 1) {
		struct answer last;

		// A task switch between two instructions loses FOP, FIP and FDP.
		run(&q, &r);
		do {
			last = r;
			run(&q, &r);
		} while (memcmp(&last, &r, sizeof r));
		fwrite(&r, sizeof r, 1, stdout);
	}
	return 0;
}
