#!/usr/bin/env bash
# Brings e2e/Cargo.lock, which the image build of this folder alone uses, in line with the workspace's.
# With --check it changes nothing and fails when there is something to change.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
alone=$(mktemp -d)
trap 'rm -rf "$alone"' EXIT
# Cargo drops from the workspace's lock file what this package does not need, and keeps the versions.
mkdir "$alone/src"
cp "$here/Cargo.toml" "$alone/"
cp "$here/../Cargo.lock" "$alone/"
echo 'fn main() {}' > "$alone/src/main.rs"
# The pinned toolchain is chosen by folder.
(cd "$here" && cargo metadata --manifest-path "$alone/Cargo.toml" --format-version 1 > /dev/null)
if [ "${1:-}" = --check ]; then
    cmp -s "$alone/Cargo.lock" "$here/Cargo.lock" || { echo "e2e/Cargo.lock is behind Cargo.lock: run e2e/lock.sh" >&2; exit 1; }
else
    cp "$alone/Cargo.lock" "$here/Cargo.lock"
fi
