# A 64 KiB ROM that does for QEMU what a machine does for an Entry: it unlocks
# the ROM area, copies the tables there, places the PIIX4 PM registers where the
# FADT says, makes the firmware's device and MSR writes, sets the registers and jumps. Symbols come from underqemu.

.set rom, 0xffff0000
.set scratch, 0x8000000
.set romarea, 0xe0000

.macro pci addr, value			# 32-bit configuration write
	mov $0xcf8, %dx
	mov $\addr, %eax
	out %eax, %dx
	mov $0xcfc, %dx
	mov $\value, %eax
	out %eax, %dx
.endm

.code16
start:	cli
	lgdtl %cs:romgdtr - start
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x08, $rom + (flat - start)

.code32
flat:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	pci 0x80000058, 0x33333300	# 440FX PAM: c0000-fffff is RAM
	pci 0x8000005c, 0x33333333
	pci 0x80000b40, 0x00000601	# PIIX4 PM: PMBASE 600
	pci 0x80000b80, 0x00000001	# ... decoded
	cld
	mov $scratch, %esi
	mov $romarea, %edi
	mov $0x8000, %ecx
	rep movsl
	mov $scratch, %edi
	xor %eax, %eax
	mov $0x8000, %ecx
	rep stosl
.include "setup.inc"
.if LONG
	mov $0x20, %eax			# PAE
	mov %eax, %cr4
	mov $cr3, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx		# EFER.LME
	mov $0x100, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80000011, %eax
	mov %eax, %cr0
.endif
	lgdt rom + (gdtr - start)
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $rsi, %esi
	mov $rbx, %ebx
	ljmp $0x10, $rip

romgdtr: .word 23
	.long rom + (romgdt - start)
gdtr:	.word gdtlimit
	.long gdtbase
	.align 8
romgdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff

.org 0xfff0				# reset vector
.code16
	jmp start
.org 0x10000
