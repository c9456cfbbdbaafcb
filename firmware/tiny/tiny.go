// Package tiny holds the image of tiny, a small 64-bit guest kernel of our own.
//
// It boots by [PVH] on QEMU's pc and on this project's machine, and talks
// on the first serial port: a shell whose commands exercise the CPU, paging,
// interrupts and timers, and a memory hog that notices any byte changed behind
// its back. Commands after run= on the kernel command line need no console:
//
//	run=selftest; hog 8 0 seq 3; check; poweroff
//
// Sources are in src, the rule that builds them is build.sh, and README.md lists
// the commands. The image is committed so that building godwit needs Go alone;
// a test rebuilds it and compares.
package tiny

import _ "embed"

// Image is the kernel, a static ELF64 file with a PVH entry note.
//
//go:embed tiny.elf
var Image []byte
