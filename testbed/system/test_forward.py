"""Ports of the cluster as ports of this machine: `port-forward`, `attach --publish`, and what testcontainers is told."""
import contextlib
import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from attached import attach
from world import cluster, until

IMAGE = "dockerswarm/e2e:latest"
SERVER = ["test-server"]  # HTTP on port 80; / says the host's name, which is the container's id.


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=15) as answer:
        return answer.read().decode().strip()


def answers(port):
    """What is said there, or None where nothing is yet."""
    try:
        return get(port)
    except (OSError, urllib.error.URLError):
        return None


def put(sock, port):
    """Where a port of the attach's home is here: the same, unless this machine has it itself, be it as one end of a connection."""
    moved = re.search(rf"port {port} cannot be had here .*forwarding from 127\.0\.0\.1:(\d+)", sock.said())
    return int(moved[1]) if moved else port


def is_closed(port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def plugin(space, *words):
    return subprocess.run(["kubectl", "testkit", "-n", space.name, *map(str, words)], capture_output=True, text=True, timeout=180)


@contextlib.contextmanager
def forwarded(space, name, *ports):
    """The local ports, in the order they were asked for."""
    process = subprocess.Popen(
        ["kubectl-testkit", "port-forward", name, "-n", space.name, *ports], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = [process.stdout.readline() for _ in ports]
        found = [re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\S+)\n", line) for line in lines]
        if not all(found):
            process.terminate()
            raise AssertionError((lines, process.stderr.read()))
        yield [int(match[1]) for match in found]
    finally:
        process.terminate()
        assert process.wait(30) == 143


def test_ports_of_the_cluster_are_ports_here(space, tmp_path):
    space.apply(cluster("near", managers=1, workers=0))
    space.wait("swarmcluster", "near", "Ready", 300)
    with attach(space, "near", tmp_path, "--publish") as sock:
        sock.load(os.environ["TESTKIT_E2E_IMAGE"])

        # What testcontainers reads, and that an attach that publishes nothing is not enough for it.
        told = plugin(space, "env", "near", "--testcontainers", "--socket", sock.path)
        assert told.stdout.splitlines() == [
            f"export DOCKER_HOST='unix://{sock.path}'",
            "export TESTCONTAINERS_HOST_OVERRIDE='127.0.0.1'",
            "export TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE='/var/run/docker.sock'",
        ], told
        with attach(space, "near", tmp_path, name="plain.sock") as plain:
            refused = plugin(space, "env", "near", "--testcontainers", "--socket", plain.path)
            assert refused.returncode == 1 and "--publish" in refused.stderr, refused
        inside = plugin(space, "attach", "near", "--publish", "--", "sh", "-c", "echo $TESTCONTAINERS_HOST_OVERRIDE")
        assert inside.stdout == "127.0.0.1\n", inside

        # A container that publishes a port of the engine's choice, as testcontainers has it: the same port is here.
        made = sock.json("POST", "/containers/create?name=web", {
            "Image": IMAGE, "Cmd": SERVER, "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}},
        })
        sock.json("POST", "/containers/web/start")
        ports = sock.json("GET", "/containers/web/json")["NetworkSettings"]["Ports"]["80/tcp"]
        web = int(ports[0]["HostPort"])
        assert until("the container's port is here", lambda: answers(put(sock, web)), 60) == made["Id"][:12], sock.said()
        web = put(sock, web)
        # An end that the server makes is one here, after all that it said.
        with socket.create_connection(("127.0.0.1", web), timeout=60) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = b""
            while piece := raw.recv(4096):
                said += piece
        assert made["Id"][:12].encode() in said, said

        # A port that somebody has here is another one, and that is said.
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            number = taken.getsockname()[1]
            sock.json("POST", "/containers/create?name=other", {
                "Image": IMAGE, "Cmd": SERVER, "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(number)}]}},
            })
            sock.json("POST", "/containers/other/start")
            pattern = rf"port {number} cannot be had here .*forwarding from 127\.0\.0\.1:(\d+)"
            other = int(until("it is said where it is", lambda: re.search(pattern, sock.said()), 60)[1])
            assert until("the other container's port is here", lambda: answers(other), 60)
        sock.ask("DELETE", "/containers/other?force=1")

        # A service on every node, one that publishes nothing, and a port of the node itself.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1]
        port = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": number, "PublishMode": "ingress"}
        server = {"ContainerSpec": {"Image": IMAGE, "Args": SERVER}}
        sock.json("POST", "/services/create", {"Name": "loud", "TaskTemplate": server, "EndpointSpec": {"Ports": [port]}})
        network = sock.json("POST", "/networks/create", {"Name": "inner", "Driver": "overlay"})["Id"]
        sock.json("POST", "/services/create", {"Name": "quiet", "TaskTemplate": {**server, "Networks": [{"Target": network}]}})
        of_service = lambda name: urllib.parse.quote(json.dumps({"service": [name]}))
        running = lambda name: [t for t in sock.json("GET", f"/tasks?filters={of_service(name)}") if t["Status"]["State"] == "running"]
        until("both services run", lambda: running("loud") and running("quiet"), 120)
        assert until("the service's port is here", lambda: answers(put(sock, number)), 60)
        here = put(sock, number)
        quiet = running("quiet")[0]["Status"]["ContainerStatus"]["ContainerID"]
        with forwarded(space, "near", f":{number}", "loud::80", "quiet::80", "web::80", "m0/web::80", "m0::22") as local:
            loud, by_target, inner, named, on_node, sshd = local
            assert get(loud) and get(by_target)
            assert get(inner) == quiet[:12]
            assert get(named) == get(on_node) == made["Id"][:12]
            with socket.create_connection(("127.0.0.1", sshd), timeout=60) as raw:
                assert raw.recv(8).startswith(b"SSH-2.0-")
            # Many at once, and one that reads nothing holds up none of them.
            stalled = socket.create_connection(("127.0.0.1", inner), timeout=60)
            assert [get(inner) for _ in range(20)] == [quiet[:12]] * 20
            stalled.close()
        assert is_closed(loud)

        # What is wrong is said before anything is forwarded.
        for words, why in [
            (("port-forward", "near", "nope:80"), "no node, service or container"),
            (("port-forward", "near", f"{web}:80"), "cannot be listened on"),
            (("port-forward", "near", "web"), "is no port"),
        ]:
            wrong = plugin(space, *words)
            assert wrong.returncode in (1, 2) and why in wrong.stderr and not wrong.stdout, wrong

        # What is published no more is closed here.
        sock.ask("DELETE", "/containers/web?force=1")
        until("the container's port is closed here", lambda: is_closed(web), 60)
    assert is_closed(here)
