"""What has to be installed and built, and whether it is there. What is there is left alone."""
import importlib.util
import os
import platform
import shutil
import subprocess
import sys

from . import doctor, places, registry, rust
from .errors import BedError
from .kubernetes import COMPONENTS, NODE_COMPONENTS
from .progress import Progress, Step

# The last one is Debian without an engine.
ENGINES = ("28.5", "26.1", "20.10", "none")
# What setup can be asked for. Seconds of processor are those of two cores with nothing warm.
BED, UP, KUBERNETES, NODE, RUST, CHECKS, TOOLS, DEMO = "bed", "up", "kubernetes", "node", "rust", "checks", "tools", "demo"
WHATS = {
    BED: "what `up` needs, and the hosts' own kernel (the default)",
    UP: "what `up` needs: hosts whose own kernel is not built boot Debian's, which takes twice as long for a system call",
    KUBERNETES: "what `up --kubernetes-only` needs",
    NODE: "what `up --node` needs beside what `up` does, and Helm",
    RUST: "the Rust toolchain, with a C compiler",
    CHECKS: "what the first stages of `make test` need: rust, and the Python packages",
    TOOLS: "helm, and what else judges the manifests of deploy/ in `make test`",
    DEMO: "what `up` and the first stages of `make test` need, and the programs and the image of the demo, in target/",
}
# What the control plane and the network of the hosts need on the machine itself.
CONTROL_PLANE = ("iproute2", "nftables", "openssl", "openssh-client")
# Rust links with cc, and its TLS library has C in it, for static programs as well.
COMPILER = ("gcc", "libc6-dev", "musl-tools")
# The demo's programs are static, as those that are released, and stand on the same dependencies as the suite.
STATIC = f"{platform.machine()}-unknown-linux-musl"

PACKAGES, PYTHON, TOOLCHAIN = "Debian packages", "Python packages", "Rust toolchain"
PROGRAMS, SUITE, OPERATOR = "operator, plugin and suite", "image of the suite", "image of the operator"
CONTROL_PROGRAMS, HELM, KSTATUS = "Kubernetes", "Helm", "kstatus"
OWN_KERNEL, PREBUILT_KERNEL = "kernel of the hosts", "Debian's kernel for the hosts"


def ensure(whats: tuple[str, ...], engines: tuple[str, ...], then: float = 0) -> None:
    """Installs and builds what is missing. One at a time on this machine: a second one waits and finds it done."""
    steps = missing(whats, engines)
    if DEMO in whats:
        subprocess.run([places.TESTBED / "claim-target"], check=True, env=os.environ | {"CARGO_TARGET_DIR": str(places.cargo_target())})
    if all(step.always for step in steps):
        Progress(steps, then).run()
        return
    with registry.locked(places.cache() / "setup.lock", "another setup"):
        steps = missing(whats, engines)
        doctor.require(steps, whats)
        Progress(steps, then).run()
        left = [step for step in missing(whats, engines) if not step.always]
        if left:
            raise BedError("still missing after setup: " + ", ".join(step.name for step in left))


def missing(whats: tuple[str, ...], engines: tuple[str, ...]) -> list[Step]:
    """In the order in which they begin where they can: what others wait for, then what takes longest."""
    asked = set(whats)
    bed, demo, node = asked & {BED, UP, NODE, DEMO}, DEMO in asked, NODE in asked
    steps = _packages(asked)
    if asked & {RUST, CHECKS, DEMO}:
        steps += toolchain()
    if bed or asked & {CHECKS, TOOLS}:
        steps += _python()
    if demo:
        steps += _programs()
    if bed or KUBERNETES in asked:
        steps += kubernetes(COMPONENTS + (NODE_COMPONENTS if node else ()))
    if TOOLS in asked or node:
        steps += _tools(judges=TOOLS in asked)
    if bed:
        images = [step for engine in engines for step in _image(engine)]
        steps += _kernels(BED in asked, bool(images)) + images
    if demo:
        steps += _suite()
    if demo and node:
        steps += _operator()
    return steps


def packages(whats: set[str]) -> set[str]:
    """The Debian packages that these need."""
    names = set()
    if whats & {BED, UP, KUBERNETES, NODE, DEMO}:
        names |= set(CONTROL_PLANE)
    if whats & {RUST, CHECKS, DEMO}:
        names |= set(COMPILER)
    listed = dict(line.split(":") for line in (places.TESTBED / "hosts" / "packages").read_text().splitlines() if not line.startswith("#"))
    if whats & {BED, UP, NODE, DEMO}:
        names |= set(listed["hosts"].split())
    if BED in whats:
        names |= set(listed["kernel"].split())
    # Debian's Python comes without what makes a venv.
    if whats & {BED, UP, NODE, CHECKS, TOOLS, DEMO} and doctor.debian_python() and not importlib.util.find_spec("ensurepip"):
        names.add("python3-venv")
    return names


def _packages(whats: set[str]) -> list[Step]:
    if not shutil.which("dpkg-query"):
        # Not a Debian: for what needs one the doctor stops.
        return []
    wanted = packages(whats)
    absent = sorted(wanted - _installed(wanted))
    if not absent:
        return []
    script = 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"'
    return [Step(PACKAGES, ["sh", "-c", script, "apt", *absent], cpu=8, wait=8)]


def _installed(packages: set[str]) -> set[str]:
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *sorted(packages)], capture_output=True, text=True)
    return {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}


def toolchain() -> list[Step]:
    """rustup adds what its toolchain lacks; another Rust is its owner's, and the doctor says what to do."""
    if not rust.by_rustup() or not rust.lacks():
        return []
    return [Step(TOOLCHAIN, rust.wanted().install(), cpu=25, wait=10)]


def _python() -> list[Step]:
    venv = places.venv()
    if (venv / "complete").exists():
        return []
    script = ('rm -rf "$1" && "$3" -m venv "$1" && "$1/bin/pip" install --quiet --no-compile --disable-pip-version-check -r "$2" '
              '&& touch "$1/complete"')
    return [Step(PYTHON, ["sh", "-c", script, "venv", venv, places.TESTBED / "requirements.txt", sys.executable], cpu=20, wait=5, after=(PACKAGES,))]


def kubernetes(components: tuple[str, ...] = COMPONENTS) -> list[Step]:
    absent = [component for component in components if not os.access(places.kubernetes_binary(component), os.X_OK)]
    if not absent:
        return []
    # The way of the Rust programs, crate after crate, is the longest, and much of it has work for one processor only. This one
    # has work for both at any time, so it takes what they leave: what is left of it in the end goes on at full speed.
    build = ["nice", "-n", "19", places.TESTBED / "kubernetes" / "build", places.kubernetes_built(), *absent]
    cpu = 770 + 90 * bool(set(absent) & set(NODE_COMPONENTS))
    return [Step(CONTROL_PROGRAMS, build, cpu=cpu, wait=15, threads=2, tail=25)]


def _tools(judges: bool) -> list[Step]:
    steps, helm, kstatus = [], places.helm(), places.kstatus()
    if not os.access(helm, os.X_OK):
        steps.append(Step(HELM, [places.TESTBED / "tools" / "helm", places.venv() / "bin" / "python", helm], cpu=3, wait=6, after=(PYTHON,)))
    if judges and not os.access(kstatus, os.X_OK):
        # Of packages that Kubernetes is made of, too: they are compiled then.
        steps.append(Step(KSTATUS, [places.TESTBED / "kstatus" / "build", kstatus], cpu=4, wait=3, after=(CONTROL_PROGRAMS,)))
    return steps


def _kernels(own: bool, images: bool) -> list[Step]:
    """The hosts' own kernel where it is asked for. Debian's, where hosts would have none without it, and for new images, which have its modules."""
    folder, steps = places.TESTBED / "hosts" / "kernel", []
    lacks_own, lacks_prebuilt = (not os.access(kernel, os.X_OK) for kernel in (places.own_kernel(), places.prebuilt_kernel()))
    if own and lacks_own:
        steps.append(Step(OWN_KERNEL, [folder / "build", places.own_kernel().parent], cpu=1080, wait=10, threads=2, after=(PACKAGES,), tail=30, debian=True))
    if lacks_prebuilt and (images or lacks_own and not own):
        steps.append(Step(PREBUILT_KERNEL, [folder / "prebuilt", places.prebuilt_kernel().parent], cpu=12, wait=8, after=(PACKAGES,), debian=True))
    return steps


def _image(engine: str) -> list[Step]:
    done = places.images() / f"complete-{engine}"
    if done.exists():
        return []
    script = '"$1" "$2" "$3" "$4" && touch "$2/complete-$3"'
    build = places.TESTBED / "hosts" / "image.sh"
    name = "host image without an engine" if engine == "none" else f"host image with Docker {engine}"
    return [Step(name, ["sh", "-c", script, "image", build, places.images(), engine, places.prebuilt_kernel().parent], cpu=30, wait=15,
                 after=(PACKAGES, PREBUILT_KERNEL), debian=True)]


def _programs() -> list[Step]:
    """Copies, and at once: checkouts share the target folder, and what another one builds must not run here.

    The suite with them, since one cargo has more to do side by side than two; of the whole workspace, so that dependencies
    have the features that every other build here gives them. Cargo itself knows whether there is anything to do; with what
    was built before, it is little. The tail is the last crate and its linking.
    """
    script = ('cd "$1" && cargo build --locked --workspace --target "$2" --bin testkit-operator --bin kubectl-testkit --bin e2e '
              '&& mkdir -p target/bin && cd "$CARGO_TARGET_DIR/$2/debug" && cp --remove-destination testkit-operator kubectl-testkit "$1/target/bin/"')
    command, after = ["env", *_variables(), "sh", "-c", script, "programs", places.CHECKOUT, STATIC], (PACKAGES, TOOLCHAIN)
    if places.cargo_target().joinpath(STATIC, "debug", "testkit-operator").exists():
        return [Step(f"{PROGRAMS} again", command, cpu=30, after=after, always=True)]
    return [Step(PROGRAMS, command, cpu=780, wait=5, threads=2, after=after, always=True, tail=110)]


def _suite() -> list[Step]:
    """What the programs' step has built, made an image."""
    build = [places.CHECKOUT / "e2e" / "image.sh", "--quick", places.CHECKOUT / "target" / "e2e.tar"]
    return [Step(SUITE, ["env", *_variables(), *build], cpu=5, after=(PACKAGES, TOOLCHAIN, PROGRAMS, f"{PROGRAMS} again"), always=True)]


def _operator() -> list[Step]:
    """For the node: target/operator.tar, and its tag in target/operator.tag."""
    script = 'cd "$1" && tag=$(testbed/node/operator-image target/bin/testkit-operator target/operator.tar) && echo "$tag" > target/operator.tag'
    return [Step(OPERATOR, ["bash", "-c", script, "operator", places.CHECKOUT], cpu=4, after=(PYTHON, PROGRAMS, f"{PROGRAMS} again"), always=True)]


def _variables() -> list[str]:
    return [f"{name}={value}" for name, value in rust.environment().items()]


def describe(steps: list[Step]) -> str:
    return ", ".join(step.name for step in steps) or "nothing"
