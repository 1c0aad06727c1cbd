"""The attached socket: no stream delays another, a manager that dies is replaced, and what breaks says so."""
import http.client
import os
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

from attached import CHUNK, attach, image_of
from world import cluster, until

BED = Path(__file__).resolve().parents[1] / "bed"


def hurt(verb, host):
    subprocess.run([BED, "host", verb, host], check=True, capture_output=True, timeout=180)


def hijacked(sock, container, words):
    """An exec whose connection becomes a stream of both ways, as `docker exec -i` has it."""
    exec_id = sock.json("POST", f"/containers/{container}/exec", {"Cmd": words, "AttachStdin": True, "AttachStdout": True})["Id"]
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(30)
    stream.connect(str(sock.path))
    body = b'{"Detach":false,"Tty":false}'
    stream.sendall(b"POST /exec/%s/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (exec_id.encode(), len(body), body))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = stream.recv(1)
        assert piece, head
        head += piece
    assert head.startswith(b"HTTP/1.1 101"), head
    return stream, exec_id


def frames(stream):
    """What came, of the daemon's frames: 8 bytes of head, the length in the last four."""
    data = b""
    while piece := stream.recv(CHUNK):
        data += piece
    out = b""
    while data:
        size = int.from_bytes(data[4:8], "big")
        out, data = out + data[8 : 8 + size], data[8 + size :]
    return out


def test_the_attached_socket(space, tmp_path):
    space.apply(cluster("near", managers=3, workers=0))
    tar = tmp_path / "image.tar"
    image = image_of(20, tar)
    space.wait("swarmcluster", "near", "Ready", 300)
    with attach(space, "near", tmp_path) as sock:
        assert os.stat(sock.path).st_mode & 0o777 == 0o600
        managers = {n["name"] for n in space.status("swarmcluster", "near")["nodes"]}
        home = sock.json("GET", "/_testkit")["manager"]
        assert home in managers
        assert sock.json("GET", "/_testkit") == {"cluster": f"{space.name}/near", "manager": home}
        assert len(sock.json("GET", "/nodes")) == 3

        # A second attach does not take the socket of the first; the environment is told for the right cluster alone.
        second = subprocess.run(["kubectl", "testkit", "attach", "near", "-n", space.name, "--socket", sock.path], capture_output=True, text=True, timeout=180)
        assert second.returncode == 1 and "in use" in second.stderr, second
        told = subprocess.run(["kubectl", "testkit", "env", "near", "-n", space.name, "--socket", sock.path], capture_output=True, text=True, timeout=180)
        assert told.stdout == f"export DOCKER_HOST='unix://{sock.path}'\n", told

        # A command has the socket in its environment, and decides the exit code: a socket of its own, wherever it runs.
        words = ["sh", "-c", 'curl -sf --unix-socket "${DOCKER_HOST#unix://}" http://docker/_ping; exit 7']
        done = subprocess.run(["kubectl", "testkit", "attach", "near", "-n", space.name, "--", *words], capture_output=True, text=True, timeout=180, cwd="/proc")
        assert (done.returncode, done.stdout) == (7, "OK"), done

        # One connection, several questions of both kinds: the large one moves to a connection of its own.
        connection = sock.connection()
        for path in ("/_ping", "/version", "/info"):
            connection.request("GET", path)
            assert connection.getresponse().read()
        sock.load(tar)
        sock.load(os.environ["TESTKIT_E2E_IMAGE"])
        connection.request("GET", f"/images/get?names={image}")
        assert len(connection.getresponse().read()) > 20 << 20

        # Five downloads that nobody reads, and everybody else is answered; read on, each is whole.
        stalled = [sock.begin(f"/images/get?names={image}") for _ in range(5)]
        for answer in stalled:
            assert len(answer.read(CHUNK)) == CHUNK
        for _ in range(50):
            assert sock.ask("GET", "/_ping", timeout=30) == b"OK"
        for answer in stalled:
            size = CHUNK
            while piece := answer.read(CHUNK):
                size += len(piece)
            assert size > 20 << 20

        # A stream of both ways: what is sent comes back, also what is on its way at the end of input.
        binds = [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64")]  # The image has no programs; the host has.
        sock.json("POST", "/containers/create?name=echo", {"Image": image, "Cmd": ["/usr/bin/sleep", "600"], "HostConfig": {"Binds": binds, "NetworkMode": "none"}})
        sock.json("POST", "/containers/echo/start")
        stream, exec_id = hijacked(sock, "echo", ["/usr/bin/cat"])
        sent = os.urandom(3 << 20)

        def speak():
            stream.sendall(sent)
            stream.shutdown(socket.SHUT_WR)

        threading.Thread(target=speak).start()
        assert frames(stream) == sent
        assert until("cat has ended", lambda: sock.json("GET", f"/exec/{exec_id}/json")["Running"] is False, 60)

        # Who only listens is told of the end; who goes away is not listened to any more.
        follow = sock.begin("/containers/echo/logs?follow=1&stdout=1")
        leaves, exec_id = hijacked(sock, "echo", ["/usr/bin/cat"])
        leaves.close()
        assert until("cat has ended without its client", lambda: sock.json("GET", f"/exec/{exec_id}/json")["Running"] is False, 60)
        sock.ask("DELETE", "/containers/echo?force=1")
        assert follow.read() == b""

        # Many at once.
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(sock.ask("GET", "/version"))) for _ in range(100)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert len(answers) == 100

        # The manager stops in the middle of an upload: that and what waits end with an error, and another manager is home.
        sent, broken = [], []

        def endless():
            entry = tarfile.TarInfo("layer.tar")
            entry.size = 1 << 30
            yield entry.tobuf()
            while True:
                yield os.urandom(CHUNK)
                sent.append(CHUNK)

        def upload():
            try:
                sock.ask("POST", "/images/load", body=endless(), headers={"Transfer-Encoding": "chunked"}, chunked=True)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                broken.append(error)

        assert sock.json("GET", "/_testkit")["manager"] == home, sock.said()
        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        until("the upload is under way", lambda: len(sent) > 40, 60)
        hurt("freeze", home)
        # While much is sent a sign of life may wait behind it: 20 s, and 7 s more until home is given up.
        connection = sock.connection(60)
        connection.request("GET", "/containers/json")
        answer = connection.getresponse()
        said = answer.read().decode()
        assert answer.status == 503 and home in said, (answer.status, said)
        now = sock.json("GET", "/_testkit")["manager"]
        assert now in managers - {home}
        assert sock.json("GET", "/containers/json") == []
        thread.join(60)
        assert broken, "the upload hangs"
        assert f"from {home} to {now}" in sock.said(), sock.said()
        hurt("thaw", home)
    assert not sock.path.exists()

