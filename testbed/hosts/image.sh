#!/bin/bash
# Builds the disk image that test hosts with one Docker Engine version boot from, from Debian packages alone.
# No container registry. Runs as root; needs the packages listed beside it. The kernel is kernel/build's or kernel/prebuilt's.
#
#   image.sh OUTDIR ENGINE KERNEL      ENGINE: 20.10, 26.1, 28.5 or none; KERNEL: what kernel/prebuilt left
#
# leaves OUTDIR/ami-ENGINE.ext4, and for `none`, as Ubuntu's images are, OUTDIR/mirror: the packages of an engine as an apt
# repository, and what an https server needs that the image trusts. What is there already and came from the same sources is kept. A build that is killed
# leaves nothing that looks like a finished one.
# guest/ is laid over the root file system as it is.
set -euo pipefail
umask 022

usage() { sed -n 's/^#   image.sh/usage: image.sh/p' "$0" >&2; exit 2; }
say() { echo "host image: $*"; }

[ $# = 3 ] || usage
case $2 in
  20.10) suite=bookworm ;;
  26.1) suite=trixie ;;
  28.5 | none) suite=forky ;;
  *) usage ;;
esac
engine=$2
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
modules=$(cd "$3/modules" && pwd)
for tool in mmdebstrap mke2fs openssl; do
  command -v "$tool" >/dev/null || { say "$tool is missing: apt-get install $(sed -n 's/^hosts: //p' "$here/packages")" >&2; exit 1; }
done

exec 9> "$out/.lock"
flock -n 9 || { say "another build in $out is under way; waiting for it"; flock 9; }
rm -rf "$out"/.building-*
work=$(mktemp -d "$out/.building-XXXXXX")
trap 'rm -rf "$work"' EXIT

sources=$(cd "$here" && { find image.sh guest kernel/modules kernel/prebuilt -type f -print0 | sort -z | xargs -0 sha256sum; find guest -printf '%p %m %l\n' | sort; } | sha256sum | cut -c1-16)
built() { [ "$(cat "$out/.built-$1" 2> /dev/null)" = "$sources" ]; }
stamp() { echo "$sources" > "$work/stamp"; mv "$work/stamp" "$out/.built-$1"; }
mirror=$("$here/debian-mirror")

disk() {
  local root=$work/root packages=ca-certificates,iptables,iproute2,openssh-server,curl,kmod,procps,tar,runit options=()
  case $engine in
    none)
      mkdir -p "$work/mirror/packages"
      # shellcheck disable=SC2016 # for the shell of the hook
      options=(--customize-hook='APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --no-install-recommends --download-only install docker.io docker-cli'
        --customize-hook="cp \"\$1\"/var/cache/apt/archives/*.deb '$work/mirror/packages'") ;;
    20.10) packages+=,docker.io ;;
    # What else a node of Kubernetes needs (testbed/node), which is made of this image.
    28.5) packages+=,docker.io,docker-cli,containernetworking-plugins ;;
    *) packages+=,docker.io,docker-cli ;;
  esac
  say "unpacking Debian $suite for engine $engine"
  # A mirror's copy of a moving suite may be older than Debian vouches for; signatures are checked all the same.
  mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" "${options[@]}" \
    "$suite" "$root" "$mirror"
  # For Debian's kernel; the hosts' own has no modules, and asks for none.
  mkdir -p "$root/usr/lib/modules"
  cp -r "$modules/." "$root/usr/lib/modules/"
  chroot "$root" depmod "$(ls "$modules")"
  for table in iptables ip6tables; do chroot "$root" update-alternatives --quiet --set $table /usr/sbin/$table-legacy; done
  # Host keys come with user-data, or are made at first boot: an image has none, like a real one.
  rm -rf "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
  rm -rf "$root"/etc/service "$root"/etc/sv "$root"/etc/runit
  cp -r "$here/guest/." "$root/"
  [ "$engine" != none ] || without_engine "$root"
  say "writing ami-$engine.ext4"
  mke2fs -q -F -t ext4 -J size=16 -d "$root" "$work/disk" 8G
  mv "$work/disk" "$out/ami-$engine.ext4"
  if [ "$engine" = none ]; then rm -rf "$out/mirror"; mv "$work/mirror" "$out/mirror"; fi
  stamp "$engine"
}

# What an image needs to get its engine from the test bed. The authority's key is gone when the server's certificate is signed.
without_engine() {
  local root=$1 deb names=(get.docker.com docker.mirror.internal debian.mirror.internal)
  (
    cd "$work/mirror/packages"
    for deb in *.deb; do
      dpkg-deb --field "$deb"
      printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
    done > Packages
    printf 'Suite: testbed\nDate: %s\nSHA256:\n %s %s Packages\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" \
      "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" > Release
  )
  local new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc)
  "${new[@]}" -x509 -days 3650 -subj "/CN=testkit test bed" -addext keyUsage=critical,keyCertSign \
    -keyout "$work/authority.key" -out "$work/authority.crt" 2> /dev/null
  "${new[@]}" -subj "/CN=${names[0]}" -keyout "$work/mirror/server.key" -out "$work/server.csr" 2> /dev/null
  openssl x509 -req -in "$work/server.csr" -CA "$work/authority.crt" -CAkey "$work/authority.key" -days 3650 \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$(printf ',DNS:%s' "${names[@]}" | cut -c2-)") \
    -out "$work/mirror/server.crt" 2> /dev/null
  install -m 644 "$work/authority.crt" "$root/usr/local/share/ca-certificates/testbed.crt"
  chroot "$root" update-ca-certificates > /dev/null 2>&1
  # The address is ec2/mirror.py's.
  echo "169.254.80.80 ${names[*]}" > "$root/usr/local/lib/testkit/hosts"
  rm -f "$root"/etc/apt/sources.list.d/*
  echo 'deb [trusted=yes] https://debian.mirror.internal/debian ./' > "$root/etc/apt/sources.list"
  # runit starts services, and containerd not before it is there.
  printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  touch "$root/etc/sv/containerd/down"
  rm -r "$root/etc/containerd"
}

if built "$engine" && [ -f "$out/ami-$engine.ext4" ]; then say "ami-$engine.ext4 is there"; else disk; fi
say "ami-$engine is ready in $out"
