"""The API server through a proxy, and past one: the plugin goes the way that kubectl goes."""
import json
import os
import socket
import socketserver
import subprocess
import threading

import pytest
from world import kubectl


class Tunnel(socketserver.StreamRequestHandler):
    """CONNECT, and nothing else."""

    def handle(self):
        words = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        host, _, port = words[1].decode().rpartition(":")
        self.server.asked.append(words[1].decode())
        with socket.create_connection((host, int(port)), timeout=60) as there:
            self.wfile.write(b"HTTP/1.1 200 there\r\n\r\n")
            back = threading.Thread(target=self.pour, args=(there, self.connection), daemon=True)
            back.start()
            self.pour(self.connection, there)
            back.join()

    @staticmethod
    def pour(source, drain):
        try:
            while piece := source.recv(65536):
                drain.sendall(piece)
            drain.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy():
    with Proxy() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_plugin_goes_through_a_proxy_where_kubectl_does(space, proxy, tmp_path):
    server = json.loads(kubectl("config", "view", "--minify", "-o", "json").stdout)["clusters"][0]
    said = tmp_path / "kubeconfig"
    said.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten").stdout)
    kubectl("config", "--kubeconfig", str(said), "set-cluster", server["name"], f"--proxy-url={proxy.url}")
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

    # The bed's API server is on this machine, so what the environment says does not count for it, whatever NO_PROXY names; what
    # the kubeconfig says does, also where NO_PROXY names the server.
    for environment, through in (
        ({"HTTPS_PROXY": proxy.url}, False),
        ({"HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}, False),
        ({"https_proxy": proxy.url, "no_proxy": "elsewhere.example.com"}, False),
        # What is no entry is passed over.
        ({"HTTPS_PROXY": proxy.url, "NO_PROXY": ",elsewhere.example.com, ,"}, False),
        ({"KUBECONFIG": str(said)}, True),
        ({"KUBECONFIG": str(said), "NO_PROXY": "127.0.0.1,"}, True),
    ):
        for command in (["kubectl", "get", "swarmclusters"], ["kubectl-testkit", "ls"]):
            proxy.asked.clear()
            done = subprocess.run([*command, "-n", space.name], env=clean | environment, capture_output=True, text=True, timeout=90)
            assert done.returncode == 0, (command, environment, done.stderr)
            assert bool(proxy.asked) == through, (command, environment, proxy.asked)
