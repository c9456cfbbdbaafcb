#!/bin/sh
# Builds tiny.elf from src/. usage: build.sh [-r] [OUT]
#   OUT  where to put the image; default tiny.elf beside this script
#   -r   also record the toolchain's versions in toolchain.txt
# CC, LD and STRIP choose other tools. The image depends only on the sources and
# the tools: no build id, no paths, no dates.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
record=
if [ "${1:-}" = -r ]; then
	record=1
	shift
fi
out=${1:-$here/tiny.elf}
: "${CC:=gcc}" "${LD:=ld}" "${STRIP:=strip}"
cflags="-std=gnu11 -O2 -m64 -march=x86-64 -ffreestanding -fno-builtin -mno-red-zone
	-mgeneral-regs-only -fno-pic -fno-pie -mcmodel=small -fcf-protection=none
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-unwind-tables
	-fno-strict-aliasing -fno-delete-null-pointer-checks -fno-tree-loop-distribute-patterns
	-falign-functions=1 -falign-jumps=1 -falign-loops=1 -falign-labels=1
	-Wall -Wextra -Wno-unused-parameter"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$here/src"
objs=
for src in boot.S *.c; do
	obj=$tmp/${src%.*}.o
	# shellcheck disable=SC2086
	"$CC" $cflags -c "$src" -o "$obj"
	objs="$objs $obj"
done
# shellcheck disable=SC2086
"$LD" -m elf_x86_64 -static -nostdlib --build-id=none -z max-page-size=4096 -z noexecstack \
	-T link.ld -o "$tmp/tiny.elf" $objs
"$STRIP" -s "$tmp/tiny.elf"
cp "$tmp/tiny.elf" "$out"
chmod 644 "$out"
if [ -n "$record" ]; then
	{
		"$CC" --version | head -n 1
		"$LD" --version | head -n 1
	} >"$here/toolchain.txt"
fi
