"""Real hosts behind the endpoint: boots a few, and does to them what `/_bed/` can do. Needs root and a built image.

The images are looked for in $TESTKIT_HOST_IMAGES; $TESTKIT_HOST_KERNEL is what they are booted with, a program and arguments.
"""
import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Bed

IMAGES = os.environ.get("TESTKIT_HOST_IMAGES", "")
ENGINE = "resolve:ssm:/aws/service/testkit/docker/28.5/ami-id"
IMDS = "http://169.254.169.254/latest"
NETWORK, NAMESPACE = ("--net", "10.110.0.0/16", "--public", "198.19.0.0/22"), "ec2hosts"

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not Path(IMAGES or "/nowhere", "ami-28.5.ext4").is_file(),
                       reason="no host image in $TESTKIT_HOST_IMAGES"),
]


class Host:
    """A launched instance, reached by the key its user-data installed and known by the host key it brought."""

    more = ""

    def __init__(self, bed: Bed, folder: Path, name: str, **launch):
        self.bed, self.keys = bed, folder
        for key in ("key", "host_key"):
            if not (folder / key).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        (folder / "known").write_text(f"bed {(folder / 'host_key.pub').read_text()}")
        script = ("#!/bin/bash\nset -eu\numask 077\nmkdir -p /root/.ssh\n"
                  f"echo {shlex.quote((folder / 'key.pub').read_text())} > /root/.ssh/authorized_keys\n"
                  f"printf %s {shlex.quote((folder / 'host_key').read_text())} > /etc/ssh/ssh_host_ed25519_key\n"
                  f"echo user-data was here\ndate +%s.%N >> /root/first-boots\n{self.more}")
        self.launched = time.monotonic()
        [instance] = bed.launch(**{"ImageId": ENGINE} | launch, UserData=script, TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}])
        self.id, self.address = instance["InstanceId"], instance["PrivateIpAddress"]

    def command(self, command: str, known: str = "known", connect: int = 2) -> list:
        return ["ssh", "-F", "none", "-i", self.keys / "key", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
                "-o", f"UserKnownHostsFile={self.keys / known}", "-o", "GlobalKnownHostsFile=none", "-o", "HostKeyAlias=bed",
                "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={connect}", f"root@{self.address}", command]

    def ssh(self, command: str, known: str = "known", seconds: float = 20, connect: int = 2) -> subprocess.CompletedProcess:
        """`connect` is for how long sshd may take to say who it is: 2 s are enough to see that nobody is there."""
        words = self.command(command, known, connect)
        try:
            return subprocess.run(words, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            # Such as one that went down in mid-sentence.
            return subprocess.CompletedProcess(words, 255, "", f"no answer in {seconds} s")

    def asked(self, command: str, known: str = "known") -> subprocess.CompletedProcess:
        """Of a host that is up: on a busy machine sshd may need several seconds."""
        return self.ssh(command, known, seconds=90, connect=30)

    def run(self, command: str, seconds: float = 120) -> str:
        done = self.ssh(command, seconds=seconds, connect=30)
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def answers(self) -> bool:
        """Whether it does at once: what is said of one that is out of reach."""
        return self.ssh("true").returncode == 0

    def is_up(self) -> bool:
        return self.asked("true").returncode == 0

    def until_up(self, seconds: float = 240):
        self.bed.until(f"ssh to {self.id}", self.is_up, seconds)

    def do(self, verb: str):
        return self.bed.control(f"hosts/{self.id}/{verb}", "POST")

    def console(self) -> str:
        return self.bed.ec2.get_console_output(InstanceId=self.id, Latest=True).get("Output", "")

    def entry(self) -> dict:
        return next(host for host in self.bed.control("hosts") if host["id"] == self.id)


def milliseconds(host: Host, to: str) -> float:
    """How long a connection takes: one way there, one way back."""
    return float(host.run(f"s=$EPOCHREALTIME; exec 3<> /dev/tcp/{to}/22; echo $(( (${{EPOCHREALTIME/./}} - ${{s/./}}) / 1000 ))"))


def is_near(host: Host, to: str) -> bool:
    """Nothing delays what goes between them: any connection may be late on a busy machine, but not each."""
    return any(milliseconds(host, to) < 100 for _ in range(8))


def reaches(host: Host, to: str) -> bool:
    """By the host's own word: that it could not be asked is no answer."""
    done = host.asked(f"timeout 5 bash -c 'exec 3<> /dev/tcp/{to}/22'")
    assert done.returncode != 255, done.stderr
    return done.returncode == 0


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    run = tmp_path_factory.mktemp("hosts")
    bed = Bed(run, "--namespace", NAMESPACE, "--images", IMAGES, *NETWORK)
    # Consoles are looked at more often than EC2 allows.
    bed.knobs(buckets=False)
    yield bed
    assert bed.end() == 0
    left = subprocess.run(["ip", "link", "show", NAMESPACE], capture_output=True)
    assert left.returncode and not Path("/run/netns", NAMESPACE).exists() and not list(run.rglob("*"))
    bed.until("nobody works in its folder any more", lambda: not groups_working_in(run))


def groups_working_in(folder: Path) -> list:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.path.samefile(entry / "cwd", folder):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def pair(bed, tmp_path_factory) -> tuple:
    """Two hosts for all tests: booting is what takes long."""
    keys = tmp_path_factory.mktemp("keys")
    options = {"MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}}
    # The metadata service stands still until they have asked for a while: one that is slow is not one that has no user-data.
    service = json.loads((bed.run / "imds.json").read_text())["pid"]
    os.kill(service, signal.SIGSTOP)
    try:
        hosts = Host(bed, keys, "one", **options), Host(bed, keys, "two", **options)
        for host in hosts:
            bed.until("its network", lambda: "network up after" in host.console(), 180)
        time.sleep(6)
    finally:
        os.kill(service, signal.SIGCONT)
    for host in hosts:
        host.until_up()
    return hosts


def test_user_data_ran_once_as_root_and_its_words_are_on_the_console(bed, pair):
    one, _ = pair
    assert len(one.run("cat /root/first-boots").splitlines()) == 1
    assert one.run("hostname") == f"ip-{one.address.replace('.', '-')}"
    console = one.console()
    assert "user-data was here" in console and one.address in console and "Linux version" in console
    assert "Datasource DataSourceEc2" in console


def test_a_console_is_posted_a_while_after_the_boot_and_outlives_its_host(bed):
    bed.knobs(console_posted_after_s=0.5)
    try:
        begun = time.monotonic()
        [instance] = bed.launch(ImageId=ENGINE)
        host = instance["InstanceId"]
        posted = bed.ec2.get_console_output(InstanceId=host).get("Output")
        assert not posted or time.monotonic() - begun >= 0.5
        bed.until("posted", lambda: bed.ec2.get_console_output(InstanceId=host).get("Output"))
        latest = lambda: bed.ec2.get_console_output(InstanceId=host, Latest=True)["Output"]  # noqa: E731
        bed.until("up", lambda: "this instance has no user-data" in latest(), 240)
        assert "no user-data" not in bed.ec2.get_console_output(InstanceId=host)["Output"]
        bed.ec2.terminate_instances(InstanceIds=[host])
        bed.until_state(host, "terminated")
        for which in ({}, {"Latest": True}):
            assert "this instance has no user-data" in bed.ec2.get_console_output(InstanceId=host, **which)["Output"]
    finally:
        bed.knobs(console_posted_after_s=30)


def test_metadata_only_for_who_has_a_token(pair):
    one, two = pair
    status = "curl -s -m 20 -o /dev/null -w '%{http_code}'"
    assert one.run(f"{status} {IMDS}/meta-data/instance-id") == "401"
    assert one.run(f"{status} -H 'X-aws-ec2-metadata-token: made-up' {IMDS}/meta-data/instance-id") == "401"
    assert one.run(f"{status} -X PUT {IMDS}/api/token") == "400"
    ask = (f"T=$(curl -sf -m 20 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {IMDS}/api/token); "
           "for p in meta-data/instance-id meta-data/local-ipv4 meta-data/instance-type "
           f"meta-data/placement/availability-zone; do curl -sf -H \"X-aws-ec2-metadata-token: $T\" {IMDS}/$p; echo; done; "
           f"curl -sf -H \"X-aws-ec2-metadata-token: $T\" {IMDS}/user-data | head -1; echo $T")
    *said, token = one.run(ask).splitlines()
    assert said == [one.id, one.address, "t3.medium", "us-east-1a", "#!/bin/bash"]
    assert two.run(f"{status} -H 'X-aws-ec2-metadata-token: {token}' {IMDS}/meta-data/instance-id") == "401"


def test_metadata_is_there_while_the_endpoint_stands_still(bed, pair):
    """However busy it is, with however many launches: this is the most of it."""
    one, two = pair
    status = (f"curl -s -m 20 -o /dev/null -w '%{{http_code}}' -H \"X-aws-ec2-metadata-token: $(curl -sf -m 20 -X PUT "
              f"-H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {IMDS}/api/token)\" {IMDS}/user-data")
    bed.process.send_signal(signal.SIGSTOP)
    try:
        assert [one.run(status), two.run(status)] == ["200", "200"]
    finally:
        bed.process.send_signal(signal.SIGCONT)


def test_metadata_is_what_the_instance_is_now(bed, pair):
    one, _ = pair
    ask = (f"curl -s -m 5 -H \"X-aws-ec2-metadata-token: $(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
           f"{IMDS}/api/token)\" {IMDS}/meta-data/tags/instance/colour")
    options = {"InstanceId": one.id, "HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"}
    bed.ec2.modify_instance_metadata_options(**options, InstanceMetadataTags="enabled")
    bed.ec2.create_tags(Resources=[one.id], Tags=[{"Key": "colour", "Value": "blue"}])
    bed.until("the tag", lambda: one.run(ask) == "blue")
    bed.ec2.modify_instance_metadata_options(**options, InstanceMetadataTags="disabled")
    bed.until("no tag", lambda: one.run(ask) == "")


def test_a_token_does_not_cross_a_hop(pair):
    """From a network of its own behind the host, as a container has."""
    one, _ = pair
    one.run("ip netns add c && ip link add ch type veth peer name cc netns c && ip addr add 10.9.9.1/24 dev ch && "
            "ip link set ch up && ip -n c addr add 10.9.9.2/24 dev cc && ip -n c link set cc up && "
            "ip -n c route add default via 10.9.9.1 && iptables -t nat -A POSTROUTING -s 10.9.9.0/24 -j MASQUERADE && "
            "iptables -P FORWARD ACCEPT")
    inside = "ip netns exec c curl -s -m 10 -o /dev/null -w '%{http_code}'"
    assert one.run(f"{inside} {IMDS}/meta-data/") == "401", "the service is in reach"
    asked = one.asked(f"{inside} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {IMDS}/api/token")
    assert (asked.returncode, asked.stdout) == (28, "000"), "curl's time-out, and no answer"


def test_services_are_kept_running(bed, pair):
    one, _ = pair
    bed.until("docker", lambda: one.ssh("systemctl is-active docker").stdout.strip() == "active", 180)
    assert one.run("docker version --format '{{.Server.Version}}'").startswith("28.5")
    before = one.run("pidof dockerd")
    one.run("kill -9 $(pidof dockerd)")
    bed.until("docker again", lambda: one.ssh("systemctl is-active docker").stdout.strip() == "active", 180)
    assert one.run("pidof dockerd") != before
    one.run("systemctl stop docker")
    assert one.asked("systemctl is-active docker").stdout.strip() == "inactive"
    one.run("service docker start", 180)
    assert one.run("systemctl is-active docker") == "active"


@pytest.mark.parametrize("reload", ["systemctl restart ssh", "systemctl reload ssh", "pkill -o -HUP -x sshd"])
def test_a_new_host_key_is_taken_up(bed, pair, reload):
    one, _ = pair
    one.run("rm -f /etc/ssh/ssh_host_* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
    public = one.run(f"cat /etc/ssh/ssh_host_ed25519_key.pub && {reload} > /dev/null")
    (one.keys / "new").write_text(f"bed {public}\n")
    bed.until("the new key", lambda: one.ssh("true", known="new").returncode == 0)
    assert one.ssh("true").returncode != 0, "the old key is not served any more"
    private = shlex.quote((one.keys / "host_key").read_text())
    assert one.asked(f"printf %s {private} > /etc/ssh/ssh_host_ed25519_key; rm /etc/ssh/*.pub; systemctl restart ssh",
                     known="new").returncode == 0
    bed.until("the old key again", one.answers)


def test_a_frozen_host_goes_on_where_it_was(pair):
    one, _ = pair
    boot = one.run("cat /proc/sys/kernel/random/boot_id")
    one.do("freeze")
    assert one.entry()["frozen"] and not one.answers()
    one.do("thaw")
    assert one.run("cat /proc/sys/kernel/random/boot_id") == boot


def test_a_partitioned_host_is_out_of_reach_and_comes_back(pair):
    one, two = pair
    one.do("partition")
    assert not one.answers()
    assert not reaches(two, one.address)
    one.do("heal")
    one.until_up()
    assert reaches(one, two.address)


def test_delay_and_cut(bed, pair):
    one, two = pair
    assert is_near(one, two.address)
    bed.control(f"pair/{one.id}/{two.id}/delay?ms=150", "POST")
    assert milliseconds(one, two.address) >= 300, "150 ms each way"
    bed.control("pair/one/two/cut", "POST")
    assert not reaches(one, two.address)
    assert not reaches(two, one.address)
    assert one.is_up() and two.is_up(), "only the pair is cut"
    bed.control(f"pair/{two.id}/{one.id}/heal", "POST")
    assert is_near(one, two.address)
    one.do("delay?ms=120")
    assert milliseconds(one, two.address) >= 120
    one.do("loss?percent=100")
    assert not one.answers()
    one.do("clear")
    assert one.is_up() and is_near(one, two.address)


def test_a_killed_host_is_still_running_to_ec2_and_keeps_its_disk(bed, pair):
    one, _ = pair
    one.run("echo kept > /root/kept; sync")
    one.do("kill")
    assert one.entry()["pid"] is None and bed.state(one.id) == "running" and not one.answers()
    one.do("reboot")
    one.until_up()
    assert one.run("cat /root/kept; wc -l < /root/first-boots") == "kept\n1" and one.entry()["boots"] == 2


def test_stop_and_start_keep_disk_and_address(bed, pair):
    one, _ = pair
    one.run("echo kept > /root/stopped")
    bed.ec2.stop_instances(InstanceIds=[one.id])
    bed.until_state(one.id, "stopped", 120)
    assert one.entry()["pid"] is None
    bed.ec2.start_instances(InstanceIds=[one.id])
    one.until_up()
    assert one.run("cat /root/stopped; wc -l < /root/first-boots") == "kept\n1"


def test_a_reboot_from_within_and_from_without(bed, pair):
    """The metadata of a boot is new, the host's faults are not forgotten, and `network-faults` still takes them."""
    _, two = pair
    boots = {two.run("cat /proc/sys/kernel/random/boot_id")}
    for reboot in (lambda: two.ssh("reboot", seconds=45, connect=30), lambda: bed.ec2.reboot_instances(InstanceIds=[two.id])):
        reboot()
        bed.until("another boot", lambda: two.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip() not in {"", *boots}, 240)
        boots.add(two.run("cat /proc/sys/kernel/random/boot_id"))
        assert bed.state(two.id) == "running"
        two.do("delay?ms=1")
        two.do("clear")
    assert two.run("wc -l < /root/first-boots") == "1"


def test_a_host_that_powers_itself_off_is_stopped(bed, pair):
    _, two = pair
    two.ssh("poweroff", seconds=45, connect=30)
    bed.until_state(two.id, "stopped", 120)
    bed.ec2.terminate_instances(InstanceIds=[two.id])
    bed.until_state(two.id, "terminated")
    assert two.id not in [host["id"] for host in bed.control("hosts")]


def test_an_endpoint_that_was_killed_leaves_nothing_to_its_successor(tmp_path):
    run = tmp_path / "run"
    options = ("--namespace", f"{NAMESPACE}2", "--images", IMAGES, "--net", "10.111.0.0/16", "--public", "198.19.4.0/22")
    first = Bed(run, *options)
    keys = tmp_path / "keys"
    keys.mkdir()
    Host(first, keys, "orphan")
    first.until("a booted host", lambda: first.control("hosts")[0]["pid"])
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert groups_working_in(run), "the host outlives the endpoint"
    second = Bed(run, *options)
    services = lambda: [str(json.loads(record.read_text())["pid"]) for record in run.glob("*.json")]  # noqa: E731
    assert second.control("hosts") == []
    second.until("nobody but its own works there", lambda: sorted(groups_working_in(run)) == sorted([str(second.process.pid), *services()]))
    assert second.end() == 0 and not Path("/run/netns", f"{NAMESPACE}2").exists()

