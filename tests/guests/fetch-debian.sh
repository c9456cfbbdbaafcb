#!/bin/sh
# fetch-debian.sh DIR: make DIR/vmlinuz and DIR/initrd.img, a stock Debian 12
# cloud kernel and a busybox user space, from the packages that this machine's
# apt is configured for. It needs no root: apt, dpkg-deb, cpio. Equal packages
# give equal files. Does nothing when DIR holds both; the versions are in
# DIR/version.
set -eu

[ $# -eq 1 ] || { echo "usage: fetch-debian.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

if [ -s "$dir/vmlinuz" ] && [ -s "$dir/initrd.img" ]; then
	echo "$dir has a guest already: $(cat "$dir/version" 2>/dev/null || echo unknown)"
	exit 0
fi
for tool in apt-get apt-cache dpkg-deb cpio; do
	command -v $tool >/dev/null || { echo "fetch-debian.sh: $tool is missing" >&2; exit 1; }
done

kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
	sed -n 's/^ *Depends: \(linux-image-6\.1\..*-cloud-amd64\)$/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
	echo "fetch-debian.sh: apt knows no linux-image-cloud-amd64 with a 6.1 kernel" >&2
	echo "  it is in Debian 12.  Try  apt-get update" >&2
	exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp"
apt-get -q download "$kernel" busybox-static >&2
for deb in *.deb; do
	dpkg-deb -f "$deb" Package Version | sed 's/^[^:]*: //' | paste -d ' ' - - >>version
	dpkg-deb -x "$deb" "root.${deb%%_*}"
done

# The initrd is not compressed: an emulated CPU copies faster than it inflates.
mkdir -p initrd/bin initrd/dev initrd/proc initrd/sys
cp root.busybox-static/bin/busybox initrd/bin/busybox
cp "$here/../../guest/init" initrd/init
ln -s busybox initrd/bin/sh
chmod 755 initrd initrd/* initrd/bin/busybox
find initrd -exec touch -h -d @0 {} +
(cd initrd && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0) >initrd.img

chmod 644 root.linux-image-*/boot/vmlinuz-* initrd.img
sort -o version version
# Names change last, so that an interrupted run leaves no half guest.
for f in version initrd.img; do cp "$f" "$dir/$f.part"; done
cp root.linux-image-*/boot/vmlinuz-* "$dir/vmlinuz.part"
for f in version initrd.img vmlinuz; do mv "$dir/$f.part" "$dir/$f"; done
cat version
