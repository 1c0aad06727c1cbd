#!/bin/bash
# Builds what test hosts boot: a User-Mode Linux kernel and one disk image for each Docker Engine version,
# from Debian packages alone. No KVM, no container registry. Runs as root; needs the packages listed beside it.
#
#   image.sh OUTDIR ENGINE      ENGINE: 20.10, 26.1 or 28.5
#
# leaves OUTDIR/linux, OUTDIR/uml/ (its libraries and modules) and OUTDIR/ami-ENGINE.ext4. What is there already and
# came from the same sources is kept. A build that is killed leaves nothing that looks like a finished one.
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
for tool in mmdebstrap mke2fs patchelf; do
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

# trixie's 6.12 and not newer: forky's 7.2 has neither the legacy iptables tables nor nf_tables for IPv4, and dockerd
# does not start without one of them. 6.12 has ip_vs, vxlan, overlay and netem as modules.
kernel() {
  say "fetching the kernel"
  local apt=$work/apt options
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
  chmod 755 "$work"; chmod -R a+rwX "$apt"
  echo "deb $mirror trixie main" > "$apt/sources"
  options="-o Dir::Etc::sourcelist=$apt/sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false"
  apt-get $options update -qq
  (cd "$apt/debs" && apt-get $options download -qq user-mode-linux libc6)
  for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$work/uml"; done
  # The kernel is a program that wants its own suite's C library, which the machine may not have: it gets its own loader.
  cp "$work/uml/usr/bin/linux.uml" "$work/linux"
  local libraries=usr/lib/x86_64-linux-gnu
  patchelf --set-interpreter "$out/uml/$libraries/ld-linux-x86-64.so.2" --set-rpath "$out/uml/$libraries" "$work/linux"
  rm -rf "$out/uml" "$out/linux"
  mv "$work/uml" "$out/uml"
  mv "$work/linux" "$out/linux"
  stamp kernel
}

disk() {
  local root=$work/root packages=ca-certificates,docker.io,iptables,iproute2,openssh-server,kmod,curl,procps,tar,runit
  [ "$suite" = bookworm ] || packages+=,docker-cli
  say "unpacking Debian $suite for engine $engine"
  # A mirror's copy of a moving suite may be older than Debian vouches for; signatures are checked all the same.
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" \
    "$suite" "$root" "$mirror"
  mkdir -p "$root/usr/lib/modules"
  cp -r "$out"/uml/usr/lib/uml/modules/* "$root/usr/lib/modules/"
  chroot "$root" depmod "$(ls "$root/usr/lib/modules")"
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

if built kernel && [ -x "$out/linux" ]; then say "the kernel is there"; else kernel; fi
if built "$engine" && [ -f "$out/ami-$engine.ext4" ]; then say "ami-$engine.ext4 is there"; else disk; fi
say "engine $engine is ready in $out"
