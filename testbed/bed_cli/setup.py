"""What has to be installed and built before a bed can start, and whether it is there. What is there is left alone."""
import os
import subprocess
import sys

from . import doctor, places, registry
from .errors import BedError
from .kubernetes import COMPONENTS
from .progress import Progress, Step

ENGINES = ("28.5", "26.1", "20.10")
# Seconds on two cores with nothing warm, in this order.
BUILD_SECONDS = {"kube-apiserver": 320, "kube-controller-manager": 105, "kubectl": 40, "etcd": 15}
# What the control plane and the network of the hosts need on the machine itself.
PACKAGES = ("iproute2", "nftables", "openssl", "openssh-client")


def ensure(engines: tuple[str, ...], kubernetes_only: bool) -> None:
    """Installs and builds what is missing. One at a time on this machine: a second one waits and finds it done."""
    if not missing(engines, kubernetes_only):
        return
    with registry.locked(places.cache() / "setup.lock", "another setup"):
        steps = missing(engines, kubernetes_only)
        doctor.require(steps)
        Progress(steps).run()
        left = missing(engines, kubernetes_only)
        if left:
            raise BedError("still missing after setup: " + ", ".join(step.name for step in left))


def missing(engines: tuple[str, ...], kubernetes_only: bool) -> list[Step]:
    steps = _packages(kubernetes_only)
    if not kubernetes_only:
        steps += _python()
    steps += kubernetes()
    if not kubernetes_only:
        steps += _kernel() + [step for engine in engines for step in _image(engine)]
    return steps


def _packages(kubernetes_only: bool) -> list[Step]:
    wanted = set(PACKAGES)
    if not kubernetes_only:
        listed = (places.TESTBED / "hosts" / "packages").read_text().splitlines()
        wanted |= {word for line in listed for word in line.partition("#")[0].split()}
    absent = sorted(wanted - _installed(wanted))
    if not absent:
        return []
    script = 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"'
    return [Step("Debian packages", ["sh", "-c", script, "apt", *absent], 40)]


def _installed(packages: set[str]) -> set[str]:
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *sorted(packages)], capture_output=True, text=True)
    return {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}


def _python() -> list[Step]:
    venv = places.venv()
    if (venv / "complete").exists():
        return []
    script = ('rm -rf "$1" && "$3" -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2" '
              '&& touch "$1/complete"')
    return [Step("Python packages", ["sh", "-c", script, "venv", venv, places.TESTBED / "requirements.txt", sys.executable], 40)]


def kubernetes() -> list[Step]:
    build = places.TESTBED / "kubernetes" / "build"
    return [Step(component, [build, places.kubernetes_built(), component], BUILD_SECONDS[component])
            for component in COMPONENTS if not os.access(places.kubernetes_binary(component), os.X_OK)]


def _kernel() -> list[Step]:
    if os.access(places.kernel(), os.X_OK):
        return []
    return [Step("kernel of the hosts", [places.TESTBED / "hosts" / "kernel" / "build", places.kernel().parent], 300)]


def _image(engine: str) -> list[Step]:
    done = places.images() / f"complete-{engine}"
    if done.exists():
        return []
    script = 'mkdir -p "$2" && ln -sf "$4" "$2/linux" && "$1" "$2" "$3" && touch "$2/complete-$3"'
    build = places.TESTBED / "hosts" / "image.sh"
    return [Step(f"host image with Docker {engine}", ["sh", "-c", script, "image", build, places.images(), engine, places.kernel()], 60)]


def describe(steps: list[Step]) -> str:
    return ", ".join(step.name for step in steps) or "nothing"

