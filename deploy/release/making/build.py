"""Programs, by cargo and zig: the same sources give the same bytes, in whatever folder they are."""
import os
import struct
import subprocess
from pathlib import Path

from . import tools
from .targets import CHECKOUT, Target, cache, epoch


class Builds:
    """Builds into a folder of its own, one for each checkout."""

    def __init__(self, folder: Path | None):
        self.folder = folder or cache() / "target"

    def plugin(self, target: Target) -> Path:
        return self._cargo(target, CHECKOUT, "kubectl-testkit", "release", "--package", "testkit", "--no-default-features")

    def operator(self, target: Target) -> Path:
        return self._cargo(target, CHECKOUT, "testkit-operator", "release", "--package", "testkit")

    def suite(self, target: Target) -> Path:
        # Its profile is in the .cargo/config.toml of its folder.
        return self._cargo(target, CHECKOUT / "e2e", "e2e", "dist", "--package", "e2e")

    def _cargo(self, target: Target, where: Path, program: str, profile: str, *words: str) -> Path:
        tools.run(tools.zigbuild(), "zigbuild", "--locked", "--target", target.triple, "--profile", profile, "--bin", program,
                  *words, cwd=where, env=self.environment(target))
        file = self.folder / target.triple / profile / (program + (".exe" if target.os == "windows" else ""))
        _check(file, target)
        return file

    def environment(self, target: Target) -> dict:
        """Nothing of the caller's decides what is built, and no path of this machine is in it."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_ENCODED_"))
                and name not in ("RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CFLAGS", "CC", "AR")}
        kept.pop("CARGO_INCREMENTAL", None)
        sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()
        cargo_home = os.environ.get("CARGO_HOME") or Path.home() / ".cargo"
        # The last that fits is taken: what is inside of others comes later.
        paths = {str(CHECKOUT): "/testkit", sysroot: "/rust", str(cargo_home): "/cargo", str(self.folder): "/target",
                 str(tools.packages()): "/tools"}
        triple = target.triple.replace("-", "_")
        flags = [f"--remap-path-prefix={path}={name}" for path, name in paths.items()]
        if target.os == "darwin":
            flags += ["-Clink-arg=-F" + str(FRAMEWORKS)]
        return kept | {
            "CARGO_TARGET_DIR": str(self.folder),
            "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
            f"CFLAGS_{triple}": " ".join(f"-ffile-prefix-map={path}={name}" for path, name in paths.items()),
            "CARGO_ZIGBUILD_ZIG_PATH": str(tools.zig()),
            # What is assembled for Windows comes with the library, in place of by an assembler.
            "AWS_LC_SYS_PREBUILT_NASM": "1",
            "SOURCE_DATE_EPOCH": str(epoch()),
            "CARGO_INCREMENTAL": "0",
        }


# What the linker has to know of macOS' frameworks.
FRAMEWORKS = CHECKOUT / "deploy" / "release" / "frameworks"


def _check(file: Path, target: Target) -> None:
    """A program is for the system it is meant for; those for Linux need nothing else there."""
    head = file.read_bytes()
    machine = {"linux": _elf, "darwin": _macho, "windows": _pe}[target.os](head)
    if machine != target.arch:
        raise SystemExit(f"release: {file} is for {machine}, and should be for {target.name}")


def _elf(data: bytes) -> str:
    if data[:6] != b"\x7fELF\x02\x01":
        return "something else than 64-bit Linux"
    machine, offset, size, count = struct.unpack_from("<H", data, 18)[0], struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    # PT_INTERP names a loader, and a static program has none.
    if any(struct.unpack_from("<I", data, offset + at * size)[0] == 3 for at in range(count)):
        return "a Linux with libraries"
    return {62: "amd64", 183: "arm64"}.get(machine, f"machine {machine}")


def _macho(data: bytes) -> str:
    magic, kind = struct.unpack_from("<II", data)
    return {0x01000007: "amd64", 0x0100000C: "arm64"}.get(kind, f"machine {kind}") if magic == 0xFEEDFACF else "something else than macOS"


def _pe(data: bytes) -> str:
    [at] = struct.unpack_from("<I", data, 60)
    if data[:2] != b"MZ" or data[at:at + 4] != b"PE\0\0":
        return "something else than Windows"
    [machine] = struct.unpack_from("<H", data, at + 4)
    return {0x8664: "amd64", 0xAA64: "arm64"}.get(machine, f"machine {machine}")
