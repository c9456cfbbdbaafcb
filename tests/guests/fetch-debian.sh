#!/bin/sh
# fetch-debian.sh DIR: make DIR/vmlinuz and DIR/initrd.img, a stock Debian 12
# cloud kernel and a busybox user space, from the packages that this machine's
# apt is configured for: godwit guest debian, with more options, from anywhere.
set -eu
[ $# -eq 1 ] || { echo "usage: fetch-debian.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
exec go run ./cmd/godwit guest debian "$dir"
