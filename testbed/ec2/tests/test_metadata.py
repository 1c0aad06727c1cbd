"""The metadata service as the process it is, without hosts: each caller is an address of the loopback network."""
import base64
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
from conftest import TESTBED, until

sys.path.insert(0, str(TESTBED))
from ec2.services import Service  # noqa: E402

TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"


def state(instance: str, data: str = "", **more) -> dict:
    return {"instance": instance, "entries": {"instance-id": instance, "placement/region": "us-east-1"}, "endpoint": "enabled",
            "user_data": base64.b64encode(data.encode()).decode(), "tokens": "required", "hops": 2} | more


class Metadata:
    def __init__(self, run):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.service = Service("imds", run, self.listener)
        self.service.start()

    def tell(self, **states):
        """By the last number of the address of the loopback network that asks."""
        self.service.tell({f"127.0.0.{number[1:]}": state for number, state in states.items()})

    def ask(self, who: str, path: str, method: str = "GET", version: str = "latest", **headers) -> tuple:
        connection = HTTPConnection(*self.listener.getsockname(), timeout=60, source_address=(f"127.0.0.{who[1:]}", 0))
        connection.request(method, f"/{version}/{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        said = answer.status, answer.read().decode()
        connection.close()
        return said

    def token(self, who: str) -> str:
        status, token = self.ask(who, "api/token", "PUT", **{TTL: "60"})
        assert status == 200
        return token

    def get(self, who: str, path: str) -> tuple:
        return self.ask(who, path, **{TOKEN: self.token(who)})


@pytest.fixture
def metadata(tmp_path):
    made = Metadata(tmp_path)
    yield made
    made.service.end()
    assert not list(tmp_path.iterdir())


def test_it_serves_what_it_was_told_last(metadata):
    assert metadata.ask("_2", "api/token", "PUT", **{TTL: "60"})[0] == 503, "not 404: that would mean that there is none"
    metadata.tell(_2=state("i-2", "#!/bin/sh\n"), _3=state("i-3"))
    until("told", lambda: metadata.ask("_3", "api/token", "PUT", **{TTL: "60"})[0] == 200)
    assert metadata.get("_2", "meta-data/instance-id") == (200, "i-2")
    assert metadata.get("_2", "meta-data/placement/") == (200, "region")
    assert metadata.get("_2", "user-data") == (200, "#!/bin/sh\n")
    assert metadata.get("_3", "user-data")[0] == 404
    metadata.tell(_2=state("i-2", "other"), _3=state("i-3", endpoint="disabled"))
    until("told", lambda: metadata.ask("_3", "api/token", "PUT", **{TTL: "60"})[0] == 403)
    assert metadata.get("_2", "user-data") == (200, "other")
    metadata.tell(_2=state("i-2", "other"))
    until("told", lambda: metadata.ask("_3", "meta-data/")[0] == 503)


def test_a_token_is_had_by_a_put_that_was_not_handed_on(metadata):
    metadata.tell(_2=state("i-2"))
    until("told", lambda: metadata.ask("_2", "api/token", "PUT", **{TTL: "60"})[0] == 200)
    for seconds, status in (("1", 200), ("21600", 200), ("0", 400), ("21601", 400), ("soon", 400)):
        assert metadata.ask("_2", "api/token", "PUT", **{TTL: seconds})[0] == status, seconds
    assert metadata.ask("_2", "api/token", "PUT")[0] == 400
    assert metadata.ask("_2", "api/token", "PUT", **{TTL: "60", "X-Forwarded-For": "10.0.0.1"})[0] == 403
    assert metadata.ask("_2", "meta-data/instance-id", "POST", **{TOKEN: metadata.token("_2")})[0] == 405


def test_every_version_serves_what_is_there(metadata):
    more = {"instance-id": "i-2", "public-keys": "0=mine", "public-keys/0/openssh-key": "ssh-ed25519 A", "tags/instance/Name": "foo"}
    metadata.tell(_2=state("i-2", "data", entries=more, dynamic={"instance-identity/document": "{}"}))
    until("told", lambda: metadata.ask("_2", "api/token", "PUT", **{TTL: "60"})[0] == 200)
    token = {TOKEN: metadata.token("_2")}
    for version in ("1.0", "2009-04-04", "2016-09-02", "2021-03-23", "latest"):
        assert metadata.ask("_2", "meta-data/instance-id", version=version, **token) == (200, "i-2")
    assert metadata.ask("_2", "meta-data/instance-id", version="2000-01-01", **token)[0] == 404
    for path, said in (("", "dynamic\nmeta-data\nuser-data"), ("meta-data/", "instance-id\npublic-keys/\ntags/"), ("meta-data/public-keys/", "0=mine"),
                       ("meta-data/public-keys/0/", "openssh-key"), ("dynamic/instance-identity/document", "{}"), ("meta-data/tags/instance", "Name")):
        assert metadata.ask("_2", path, **token) == (200, said), path
    for path in ("meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance", "meta-data/instance-idx", "nothing"):
        assert metadata.ask("_2", path, **token)[0] == 404, path


def test_a_token_is_good_on_the_instance_that_asked_for_it_only(metadata):
    metadata.tell(_2=state("i-2"), _3=state("i-3", tokens="optional"))
    until("told", lambda: metadata.ask("_3", "meta-data/")[0] == 200)
    token = metadata.token("_2")
    assert metadata.ask("_2", "meta-data/instance-id", **{TOKEN: token}) == (200, "i-2")
    assert metadata.ask("_3", "meta-data/instance-id", **{TOKEN: token})[0] == 401
    assert metadata.ask("_2", "meta-data/instance-id")[0] == 401
    # The address is another instance's now.
    metadata.tell(_2=state("i-9"), _3=state("i-3"))
    until("told", lambda: metadata.ask("_2", "meta-data/instance-id", **{TOKEN: token})[0] == 401)


def test_a_hundred_at_once_get_what_is_theirs(metadata):
    metadata.tell(**{f"_{number}": state(f"i-{number}", f"for {number}" + 16000 * "x") for number in range(2, 102)})

    def ask(number: int) -> None:
        until("told", lambda: metadata.ask(f"_{number}", "api/token", "PUT", **{TTL: "60"})[0] == 200)
        for _ in range(3):
            status, data = metadata.get(f"_{number}", "user-data")
            assert status == 200 and data.startswith(f"for {number}x")

    with ThreadPoolExecutor(100) as everybody:
        list(everybody.map(ask, range(2, 102)))


def test_one_that_dies_is_there_again_with_what_it_was_told(metadata, tmp_path):
    metadata.tell(_2=state("i-2"))
    until("told", lambda: metadata.ask("_2", "api/token", "PUT", **{TTL: "60"})[0] == 200)
    os.kill(metadata.service._process.pid, signal.SIGKILL)

    def again() -> bool:
        try:
            # It may be asked before it is told.
            return metadata.ask("_2", "api/token", "PUT", **{TTL: "60"})[0] == 200
        except OSError:
            return False  # The connection was the dead one's.

    until("another one", again)
    assert metadata.get("_2", "meta-data/instance-id") == (200, "i-2")


def test_it_ends_with_its_endpoint(tmp_path):
    """Whatever way that ends: the line between the two does."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen([sys.executable, "-m", "ec2.imds", str(listener.fileno())], stdin=subprocess.PIPE, cwd=tmp_path,
                               pass_fds=[listener.fileno()], env=os.environ | {"PYTHONPATH": str(TESTBED)})
    process.stdin.close()
    assert process.wait(60) == 0
