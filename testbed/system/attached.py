"""The local end of a Docker socket, as `kubectl testkit attach` or `ssh -L` makes it, and plain HTTP over it."""
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CHUNK = 256 << 10


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket: one connection, as many requests as wanted."""

    def __init__(self, path, timeout=60):
        super().__init__("docker", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Socket:
    """A unix socket that leads to an engine; the process behind it ends with the block."""

    def __init__(self, command, path, **options):
        self.path, self.command, self.options = Path(path), command, options

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.began = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, text=True, **self.options)
        while time.monotonic() < self.began + 60:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.command[:3]} ended: {self.said()}")
            try:
                assert self.ask("GET", "/_ping") == b"OK"
                self.first_answer = time.monotonic() - self.began
                return self
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        self.__exit__()
        raise AssertionError(f"{self.command[:3]}: no answer in 60 s: {self.said()}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def connection(self, timeout=60):
        return Connection(self.path, timeout)

    def ask(self, method, path, body=None, timeout=60, headers=None, chunked=False):
        """One request on a connection of its own; the body of the answer."""
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {}, encode_chunked=chunked)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status >= 400:
                raise AssertionError(f"{method} {path}: {answer.status} {data[:500]!r}")
            return data
        finally:
            connection.close()

    def json(self, method, path, body=None, **options):
        data = self.ask(method, path, json.dumps(body) if body is not None else None, headers={"Content-Type": "application/json"}, **options)
        return json.loads(data) if data else None

    def load(self, tar):
        with open(tar, "rb") as file:
            self.ask("POST", "/images/load?quiet=1", body=file, timeout=300, headers={"Content-Type": "application/x-tar", "Content-Length": str(os.path.getsize(tar))})

    def begin(self, path, timeout=60):
        """A download that has begun: its answer, of which nothing was read."""
        connection = self.connection(timeout)
        connection.request("GET", path)
        return connection.getresponse()

    def bytes_read(self):
        """What its process has read in its life: it stands still when nothing arrives."""
        io = Path(f"/proc/{self.process.pid}/io").read_text()
        return int(io.split("rchar: ")[1].split()[0]) >> 16

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1]) / 1024


def attach(space, cluster, folder, *options, name="docker.sock"):
    path = Path(folder) / name
    # Without kubectl in front: the process is the one to measure and to end.
    return Socket(["kubectl-testkit", "attach", cluster, "-n", space.name, "--socket", str(path), *options], path)


def ssh_forward(space, cluster, address, folder, name="ssh.sock"):
    path = Path(folder) / name
    path.unlink(missing_ok=True)
    return Socket(["ssh", *space.key(cluster, folder), "-N", "-L", f"{path}:/var/run/docker.sock", f"root@{address}"], path)


def image_of(mib, path):
    """An image as `docker save` writes it, with one layer of so many MiB that do not compress."""
    import hashlib
    import io
    import tarfile

    def entry(tar, name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry(tar, "blob", os.urandom(mib << 20))
    layer = layer.getvalue()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }).encode()
    with tarfile.open(path, "w") as tar:
        entry(tar, "layer.tar", layer)
        entry(tar, "config.json", config)
        entry(tar, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [f"testkit/blob:{mib}"], "Layers": ["layer.tar"]}]).encode())
    return f"testkit/blob:{mib}"
