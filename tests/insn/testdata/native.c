// Executes single instructions of user mode on this processor and tells what
// they did. Records come on standard input and go to standard output as
// native.go lays them out.
//
// Registers, flags and XSAVE state are loaded, then control jumps to the
// instruction. Straight after it stands a jump to "save", which stores all of
// them. The rest of the code page is INT3, so branches and exceptions arrive as
// signals, whose frame holds the state.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

enum { code = 0x10000000, codeSize = 0x10000, start = code + 0x8000 };
enum { data = 0x20000000, dataSize = 0x2000, dataAt = 0xf00, dataLen = 0x200 };
enum { stack = 0x30000000, stackSize = 0x1000, stackAt = 0x7c0, stackLen = 0x80 };
enum { image = 832, maxDiffs = 64 };

struct input {
	uint64_t r[16], flags, len;
	uint8_t code[16], data[dataLen], stack[stackLen], xsave[image];
};

struct output {
	uint64_t r[16], flags, rip, trap, err, cr2, diffs;
	uint64_t diff[maxDiffs][2];
	uint8_t xsave[image];
};

struct input in;
struct output out;
uint64_t savedSP, target = start;
uint8_t xin[4096] __attribute__((aligned(64))), xout[4096] __attribute__((aligned(64)));
static uint8_t shadow[dataSize + stackSize], handlerStack[65536];

void run(void);
void save(void);
void resume(void);

__asm__(".text\nrun:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"mov %rsp, savedSP(%rip)\n"
	"mov $7, %eax; xor %edx, %edx; xrstor64 xin(%rip)\n"
	"pushq in+128(%rip); popfq\n"
	"mov in(%rip), %rax; mov in+8(%rip), %rcx; mov in+16(%rip), %rdx; mov in+24(%rip), %rbx\n"
	"mov in+40(%rip), %rbp; mov in+48(%rip), %rsi; mov in+56(%rip), %rdi; mov in+64(%rip), %r8\n"
	"mov in+72(%rip), %r9; mov in+80(%rip), %r10; mov in+88(%rip), %r11; mov in+96(%rip), %r12\n"
	"mov in+104(%rip), %r13; mov in+112(%rip), %r14; mov in+120(%rip), %r15; mov in+32(%rip), %rsp\n"
	"jmp *target(%rip)\n"
	"save:\n"
	"mov %rax, out(%rip); mov %rcx, out+8(%rip); mov %rdx, out+16(%rip); mov %rbx, out+24(%rip)\n"
	"mov %rsp, out+32(%rip); mov %rbp, out+40(%rip); mov %rsi, out+48(%rip); mov %rdi, out+56(%rip)\n"
	"mov %r8, out+64(%rip); mov %r9, out+72(%rip); mov %r10, out+80(%rip); mov %r11, out+88(%rip)\n"
	"mov %r12, out+96(%rip); mov %r13, out+104(%rip); mov %r14, out+112(%rip); mov %r15, out+120(%rip)\n"
	"mov savedSP(%rip), %rsp; pushfq; popq out+128(%rip); cld\n"
	"mov $7, %eax; xor %edx, %edx; xsave64 xout(%rip)\n"
	"resume:\n"
	"mov savedSP(%rip), %rsp; pushq $0x202; popfq\n"
	"fninit; pushq $0x1f80; ldmxcsr (%rsp); add $8, %rsp\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static void onSignal(int sig, siginfo_t *info, void *ctx) {
	static const int reg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	mcontext_t *m = &((ucontext_t *)ctx)->uc_mcontext;
	for (int i = 0; i < 16; i++)
		out.r[i] = m->gregs[reg[i]];
	out.rip = m->gregs[REG_RIP];
	out.flags = m->gregs[REG_EFL];
	out.trap = m->gregs[REG_TRAPNO];
	out.err = m->gregs[REG_ERR];
	out.cr2 = out.trap == 14 ? m->gregs[REG_CR2] : 0;
	if (out.trap == 3)
		out.rip--;
	memcpy(xout, m->fpregs, image);
	m->gregs[REG_RIP] = (greg_t)resume;
}

static void map(uint64_t at, uint64_t size, int prot) {
	if (mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)at) {
		perror("mmap");
		exit(1);
	}
}

static void setup(void) {
	map(code, codeSize, PROT_READ | PROT_WRITE | PROT_EXEC);
	map(data, dataSize, PROT_READ | PROT_WRITE);
	map(stack, stackSize, PROT_READ | PROT_WRITE);
	memset((void *)(uint64_t)code, 0xcc, codeSize);
	stack_t ss = {.ss_sp = handlerStack, .ss_size = sizeof handlerStack};
	sigaltstack(&ss, 0);
	struct sigaction sa = {.sa_sigaction = onSignal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	static const int sigs[] = {SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS};
	for (int i = 0; i < 5; i++)
		sigaction(sigs[i], &sa, 0);
}

static void compare(uint64_t base, uint64_t size, uint8_t *was) {
	for (uint64_t o = 0; o < size; o += 8)
		if (memcmp((void *)(base + o), was + o, 8) && out.diffs < maxDiffs) {
			out.diff[out.diffs][0] = base + o;
			memcpy(&out.diff[out.diffs++][1], (void *)(base + o), 8);
		}
}

int main(void) {
	setup();
	while (fread(&in, sizeof in, 1, stdin) == 1) {
		memset(shadow, 0, sizeof shadow);
		memcpy(shadow + dataAt, in.data, dataLen);
		memcpy(shadow + dataSize + stackAt, in.stack, stackLen);
		memcpy((void *)(uint64_t)data, shadow, dataSize);
		memcpy((void *)(uint64_t)stack, shadow + dataSize, stackSize);
		uint8_t *c = (uint8_t *)(uint64_t)start;
		uint64_t to = (uint64_t)save;
		memcpy(c, in.code, in.len);
		memcpy(c + in.len, "\xff\x25\0\0\0", 6); // jmp *0(%rip)
		memcpy(c + in.len + 6, &to, 8);
		memset(&out, 0, sizeof out);
		memset(xout, 0, sizeof xout);
		memcpy(xin, in.xsave, image);
		out.trap = -1;
		out.rip = start + in.len;
		run();
		memcpy(out.xsave, xout, image);
		compare(data, dataSize, shadow);
		compare(stack, stackSize, shadow + dataSize);
		memset(c, 0xcc, 32);
		fwrite(&out, sizeof out, 1, stdout);
	}
	return 0;
}
