"""The stages of `make test`: what each runs, how long it may take, and how its result is counted."""
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bed_cli import places
from bed_cli.beds import Bed
from bed_cli.errors import BedError

from . import counting
from .counting import Count
from .runner import Runner

BED = "test"
CARGO_DENY = "0.20.2"
MINUTE = 60
# Cargo's integration tests that need a bed; every other file in tests/ is a test of its own and needs none.
COMPONENT, SYSTEM = "component", "system"


@dataclass
class Stages:
    runner: Runner
    # Whether the tests' own bed may have been started.
    bed_used: bool = False

    def every(self) -> dict:
        return {"fmt": self.fmt, "clippy": self.clippy, "deny": self.deny, "unit": self.unit, "ec2": self.ec2,
                COMPONENT: self.component, SYSTEM: self.system}

    def fmt(self) -> Count:
        return self._gate("fmt", ["cargo", "fmt", "--all", "--check"], 2 * MINUTE)

    def clippy(self) -> Count:
        return self._gate("clippy", ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], 25 * MINUTE)

    def deny(self) -> Count:
        """Advisories are a database on the network: when it cannot be had, that is said, and it is no verdict on the code."""
        tool = self._cargo_deny()
        if tool is None:
            return counting.one_failure("deny: cargo-deny cannot be installed")
        count = self._gate("deny", [tool, "--locked", "check", "bans", "licenses", "sources"], 3 * MINUTE)
        code, log = self._run("advisories", [tool, "--locked", "check", "advisories"], 3 * MINUTE)
        if code and ("failed to fetch advisory database" in log or code == 124):
            print("advisories: NOT CHECKED, the advisory database cannot be fetched from here", flush=True)
        else:
            count += counting.gate("advisories", code, log)
        return count

    def unit(self) -> Count:
        free_standing = [path.stem for path in sorted((places.CHECKOUT / "tests").glob("*.rs")) if path.stem not in (COMPONENT, SYSTEM)]
        command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--lib", "--bins"]
        return self._libtest("unit", command + [word for name in free_standing for word in ("--test", name)], 25 * MINUTE, {})

    def ec2(self) -> Count:
        """The EC2 endpoint's own tests, which drive it with an AWS SDK and boot hosts."""
        tests = places.TESTBED / "ec2" / "tests"
        if not tests.is_dir():
            return self._absent("ec2", tests)
        if not self._setup("ec2", []):
            return counting.one_failure("ec2: the test bed cannot be set up")
        report = self.runner.folder / "ec2.xml"
        report.unlink(missing_ok=True)
        code, log = self._run("ec2", [places.venv() / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", tests],
                              15 * MINUTE, {"PYTHONPATH": str(places.TESTBED), "TESTBED_IMAGES": str(places.images())})
        return counting.junit(report)("ec2", code, log)

    def component(self) -> Count:
        """The operator's parts against a real API server."""
        if not (places.CHECKOUT / "tests" / f"{COMPONENT}.rs").is_file():
            return self._absent(COMPONENT, places.CHECKOUT / "tests" / f"{COMPONENT}.rs")
        return self._on_a_bed(COMPONENT, ["--kubernetes-only"], "TESTKIT_COMPONENT", threads=4, seconds=20 * MINUTE)

    def system(self) -> Count:
        """The whole on real hosts."""
        if not (places.CHECKOUT / "tests" / f"{SYSTEM}.rs").is_file():
            return self._absent(SYSTEM, places.CHECKOUT / "tests" / f"{SYSTEM}.rs")
        image = self.runner.folder / "e2e.tar"
        code, _ = self._run("e2e-image", [places.CHECKOUT / "e2e" / "image.sh", image], 15 * MINUTE)
        if code:
            return counting.one_failure(f"{SYSTEM}: the suite's image cannot be made")
        return self._on_a_bed(SYSTEM, [], "TESTKIT_SYSTEM", threads=1, seconds=40 * MINUTE, env={"TESTKIT_E2E_IMAGE": str(image)})

    def tear_down(self) -> None:
        bed = Bed(BED)
        with bed.locked():
            bed.down()

    def _on_a_bed(self, stage: str, flags: list, switch: str, threads: int, seconds: float, env: dict | None = None) -> Count:
        if not self._setup(stage, flags):
            return counting.one_failure(f"{stage}: the test bed cannot be set up")
        self.bed_used = True
        code, _ = self._run(f"{stage}-bed", [places.TESTBED / "bed", "up", "--name", BED, *flags], 5 * MINUTE)
        if code:
            return counting.one_failure(f"{stage}: the test bed does not start")
        bed = Bed(BED)
        path = {"PATH": f"{bed.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        command = ["cargo", "test", "--locked", "--no-fail-fast", "--test", stage, "--", f"--test-threads={threads}"]
        return self._libtest(stage, command, seconds, bed.environment() | path | {switch: "1"} | (env or {}))

    def _setup(self, stage: str, flags: list) -> bool:
        """On a machine with nothing cached this builds Kubernetes, which is no part of the bed's own start."""
        return self._run(f"{stage}-setup", [places.TESTBED / "bed", "setup", *flags], 30 * MINUTE)[0] == 0

    def _cargo_deny(self) -> Path | None:
        root = places.cache() / "tools"
        tool = root / "bin" / "cargo-deny"
        if tool.exists() and subprocess.run([tool, "--version"], capture_output=True, text=True).stdout.split()[-1:] == [CARGO_DENY]:
            return tool
        # A target folder of its own: cargo would make every other build wait for this one.
        code, _ = self._run("install-cargo-deny", ["cargo", "install", "--locked", "--quiet", "--root", root, "cargo-deny", "--version", CARGO_DENY],
                            25 * MINUTE, {"CARGO_TARGET_DIR": str(root / "target")})
        shutil.rmtree(root / "target", ignore_errors=True)
        return tool if code == 0 else None

    def _libtest(self, stage: str, command: list, seconds: float, env: dict) -> Count:
        code, log = self._run(stage, command, seconds, env | {"CARGO_TERM_COLOR": "never"})
        return counting.libtest(stage, code, log)

    def _gate(self, stage: str, command: list, seconds: float) -> Count:
        code, log = self._run(stage, command, seconds)
        return counting.gate(stage, code, log)

    def _run(self, name: str, command: list, seconds: float, env: dict | None = None) -> tuple[int, str]:
        try:
            return self.runner.run(name, command, seconds, places.CHECKOUT, env)
        except BedError as error:
            # Such as: no cargo.
            print(error, flush=True)
            return 127, str(error)

    @staticmethod
    def _absent(stage: str, path: Path) -> Count:
        print(f"{stage}: nothing to run, {path.relative_to(places.CHECKOUT)} does not exist", flush=True)
        return Count()
