#!/bin/sh
# run.sh MIB KERNEL INITRD CMDLINE [QEMU-ARGS...]: boot a kernel under QEMU as
# godwit's firmware would, without QEMU's own. See main.go.
# Needs go, as, objcopy, qemu-system-x86_64. INITRD may be empty.
set -eu
[ $# -ge 4 ] || { echo "usage: run.sh MIB KERNEL INITRD CMDLINE [QEMU-ARGS...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mib=$1 kernel=$2 initrd=$3 cmdline=$4
shift 4

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
symbols=$(go run "$here" "$mib" "$kernel" "$initrd" "$cmdline" "$tmp")
# Word splitting wanted: a list of options.
# shellcheck disable=SC2086
as --32 -I "$tmp" $symbols -o "$tmp/stub.o" "$here/stub.asm"
objcopy -O binary "$tmp/stub.o" "$tmp/stub.bin"
qemu-system-x86_64 -M pc -smp 2 -accel tcg -m "$mib" -bios "$tmp/stub.bin" \
	-nographic -no-reboot -vga none -net none \
	-device "loader,file=$tmp/low.bin,addr=0,force-raw=on" \
	-device "loader,file=$tmp/high.bin,addr=0x100000,force-raw=on" "$@"
