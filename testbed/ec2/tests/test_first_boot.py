"""First boots of an image without an engine, as Ubuntu's are: by the operator's own installer, from the bed's mirror.

What goes wrong there takes minutes; all of it but one host is for `testbed/test --long` only.
"""
import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import TESTBED, Bed
from test_hosts import IMAGES, Host, groups_working_in, pytestmark as needs_hosts

PLAIN = "resolve:ssm:/aws/service/testkit/debian/14/ami-id"
INSTALLER = TESTBED.parent / "src" / "cluster" / "install-engine.sh"
NETWORK = ("--namespace", "ec2first", "--net", "10.114.0.0/16", "--public", "198.19.16.0/22")
PLAIN_MIRROR = {"script_fails": 0, "packages_fails": 0, "how": "503", "bytes_per_s": None, "package_lock_s": 0}
INSTALLED, GIVES_UP = "testkit: the engine is installed", "testkit: giving up: "

pytestmark = [*needs_hosts, pytest.mark.skipif(not Path(IMAGES or "/nowhere", "ami-none.ext4").is_file(),
                                               reason="no host image without an engine in $TESTKIT_HOST_IMAGES")]


class Plain(Host):
    """Its user-data goes on as the operator's does: sshd takes the keys, then comes the engine."""

    def __init__(self, bed: Bed, folder: Path, name: str, how: str = "CHANNEL=stable", patience: int = 400, first: str = ""):
        installer = f"#!/bin/sh\nurl=https://get.docker.com how={how} patience={patience}\n{INSTALLER.read_text()}"
        per_boot = "/var/lib/cloud/scripts/per-boot"
        self.more = (f"systemctl try-restart ssh sshd\n{first}\nmkdir -p {per_boot}\n"
                     f"printf %s {shlex.quote(installer)} > {per_boot}/testkit-engine\n"
                     f"chmod 700 {per_boot}/testkit-engine\nexec {per_boot}/testkit-engine\n")
        super().__init__(bed, folder, name, ImageId=PLAIN)

    def until_console(self, words: str, seconds: float) -> str:
        self.bed.until(f"{words!r} on the console", lambda: words in self.console(), seconds)
        return self.console()

    def engine(self) -> str:
        return self.run("docker version --format '{{.Server.Version}}'")


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    run = tmp_path_factory.mktemp("first")
    bed = Bed(run, "--images", IMAGES, *NETWORK)
    # Consoles are looked at more often than EC2 allows.
    bed.knobs(buckets=False)
    yield bed
    assert bed.end() == 0
    left = subprocess.run(["ip", "link", "show", "ec2first"], capture_output=True)
    assert left.returncode and not list(run.rglob("*"))
    bed.until("nobody works in its folder any more", lambda: not groups_working_in(run))


@pytest.fixture
def boot(bed, tmp_path):
    """boot(faults of the mirror, how the host is launched)."""
    made = []

    def boot(faults: dict, **launch) -> Plain:
        bed.control("mirror", "PUT", PLAIN_MIRROR | faults)
        made.append(Plain(bed, tmp_path, f"plain-{len(made)}", **launch))
        return made[-1]

    yield boot
    for host in made:
        bed.ec2.terminate_instances(InstanceIds=[host.id])
        bed.until_state(host.id, "terminated", 120)
        # What it said is there after its end.
        assert "Linux version" in host.console()


def test_an_engine_is_installed_however_the_first_try_went(boot):
    host = boot({"script_fails": 1, "package_lock_s": 5})
    host.until_up()
    assert "dockerd" not in host.ssh("command -v dockerd").stdout, "who logs in does not wait for the engine"
    console = host.until_console(INSTALLED, 420)
    assert "downloading https://get.docker.com failed with status 22 (try 1); again in 5 s" in console
    assert "unattended-upgrades holds the package manager for 5 s" in console and GIVES_UP not in console
    assert host.engine().startswith("28.5")
    assert host.ssh("ls /var/lib/cloud/scripts/per-boot").stdout == "", "it is done"


@pytest.mark.long
def test_a_locked_package_manager_is_waited_for(boot):
    host = boot({"package_lock_s": 40})
    console = host.until_console(INSTALLED, 500)
    assert "(unattended-upgr)" in console, "apt's own words"
    assert host.engine().startswith("28.5")


@pytest.mark.long
@pytest.mark.parametrize("how, said", [("503", "status 22"), ("reset", "status"), ("garble", "status")])
def test_what_fails_twice_works_the_third_time(boot, how, said):
    host = boot({"script_fails": 2, "packages_fails": 1, "how": how}, patience=400)
    console = host.until_console(INSTALLED, 480)
    assert console.count("downloading https://get.docker.com failed with " + said) == 2
    assert host.engine().startswith("28.5")


@pytest.mark.long
def test_what_fails_for_ever_is_given_up_and_the_console_has_it(boot):
    host = boot({"script_fails": "always"}, patience=40)
    console = host.until_console(GIVES_UP, 120)
    assert "testkit: giving up: downloading https://get.docker.com failed" in console
    assert "The requested URL returned error: 503" in console
    host.until_up()
    # The next boot goes on.
    host.bed.control("mirror", "PUT", PLAIN_MIRROR)
    host.ssh("reboot")
    host.until_console(INSTALLED, 420)


@pytest.mark.long
def test_packages_that_fail_for_ever(boot):
    host = boot({"packages_fails": "always", "how": "garble"}, patience=60)
    assert "the script of https://get.docker.com failed" in host.until_console(GIVES_UP, 180)


@pytest.mark.long
def test_a_slow_mirror(boot):
    """64 MB in two minutes."""
    host = boot({"bytes_per_s": 500_000}, patience=600)
    host.until_console(INSTALLED, 600)
    assert host.engine().startswith("28.5")


@pytest.mark.long
def test_a_version_that_is_not_there_is_said(boot):
    host = boot({}, how="VERSION=26.1", patience=30)
    assert "ERROR: '26.1' not found" in host.until_console(GIVES_UP, 120)


@pytest.mark.long
def test_a_reboot_in_the_middle_goes_on(boot):
    host = boot({"bytes_per_s": 1_000_000}, patience=400)
    host.until_up()
    host.until_console("docker.io docker-cli", 120)
    host.bed.control("mirror", "PUT", PLAIN_MIRROR)
    host.ssh("reboot")
    host.until_console(INSTALLED, 500)
    assert host.engine().startswith("28.5")


@pytest.mark.long
def test_an_image_without_curl(boot):
    host = boot({}, first="rm /usr/bin/curl")
    console = host.until_console(INSTALLED, 500)
    assert "there is neither curl nor wget here: curl is installed" in console
    assert host.engine().startswith("28.5")


@pytest.mark.long
def test_metadata_that_does_not_come_is_asked_for_on_the_console(bed, boot):
    """And 50 s for one request, as cloud-init has it."""
    service = json.loads((bed.run / "imds.json").read_text())["pid"]
    os.kill(service, signal.SIGSTOP)
    try:
        host = boot({})
        host.until_console("no answer from 169.254.169.254; asking again", 120)
    finally:
        os.kill(service, signal.SIGCONT)
    host.until_up()


@pytest.mark.long
def test_metadata_that_never_comes_is_given_up_as_cloud_init_does(bed, tmp_path):
    service = json.loads((bed.run / "imds.json").read_text())["pid"]
    os.kill(service, signal.SIGSTOP)
    try:
        host = Host(bed, tmp_path, "alone")
        bed.until("its end", lambda: "Datasource DataSourceNone" in host.console(), 330)
    finally:
        os.kill(service, signal.SIGCONT)
    assert "This host is up without its user-data" in host.console()
    # Nothing was begun, so the next boot does.
    bed.ec2.reboot_instances(InstanceIds=[host.id])
    host.until_up()
    bed.ec2.terminate_instances(InstanceIds=[host.id])


@pytest.mark.long
def test_metadata_that_is_switched_off_is_not_waited_for(bed, tmp_path):
    host = Host(bed, tmp_path, "off", MetadataOptions={"HttpEndpoint": "disabled", "HttpTokens": "required"})
    bed.until("its end", lambda: "Datasource DataSourceNone" in host.console(), 60)
    assert "the metadata service is switched off for this instance" in host.console()
    bed.ec2.terminate_instances(InstanceIds=[host.id])


@pytest.mark.long
def test_twenty_at_once_all_have_their_user_data(bed, tmp_path):
    bed.control("mirror", "PUT", PLAIN_MIRROR)
    hosts = [Host(bed, tmp_path, f"many-{number}") for number in range(20)]
    for host in hosts:
        host.until_up(600)
        assert host.run("wc -l < /root/first-boots", 120) == "1"
    bed.ec2.terminate_instances(InstanceIds=[host.id for host in hosts])
    for host in hosts:
        bed.until_state(host.id, "terminated", 120)
