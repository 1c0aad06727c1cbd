"""The Rust that builds this project: what rust-toolchain.toml asks for, whether this machine has it, and how it comes by it.

Whatever builds with cargo stands on the setup step of this module; nothing else installs Rust.
"""
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import places

# The program in the sysroot that a component brings.
PROGRAMS = {"clippy": "cargo-clippy", "rustfmt": "cargo-fmt"}


@dataclass(frozen=True)
class Wanted:
    """`rust-toolchain.toml`. RUSTUP_TOOLCHAIN goes before its channel, as it does for rustup."""

    channel: str
    components: tuple[str, ...]
    targets: tuple[str, ...]

    def install(self) -> list[str]:
        """Adds to a toolchain that is there what it lacks, and leaves the rest of it alone."""
        return ["rustup", "toolchain", "install", self.channel, "--profile", "minimal", "--no-self-update",
                *(word for name in self.components for word in ("--component", name)),
                *(word for name in self.targets for word in ("--target", name))]


def wanted() -> Wanted:
    said = tomllib.loads((places.CHECKOUT / "rust-toolchain.toml").read_text())["toolchain"]
    return Wanted(os.environ.get("RUSTUP_TOOLCHAIN") or said["channel"], tuple(said["components"]), tuple(said["targets"]))


def environment() -> dict:
    """For cargo, where what it builds is for the demo or the tests. Whoever has a wrapper of their own keeps it."""
    named = {"CARGO_TARGET_DIR": str(places.cargo_target())}
    return named if "RUSTC_WRAPPER" in os.environ else named | {"RUSTC_WRAPPER": str(places.TESTBED / "rustc")}


def by_rustup() -> bool:
    """Whether the cargo of PATH is one of rustup's proxies, so that rustup decides which toolchain it is."""
    cargo, rustup = shutil.which("cargo"), shutil.which("rustup")
    return bool(cargo and rustup and os.path.samefile(cargo, rustup))


def version() -> str:
    """What the checkout's cargo says of itself; empty when there is none."""
    return _ask("cargo", "--version")


def lacks() -> list[str]:
    """What the checkout's Rust does not have, in words: the toolchain itself, or parts of it."""
    want = wanted()
    # Asked for one that it does not have, rustup would begin to install it, and not say so.
    if by_rustup() and not any(f"{line} ".startswith((f"{want.channel} ", f"{want.channel}-")) for line in _ask("rustup", "toolchain", "list").splitlines()):
        return [f"Rust {want.channel}"]
    root = _ask("rustc", "--print", "sysroot")
    if not root:
        return [f"Rust {want.channel}"]
    return ([name for name in want.components if not Path(root, "bin", PROGRAMS[name]).exists()]
            + [f"the target {name}" for name in want.targets if not Path(root, "lib", "rustlib", name, "lib").is_dir()])


def too_old(said: str) -> bool:
    """Whether `cargo --version` said a version before the one of rust-toolchain.toml."""
    numbers = [tuple(int(number) for number in re.findall(r"\d+", text)[:2]) for text in (said, wanted().channel)]
    return all(numbers) and numbers[0] < numbers[1]


def _ask(*command: str) -> str:
    try:
        # Its own folder decides which toolchain rustup takes.
        asked = subprocess.run(command, capture_output=True, text=True, cwd=places.CHECKOUT, env=os.environ | {"RUSTUP_AUTO_INSTALL": "0"})
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
