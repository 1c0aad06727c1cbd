#!/usr/bin/env bash
# Builds the suite's image without Docker: the static binary, and around it an archive for `docker load`.
#
#   e2e/image.sh [--quick] OUT.tar [TAG]        (TAG: dockerswarm/e2e:latest)
#
# --quick: not optimized, and so built in a third of the time, with what else is built for development.
# Needs rustup (or a Rust with the musl target) and python3; --quick a C compiler for musl as well (Debian's musl-tools), for what
# the rest of the workspace asks of shared dependencies. The same sources give the same archive.
set -euo pipefail

profile=dist folder=dist packages=(--package e2e)
# Of the whole workspace, so that what is built for development is built once, with the features of all of it.
if [ "${1:-}" = --quick ]; then profile=dev folder=debug packages=(--workspace); shift; fi
out=${1:?usage: e2e/image.sh [--quick] OUT.tar [TAG]}
tag=${2:-dockerswarm/e2e:latest}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")

machine=$(uname -m)
case $machine in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) echo "image.sh: no image for $machine; the suite is built for x86_64 and aarch64" >&2; exit 2 ;;
esac
target=$machine-unknown-linux-musl

# Cargo takes the profile from the .cargo/config.toml of the folder it runs in.
cd "$here"
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    echo "image.sh: this Rust has no $target, which the static binary is built for; get it: rustup target add $target" >&2
    exit 2
fi
cargo build --locked "${packages[@]}" --bin e2e --profile $profile --target "$target"
directory=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')


binary=$directory/$target/$folder/e2e
if [ $profile = dev ]; then
    # What a debugger wants would be on every node of every cluster.
    strip -o "$binary.stripped" "$binary"
    binary=$binary.stripped
fi
python3 "$here/image.py" "$here/Dockerfile" "$out" "$tag" "$architecture" "e2e=$binary"
