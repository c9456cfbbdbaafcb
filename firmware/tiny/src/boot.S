/* boot.S: the PVH entry, the way into long mode, trap stubs and the recovery point. */

	/* XEN_ELFNOTE_PHYS32_ENTRY: the loader enters here, 32-bit, paging off,
	 * EBX = physical address of hvm_start_info [PVH]. */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18
	.asciz "Xen"
	.quad _start

	.section .text.boot, "ax"
	.code32
	.globl _start
_start:
	cld
	cli
	movl $boot_stack_top, %esp
	/* The loader should have cleared .bss; the page tables depend on it. */
	movl $__bss_start, %edi
	movl $__bss_end, %ecx
	subl %edi, %ecx
	shrl $2, %ecx
	xorl %eax, %eax
	rep stosl

	/* Identity map of the first 4 GiB with 2 MiB pages: P|RW|PS. */
	movl $id_pdpt + 3, id_pml4
	movl $id_pd + 3, %eax
	movl $id_pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 1b
	movl $id_pd, %edi
	movl $0x83, %eax
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b

	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $id_pml4, %eax
	movl %eax, %cr3
	movl %ebx, %esi
	movl $0xc0000080, %ecx		/* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	andl $~0x6000000c, %eax		/* caches on, no EM, no TS */
	orl $0x80010001, %eax		/* PG, WP, PE */
	movl %eax, %cr0
	lgdt gdt_ptr
	ljmp $0x08, $long_entry

	.code64
long_entry:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	xorl %ebp, %ebp
	movl %esi, %edi			/* kmain(start_info) */
	call kmain
halt:	cli
	hlt
	jmp halt

	.section .data, "aw"
	.balign 16
	.globl gdt
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 08: 64-bit code */
	.quad 0x00cf93000000ffff	/* 10: data */
	.quad 0, 0			/* 18: TSS, filled in by trap_init */
gdt_ptr:
	.word . - gdt - 1
	.quad gdt

	.section .bss, "aw", @nobits
	.balign 4096
	.globl id_pml4, id_pdpt, id_pd, id_pt0, boot_stack_top, fault_stack_top
id_pml4: .skip 4096
id_pdpt: .skip 4096
id_pd:	.skip 4 * 4096
id_pt0:	.skip 4096
	.skip 16384
boot_stack_top:
	.skip 8192
fault_stack_top:

	.text
	/* One stub of 16 bytes for each of vectors 0..63. Vectors 8, 10-14, 17 and
	 * 21 push an error code [SDM 3A 6.15]; the others get a zero. */
	.globl trap_stubs
	.balign 16
trap_stubs:
	.set vec, 0
	.rept 64
	.balign 16
	.if (vec == 8) || ((vec >= 10) && (vec <= 14)) || (vec == 17) || (vec == 21)
	.else
	pushq $0
	.endif
	pushq $vec
	jmp trap_common
	.set vec, vec + 1
	.endr

	.balign 16
trap_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call trap
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq

	/* int mark(struct mark *m): like setjmp. Returns 0 now, and again with the
	 * vector + 1 in RAX when trap() resumes a faulting thread at m. */
	.globl mark
mark:	movq %rbx, (%rdi)
	movq %rbp, 8(%rdi)
	movq %r12, 16(%rdi)
	movq %r13, 24(%rdi)
	movq %r14, 32(%rdi)
	movq %r15, 40(%rdi)
	leaq 8(%rsp), %rax
	movq %rax, 48(%rdi)
	movq (%rsp), %rax
	movq %rax, 56(%rdi)
	xorl %eax, %eax
	ret

	.section .note.GNU-stack, "", @progbits
