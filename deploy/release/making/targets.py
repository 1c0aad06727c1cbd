"""What a release is made for, and of which sources."""
import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
HERE = CHECKOUT / "deploy" / "release"


@dataclass(frozen=True)
class Target:
    """A system, by Rust's name, and by Go's two words, which krew and images have."""

    triple: str
    os: str
    arch: str

    @property
    def name(self) -> str:
        return f"{self.os}-{self.arch}"

    @property
    def program(self) -> str:
        return "kubectl-testkit.exe" if self.os == "windows" else "kubectl-testkit"


TARGETS = (
    Target("x86_64-unknown-linux-musl", "linux", "amd64"),
    Target("aarch64-unknown-linux-musl", "linux", "arm64"),
    Target("aarch64-apple-darwin", "darwin", "arm64"),
    Target("x86_64-apple-darwin", "darwin", "amd64"),
    Target("x86_64-pc-windows-gnu", "windows", "amd64"),
)


def manifest() -> dict:
    return tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["workspace"]["package"]


def version() -> str:
    return manifest()["version"]


def cache() -> Path:
    """What may be thrown away: tools, and what cargo has built."""
    return Path(os.environ.get("TESTKIT_CACHE") or Path.home() / ".cache" / "testkit").absolute() / "release"


def epoch() -> int:
    """The time that is on all files: SOURCE_DATE_EPOCH, or the commit's."""
    said = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")
    if not said:
        raise SystemExit("release: nothing tells a time for the files: release a commit, or set SOURCE_DATE_EPOCH")
    return int(said)


def git(*words: str) -> str:
    """What git says; nothing where this is no repository."""
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
