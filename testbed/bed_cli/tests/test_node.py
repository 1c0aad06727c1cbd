"""What a node is made of, without one: the door to the bed's servers, images without Docker, the program that holds a pod."""
import json
import signal
import socket
import subprocess
import sys
import tarfile
import time

import pytest

from bed_cli import node, places

IMAGE = places.CHECKOUT / "e2e" / "image.py"


@pytest.fixture
def relay():
    """A server on loopback that answers with what it was told, and a relay to it for 127.0.0.3 alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen([sys.executable, node.__file__.replace("node.py", "relay.py"), "127.0.0.2", "127.0.0.3", str(port)])
        try:
            yield server, port
        finally:
            process.terminate()
            process.wait(30)


def call(port: int, source: str) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.2", port), timeout=30, source_address=(source, 0))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the relay does not listen"
            time.sleep(0.05)


def test_the_node_and_nobody_else_reaches_the_beds_servers(relay):
    server, port = relay
    with call(port, "127.0.0.4") as stranger:
        assert stranger.recv(1) == b""
    with call(port, "127.0.0.3") as ours:
        ours.sendall(b"asked")
        ours.shutdown(socket.SHUT_WR)
        there, _ = server.accept()
        with there, there.makefile("rb") as said:
            # One side has said all; the other one still answers.
            assert said.read() == b"asked"
            there.sendall(b"x" * 200_000)
        with ours.makefile("rb") as answer:
            assert len(answer.read()) == 200_000


def made(folder, dockerfile: str, *given: str) -> subprocess.CompletedProcess:
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "program").write_text("a program")
    return subprocess.run([sys.executable, IMAGE, folder / "Dockerfile", folder / "out.tar", "name:1", "amd64", *given], capture_output=True, text=True)


def test_an_image_is_what_the_dockerfile_says(tmp_path):
    for name, more, has in ((places.CHECKOUT / "Dockerfile", "ca-certificates.crt", {"User": "65532:65532", "Entrypoint": ["/testkit-operator"], "ExposedPorts": {"8080/tcp": {}}}),
                            (places.CHECKOUT / "e2e" / "Dockerfile", "", {"Entrypoint": ["/e2e"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"testkit.dev/case-filter": "Libtest"}})):
        program = has["Entrypoint"][0].lstrip("/")
        given = [f"{file}={tmp_path}/program" for file in (program, more) if file]
        done = made(tmp_path, name.read_text(), *given)
        assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / "out.tar") as archive:
            [manifest] = json.load(archive.extractfile("manifest.json"))
            assert json.load(archive.extractfile(manifest["Config"]))["config"] == has
            with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][0])) as layer:
                modes = {file.name: file.mode for file in layer}
        assert modes.pop(program) == 0o755 and set(modes.values()) <= {0o644}, modes


@pytest.mark.parametrize("last, words", [("FROM debian", "made from debian"), ("FROM scratch\nRUN true", "cannot do what"), ("FROM scratch\nCOPY --from=build /a/other /other\nENTRYPOINT [\"/other\"]", "other=FILE")])
def test_a_dockerfile_that_needs_more_is_refused(last, words, tmp_path):
    done = made(tmp_path, f"FROM rust AS build\nRUN make\n{last}\n", f"program={tmp_path}/program")
    assert done.returncode != 0 and words in done.stderr and not (tmp_path / "out.tar").exists(), done.stderr


def test_what_holds_a_pod_ends_when_it_is_told_to(tmp_path):
    subprocess.run(["gcc", "-Wall", "-Werror", *node.STATIC, "-o", tmp_path / "pause", node.SOURCES / "pause" / "pause.c"], check=True)
    process = subprocess.Popen([tmp_path / "pause"])
    # One that it passes over, and one that it heeds.
    process.send_signal(signal.SIGCHLD)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)
