#!/bin/bash
# Builds the disk image that test hosts with one Docker Engine version boot from, from Debian packages alone.
# No container registry. Runs as root; needs the packages listed beside it. The kernel is kernel/build's.
#
#   image.sh OUTDIR ENGINE      ENGINE: 20.10, 26.1 or 28.5
#
# leaves OUTDIR/ami-ENGINE.ext4. What is there already and came from the same sources is kept. A build that is killed
# leaves nothing that looks like a finished one.
# guest/ is laid over the root file system as it is.
set -euo pipefail
umask 022

usage() { sed -n 's/^#   image.sh/usage: image.sh/p' "$0" >&2; exit 2; }
say() { echo "host image: $*"; }

[ $# = 2 ] || usage
case $2 in
  20.10) suite=bookworm ;;
  26.1) suite=trixie ;;
  28.5) suite=forky ;;
  *) usage ;;
esac
engine=$2
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
for tool in mmdebstrap mke2fs; do
  command -v "$tool" >/dev/null || { say "$tool is missing: apt-get install $(tr '\n' ' ' < "$here/packages")" >&2; exit 1; }
done

exec 9> "$out/.lock"
flock -n 9 || { say "another build in $out is under way; waiting for it"; flock 9; }
rm -rf "$out"/.building-*
work=$(mktemp -d "$out/.building-XXXXXX")
trap 'rm -rf "$work"' EXIT

sources=$(cd "$here" && { find image.sh guest -type f -print0 | sort -z | xargs -0 sha256sum; find guest -printf '%p %m %l\n' | sort; } | sha256sum | cut -c1-16)
built() { [ "$(cat "$out/.built-$1" 2> /dev/null)" = "$sources" ]; }
stamp() { echo "$sources" > "$work/stamp"; mv "$work/stamp" "$out/.built-$1"; }
# The Debian mirror this machine uses itself.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
  { say "no Debian mirror in this machine's apt sources" >&2; exit 1; }

disk() {
  local root=$work/root packages=ca-certificates,docker.io,iptables,iproute2,openssh-server,curl,procps,tar,runit
  [ "$suite" = bookworm ] || packages+=,docker-cli
  say "unpacking Debian $suite for engine $engine"
  # A mirror's copy of a moving suite may be older than Debian vouches for; signatures are checked all the same.
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" \
    "$suite" "$root" "$mirror"
  for table in iptables ip6tables; do chroot "$root" update-alternatives --quiet --set $table /usr/sbin/$table-legacy; done
  # Host keys come with user-data, or are made at first boot: an image has none, like a real one.
  rm -rf "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
  rm -rf "$root"/etc/service "$root"/etc/sv "$root"/etc/runit
  cp -r "$here/guest/." "$root/"
  say "writing ami-$engine.ext4"
  mke2fs -q -F -t ext4 -J size=16 -d "$root" "$work/disk" 8G
  mv "$work/disk" "$out/ami-$engine.ext4"
  stamp "$engine"
}

if built "$engine" && [ -f "$out/ami-$engine.ext4" ]; then say "ami-$engine.ext4 is there"; else disk; fi
say "engine $engine is ready in $out"
