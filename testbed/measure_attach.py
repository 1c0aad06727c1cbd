"""The figures of `kubectl testkit attach`, each beside `ssh -N -L` to the same host in the same run; none is judged here.

attach_load_ratio, attach_save_ratio  throughput of 100 MiB of `docker load`, `docker save`, over ssh -L's
attach_save_ratio_300ms               the same with 300 ms of delay on what the host sends
attach_stall_ms                       median GET /_ping while ten readers of big downloads are stopped
attach_rtt_ratio                      median GET /_ping, a new connection each, over ssh -L's
attach_burst_ratio                    wall time of 100 `docker ps` at once, over ssh -L's
dial_load_ratio, dial_save_ratio      `docker load`, `docker save` of the same 100 MiB by attach, over DOCKER_HOST=ssh://'s,
                                      which runs ssh and `docker system dial-stdio` for every connection
dial_ps_ratio                         median of one `docker ps` by attach, over ssh://'s
dial_burst_s, dial_burst_failed       100 `docker ps` at once by ssh://: sshd drops part of such a burst
attach_first_answer_s                 from the start of attach to the first answer
attach_rss_mib                        memory with 100 streams that share the connection; …_own: with 100 that have their own;
                                      …_idle: with none; …_after_all: after all the measurements before, with none
"""
import contextlib
import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from attached import CHUNK, attach, image_of, ssh_forward

FIGURES = ("attach_load_ratio", "attach_save_ratio", "attach_save_ratio_300ms", "attach_stall_ms", "attach_rtt_ratio", "attach_first_answer_s",
           "attach_rss_mib", "attach_rss_mib_own", "attach_rss_mib_idle", "attach_rss_mib_after_all")
# Those that want a docker client.
DOCKER_FIGURES = ("attach_burst_ratio", "dial_load_ratio", "dial_save_ratio", "dial_ps_ratio", "dial_burst_s", "dial_burst_failed")


@dataclass(frozen=True)
class Effort:
    """How much is measured. `mib`: of an image; `many`: connections at once; `pings` are asked in so many rounds, twice."""

    mib: int = 100
    rounds: int = 5
    pings: int = 30
    stalled: int = 10
    many: int = 100


def seconds(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def alternating(ours, theirs, work, rounds):
    """Medians of both, and their ratio as theirs over ours: above 1 is faster than theirs."""
    a, b = [], []
    for _ in range(rounds):
        b.append(seconds(lambda: work(theirs)))
        a.append(seconds(lambda: work(ours)))
    return statistics.median(a), statistics.median(b)


def save(sock, image):
    answer = sock.begin(f"/images/get?names={image}", timeout=300)
    while answer.read(CHUNK):
        pass


def reload(sock, image, tar):
    sock.ask("DELETE", f"/images/{image}?force=1")
    sock.load(tar)


def pings(sock, count):
    return [seconds(lambda: sock.ask("GET", "/_ping", timeout=30)) * 1000 for _ in range(count)]


@contextlib.contextmanager
def stalled(sock, image, count):
    """So many downloads that nobody reads, each as far as it goes without a reader."""
    answers = [sock.begin(f"/images/get?names={image}") for _ in range(count)]
    for answer in answers:
        answer.read(CHUNK)
    seen = -1
    while seen != (seen := sock.bytes_read()):
        time.sleep(1)  # Until a whole second brings nothing: every buffer on the way is full.
    try:
        yield
    finally:
        for answer in answers:
            answer.close()


def burst(environment, count):
    """Wall time of so many `docker ps` at once, and how many failed."""
    def one():
        return subprocess.Popen(["docker", "ps", "-q"], env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began = time.monotonic()
    failed = sum(1 for process in [one() for _ in range(count)] if process.wait(120))
    return time.monotonic() - began, failed


def dialled(space, cluster, address, folder):
    """The environment in which the docker client reaches the host by ssh://, with the cluster's own keys."""
    path = Path(folder) / "bin"
    path.mkdir(exist_ok=True)
    ssh = path / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {shlex.join(space.key(cluster, folder))} "$@"\n')
    ssh.chmod(0o700)
    return {"DOCKER_HOST": f"ssh://root@{address}", "PATH": f"{path}:{os.environ['PATH']}"}


def docker(environment, *words):
    done = subprocess.run(["docker", *words], env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, f"docker {' '.join(words)} by {environment['DOCKER_HOST']}: {done.stderr}"


def beside_dialled(ours, theirs, image, tar, effort, note):
    """The docker client by attach and by ssh://."""
    def load(environment):
        docker(environment, "rmi", "--force", image)
        docker(environment, "load", "--quiet", "--input", str(tar))

    for name, rounds, work in (
        ("load", min(effort.rounds, 3), load),
        ("save", min(effort.rounds, 3), lambda environment: docker(environment, "save", image)),
        ("ps", 2 * effort.rounds, lambda environment: docker(environment, "ps", "--quiet")),
    ):
        a, b = alternating(ours, theirs, work, rounds)
        note(**{f"dial_{name}_ratio": round(b / a, 3), f"attach_docker_{name}_s": round(a, 3), f"dial_{name}_s": round(b, 3)})
    seconds_, failed = burst(theirs, effort.many)
    note(dial_burst_s=round(seconds_, 2), dial_burst_failed=failed)


def with_streams(sock, open_one, count):
    held = [open_one(sock) for _ in range(count)]
    mib = sock.resident_mib()
    for connection in held:
        connection.close()
    return round(mib, 1)


def kept_alive(sock):
    connection = sock.connection()
    connection.request("GET", "/_ping")
    connection.getresponse().read()
    return connection


def figures():
    return FIGURES + (DOCKER_FIGURES if shutil.which("docker") else ())


def measure(space, cluster, effort, note):
    folder = tempfile.mkdtemp(prefix="testkit-attach-")
    try:
        leader = next(n for n in space.status("swarmcluster", cluster)["nodes"] if n.get("leader"))
        tar = Path(folder) / "image.tar"
        image = image_of(effort.mib, tar)
        with attach(space, cluster, folder, "--node", leader["name"]) as ours, ssh_forward(space, cluster, leader["address"], folder) as theirs:
            note(attach_first_answer_s=round(ours.first_answer, 3), ssh_first_answer_s=round(theirs.first_answer, 3))

            a, b = [], []
            pings(ours, effort.pings), pings(theirs, effort.pings)
            for _ in range(2 * effort.rounds):
                a += pings(ours, effort.pings)
                b += pings(theirs, effort.pings)
            a, b = statistics.median(a), statistics.median(b)
            note(attach_rtt_ratio=round(a / b, 3), attach_rtt_ms=round(a, 2), ssh_rtt_ms=round(b, 2))

            ours.load(tar)
            a, b = alternating(ours, theirs, lambda sock: reload(sock, image, tar), effort.rounds)
            note(attach_load_ratio=round(b / a, 3), attach_load_s=round(a, 2), ssh_load_s=round(b, 2))
            a, b = alternating(ours, theirs, lambda sock: save(sock, image), effort.rounds)
            note(attach_save_ratio=round(b / a, 3), attach_save_s=round(a, 2), ssh_save_s=round(b, 2))

            with stalled(ours, image, effort.stalled):
                a = statistics.median(pings(ours, effort.many))
            with stalled(theirs, image, effort.stalled):
                b = statistics.median(pings(theirs, effort.many))
            note(attach_stall_ms=round(a, 2), ssh_stall_ms=round(b, 2))

            subprocess.run([bed(), "host", "delay", leader["name"], "300"], check=True)
            try:
                a, b = alternating(ours, theirs, lambda sock: save(sock, image), min(effort.rounds, 3))
            finally:
                subprocess.run([bed(), "host", "clear", leader["name"]], check=True)
            note(attach_save_ratio_300ms=round(b / a, 3), attach_save_300ms_s=round(a, 2), ssh_save_300ms_s=round(b, 2))

            if shutil.which("docker"):
                a, b, failed = [], [], 0
                for _ in range(min(effort.rounds, 3)):
                    b.append(burst({"DOCKER_HOST": f"unix://{theirs.path}"}, effort.many)[0])
                    time_, failures = burst({"DOCKER_HOST": f"unix://{ours.path}"}, effort.many)
                    a.append(time_)
                    failed += failures
                note(attach_burst_ratio=round(statistics.median(a) / statistics.median(b), 3), attach_burst_s=round(statistics.median(a), 2), ssh_burst_s=round(statistics.median(b), 2), attach_burst_failed=failed)
                beside_dialled({"DOCKER_HOST": f"unix://{ours.path}"}, dialled(space, cluster, leader["address"], folder), image, tar, effort, note)
            else:
                print("attach_burst_ratio, dial_*: not measured, there is no docker client here", flush=True)
            note(attach_rss_mib_after_all=round(ours.resident_mib(), 1))
        with attach(space, cluster, folder, "--node", leader["name"]) as ours:
            note(attach_rss_mib_idle=round(ours.resident_mib(), 1), attach_rss_mib=with_streams(ours, kept_alive, effort.many))
        with attach(space, cluster, folder, "--node", leader["name"]) as ours:
            note(attach_rss_mib_own=with_streams(ours, lambda sock: sock.begin("/events"), effort.many))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bed():
    return str(Path(__file__).with_name("bed"))
