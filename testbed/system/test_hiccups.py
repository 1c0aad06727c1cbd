"""A manager that stands still for a moment: what its engine has is not asked of another one, and the swarm answers at once."""
import contextlib
import http.client
import json
import subprocess
import threading
import time
from pathlib import Path

import world
from attached import attach, image_of
from world import cluster, until

BED = Path(__file__).resolve().parents[1] / "bed"
# Shorter than the time after which a connection counts as lost (3 s), longer than that after which it is suspect (0.9 s).
HICCUP = 1.5
# What a question to the swarm may take in one of them.
AT_ONCE = 1.0
# One that waits for the end of a hiccup takes longer in each of them, on a busy machine any question may in some: so many hiccups
# are had, and more where not so many of them had all answers at once.
HICCUPS, MOST, WITHOUT_DELAY = 3, 6, 2


def hurt(verb, host):
    subprocess.run([BED, "host", verb, host], check=True, capture_output=True, timeout=180)


def asked(sock, method, path, body=None):
    """The status and the document of an answer, whatever it is, and how long it took."""
    connection, began = sock.connection(60), time.monotonic()
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else None, time.monotonic() - began
    finally:
        connection.close()


class Askers:
    """What is asked again and again beside the hiccups, each question by a thread of its own; the answers are kept, with when they came."""

    def __init__(self, sock, image, binds, network):
        self.sock, self.done, self.answers, self.threads = sock, threading.Event(), {}, []
        made = {"Image": image, "Cmd": ["/usr/bin/sleep", "600"], "HostConfig": {"Binds": binds, "NetworkMode": "none"}}
        number = iter(range(10**6))
        self.every("inspect", lambda: ("GET", "/containers/home/json"))
        self.every("create", lambda: ("POST", f"/containers/create?name=made-{next(number)}", made))
        self.every("exec", lambda: ("POST", "/containers/home/exec", {"Cmd": ["/usr/bin/true"], "AttachStdout": True}))
        self.every("networks", lambda: ("GET", f"/networks/{network}"))
        self.every("services", lambda: ("GET", "/services"))
        self.every("ping", lambda: ("GET", "/_ping"), document=False)

    def every(self, what, question, document=True):
        self.answers[what] = []

        def ask():
            while not self.done.wait(0.05):
                try:
                    if document:
                        answer = asked(self.sock, *question())
                    else:
                        began = time.monotonic()
                        self.sock.ask(*question(), timeout=30)
                        answer = (200, None, time.monotonic() - began)
                except (OSError, http.client.HTTPException, AssertionError) as error:
                    answer = (0, repr(error), 0)
                self.answers[what].append((*answer, time.monotonic()))

        self.threads.append(threading.Thread(target=ask, daemon=True))

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self.answers

    def __exit__(self, *_):
        self.done.set()
        [thread.join(60) for thread in self.threads]


@contextlib.contextmanager
def beside_the_leader(space, name, folder):
    """An attach with the name of its home. All managers ask the leader: one that is frozen has nobody answer for the swarm,
    whatever the attach does. It is home at another one, unless that has come to lead in this very moment."""
    for left in (2, 1, 0):
        with attach(space, name, folder) as sock:
            home = sock.json("GET", "/_testkit")["manager"]
            [leads] = [n["Spec"]["Labels"]["testkit.dev/slot"] for n in sock.json("GET", "/nodes") if n.get("ManagerStatus", {}).get("Leader")]
            if home != f"{name}-{leads}":
                yield sock, home
                return
    raise AssertionError(f"attached three times, and each time to the leader: {home}")


def test_a_hiccup_moves_nothing_that_is_an_engines(space, tmp_path):
    space.apply(cluster("still", managers=3, workers=0))
    tar = tmp_path / "image.tar"
    image = image_of(1, tar)
    space.wait("swarmcluster", "still", "Ready", 300)
    with beside_the_leader(space, "still", tmp_path) as (sock, home):
        sock.load(tar)
        binds = [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64")]  # The image has no programs; the host has.
        sock.json("POST", "/containers/create?name=home", {"Image": image, "Cmd": ["/usr/bin/sleep", "600"], "HostConfig": {"Binds": binds, "NetworkMode": "none"}})
        sock.json("POST", "/containers/home/start")
        sock.json("POST", "/networks/create", {"Name": "local", "Driver": "bridge"})
        sock.json("POST", "/networks/create", {"Name": "wide", "Driver": "overlay"})
        assert sock.json("GET", "/networks/wide?scope=swarm")["Scope"] == "swarm"

        # Without a program to be started in between, so that a hiccup is as long as it is said to be.
        host = next(host["id"] for host in world.asked("hosts") if host["name"] == home)
        swarms, delayed = ("services", "ping"), []
        with Askers(sock, image, binds, "local") as answers:
            while len(delayed) < HICCUPS or delayed.count([]) < WITHOUT_DELAY and len(delayed) < MOST:
                began = time.monotonic()
                world.asked(f"hosts/{host}/freeze", "POST")
                time.sleep(HICCUP)
                world.asked(f"hosts/{host}/thaw", "POST")
                time.sleep(HICCUP)
                delayed.append([(what, took) for what in swarms for *_, took, came in list(answers[what]) if came > began and took > AT_ONCE])
        assert sock.json("GET", "/_testkit")["manager"] == home, sock.said()

        # What its engine has: the right answer of the right engine, however late.
        for what, status in (("inspect", 200), ("create", 201), ("exec", 201), ("networks", 200)):
            wrong = [answer for answer in answers[what] if answer[0] != status]
            assert answers[what] and not wrong, f"{what}: {wrong[:3]} of {len(answers[what])}\n{sock.said()}"
            assert max(took for *_, took, _ in answers[what]) > AT_ONCE, f"no {what} was under way in a hiccup"
        # What the swarm has, and what is the same everywhere: at once.
        for what in swarms:
            wrong = [answer for answer in answers[what] if answer[0] != 200]
            assert answers[what] and not wrong, f"{what}: {wrong[:3]} of {len(answers[what])}\n{sock.said()}"
        assert delayed.count([]) >= WITHOUT_DELAY, f"what the swarm has waited, by hiccup: {delayed}\n{sock.said()}"

        # Every container is where it was made, once, and on no other manager.
        made = {answer[1]["Id"] for answer in answers["create"]}
        assert len(made) == len(answers["create"])
        there = {container["Id"] for container in sock.json("GET", '/containers/json?all=1&filters={"name":["made-"]}')}
        assert there == made
        for node in space.status("swarmcluster", "still")["nodes"]:
            names = space.ssh("still", node["address"], "docker", "ps", "-aq", "--filter", "name=made-").split()
            assert bool(names) == (node["name"] == home), f"{node['name']} has {len(names)} of them"


def test_a_home_that_is_given_up_is_said_and_gone_back_to(space, tmp_path):
    space.apply(cluster("gone", managers=3, workers=0))
    space.wait("swarmcluster", "gone", "Ready", 300)
    with attach(space, "gone", tmp_path) as sock:
        home = sock.json("GET", "/_testkit")["manager"]
        sock.json("POST", "/volumes/create", {"Name": "kept"})
        hurt("freeze", home)
        # What waited for it ends with an error in the daemon's own form, that says where it was.
        status, error, took = asked(sock, "GET", "/volumes/kept")
        assert status == 503 and home in error["message"] and took < 40, (status, error, took)
        assert f"made so far are on {home}" in error["message"], error
        now = sock.json("GET", "/_testkit")["manager"]
        assert now != home and home in sock.said() and now in sock.said(), sock.said()
        # So does every error after that.
        status, error, _ = asked(sock, "GET", "/volumes/kept")
        assert status == 404 and f"made so far are on {home}" in error["message"], (status, error)
        hurt("thaw", home)
        until("it goes back", lambda: sock.json("GET", "/_testkit")["manager"] == home, 90)
        assert sock.json("GET", "/volumes/kept")["Name"] == "kept"
