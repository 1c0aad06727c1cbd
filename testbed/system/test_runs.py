"""Every run ends in time, with a verdict that holds and its evidence; what cannot be had is said. docs/runs.md names the checks."""
import json
import re
import time

import pytest
from world import cluster, kubectl, run, until

# The shell of a host as an image; and one with a user of its own, that brings a result of its own.
IMAGES = r"""
mkdir -p /tmp/image/results
echo '<testsuite><testcase name="shipped"><failure message="old"/></testcase></testsuite>' > /tmp/image/results/shipped.xml
parts="bin/sh bin/cat bin/sleep $(ldd /bin/sh /bin/cat /bin/sleep | grep -o '/[^ ]*' | grep -v : | sort -u | sed 's,^/,,')"
tar -C / -chf - $parts | docker import - testkit/probe:v1
tar -C / -chf - $parts -C /tmp/image results | docker import --change 'USER 1000' - testkit/user:v1
"""
PASSED = """printf '<testsuite><testcase name="one"/></testsuite>' > $TESTKIT_RESULTS/junit.xml"""
FAILED = """printf '<testsuite><testcase name="one"><failure message="no"/></testcase></testsuite>' > $TESTKIT_RESULTS/junit.xml; exit 1"""
SKIPPED = """printf '<testsuite><testcase name="one"><skipped/></testcase></testsuite>' > $TESTKIT_RESULTS/junit.xml"""
# Two cases, or the one that it is told to run; the second one passes alone.
SECOND = """[ $0 = two ] && set -- '' || set -- '<testcase name="one"/>' '<failure message="not yet"/>'
printf '<testsuite name="s">%s<testcase name="two">%s</testcase></testsuite>' "$@" > $TESTKIT_RESULTS/junit.xml; echo it was $0; [ $0 = two ]"""
# One that passes, and one that is known to fail.
KNOWN = """printf '<testsuite name="s"><testcase name="one"/><testcase classname="net" name="known"><failure message="again"/></testcase></testsuite>' > $TESTKIT_RESULTS/junit.xml; exit """
# It ends when `let_go` lets it, and not before: no machine is too slow to be looked at in time.
HELD = "until [ -e /go ]; do sleep 0.2; done"
# The same with curl; and what the metadata of the instance say: to whoever asks for a token, without one, and with it of a role and of the instance.
CURL = r"""
parts="bin/sh usr/bin/curl $(ldd /bin/sh /usr/bin/curl | grep -o '/[^ ]*' | grep -v : | sort -u | sed 's,^/,,')"
tar -C / -chf - $parts | docker import - testkit/curl:v1
"""
TOKEN = "curl -s -m 3 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token"
ASKS = f"""token=$({TOKEN}); echo "token $?"
asked() {{ curl -s -m 3 -o /dev/null -w '%{{http_code}}' "$@"; }}
data=http://169.254.169.254/latest/meta-data with="X-aws-ec2-metadata-token: $token"
echo "none $(asked $data/instance-id)"; echo "role $(asked -H "$with" $data/iam/security-credentials/)"; echo "id $(asked -H "$with" $data/instance-id)"
"""
# It writes what it has two seconds after it is told to end.
GRACEFUL = f"end() {{ sleep 2; {PASSED}; echo parted; exit 0; }}; trap end TERM; echo begun; sleep 600 & wait"


def probe(name, of, script, **spec):
    """It may be beside others: test_queue.py has runs that take turns."""
    how = {"image": "testkit/probe:v1", "imagePullPolicy": "Never", "args": ["/bin/sh", "-c", script], "timeout": "2m", "sharing": "Shared"}
    return run(name, of, **{**how, **spec})


def patch(space, kind, name, spec, check=True):
    return kubectl("patch", kind, name, "-n", space.name, "--type=merge", "-p", json.dumps({"spec": spec}), check=check)


def verdict(space, name):
    said = space.condition("e2erun", name, "Ready")
    return said["reason"], said["message"]


def runs_on(space, name):
    """Waits until its container runs."""
    until(f"{name} runs", lambda: space.status("e2erun", name).get("startedAt"), 120, every=0.1)


def let_go(space, on_host, *names):
    """What runs HELD goes on."""
    for name in names:
        on_host(f"docker exec $(docker ps -q --filter label=testkit.dev/run={space.name}/{name}) /bin/sh -c ': > /go'")


def ends(space, name, condition, reason, *words, timeout=120, **counts):
    """Waits for this end; the status."""
    try:
        space.wait("e2erun", name, condition, timeout)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None
    said, status = verdict(space, name), space.status("e2erun", name)
    assert said[0] == reason and all(word in said[1] for word in words), (name, said)
    assert {key: status.get(key) for key in counts} == counts, (name, status)
    return status


def seconds(duration):
    """`1m5s` and `3.5s` as a number."""
    return sum(float(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"([\d.]+)([hms])", duration))


def log(space, name):
    return kubectl("testkit", "logs", name, "-n", space.name).stdout


def made(space, name):
    """A cluster of one manager with the images, and how to have its host do something."""
    space.apply(cluster(name, managers=1, workers=0))
    space.wait("swarmcluster", name, "Ready", 180)
    address = space.status("swarmcluster", name)["endpoint"]
    on_host = lambda command: space.ssh(name, address, command)
    on_host(IMAGES)
    return on_host


def what_is_told_to_end_has_its_grace(space):
    space.apply(
        probe("late", "runs", GRACEFUL, timeout="5s"),
        probe("cancelled", "runs", GRACEFUL),
        probe("deaf", "runs", "trap '' TERM; sleep 600", timeout="5s", gracePeriod="2s"),
        probe("deleted", "runs", GRACEFUL),
    )
    runs_on(space, "cancelled")
    refused = patch(space, "e2erun", "cancelled", {"timeout": "9m"}, check=False)
    assert refused.returncode and "spec.cancel" in refused.stderr, refused.stderr
    patch(space, "e2erun", "cancelled", {"cancel": True})
    refused = patch(space, "e2erun", "cancelled", {"cancel": False}, check=False)
    assert refused.returncode and "does not go on" in refused.stderr, refused.stderr

    runs_on(space, "deleted")
    began = time.monotonic()
    kubectl("delete", "e2erun", "deleted", "-n", space.name, "--timeout=60s")
    took = time.monotonic() - began
    # Of the 60 s of its gracePeriod it needs two.
    assert 2 <= took < 55, f"its container had {took:.1f} s to end"

    ends(space, "cancelled", "Failed", "Cancelled", "spec.cancel", "1 case had passed", passed=1, failed=0)
    assert "parted" in log(space, "cancelled")
    status = ends(space, "late", "Failed", "DeadlineExceeded", "spec.timeout (5s)", "1 case had passed", passed=1, failed=0)
    assert 5 <= seconds(status["duration"]) < 60, status
    ends(space, "deaf", "Failed", "DeadlineExceeded", "spec.gracePeriod (2s) and was killed", "left no results", exitCode=137)


def only_what_ran_and_is_in_order_passes(space):
    space.apply(
        probe("skipped", "runs", SKIPPED),
        probe("allowed", "runs", SKIPPED, results={"allowEmpty": True}),
        probe("coded", "runs", "exit 0", results={"format": "ExitCode"}),
        probe("uncoded", "runs", f"{PASSED}; exit 4", results={"format": "ExitCode"}),
        probe("elsewhere", "runs", PASSED, results={"path": "/srv/tests/out"}),
        probe("user", "runs", PASSED, image="testkit/user:v1"),
        probe("full", "runs", "echo 'write: no space left on device'; exit 1"),
        run("wrong", "runs", image="testkit/probe:v1", imagePullPolicy="Never", args=["/bin/nope"]),
    )
    ends(space, "skipped", "Failed", "NoCasesRun", "spec.results.allowEmpty", passed=0, skipped=1)
    ends(space, "allowed", "Complete", "CasesPassed", "allowEmpty", passed=0, skipped=1)
    ends(space, "coded", "Complete", "CasesPassed", "exit code 0", passed=None)
    ends(space, "uncoded", "Failed", "ContainerFailed", "exit code 4", passed=None)
    ends(space, "elsewhere", "Complete", "CasesPassed", passed=1)
    ends(space, "user", "Complete", "CasesPassed", passed=1, failed=0)
    ends(space, "full", "Failed", "InfrastructureFailed", "disk is full")
    ends(space, "wrong", "Failed", "InvalidConfiguration", "/bin/nope", "entrypoint")


def results_that_cannot_be_kept_are_said_and_kept_later(space):
    kubectl("create", "configmap", "taken-results", "-n", space.name, "--from-literal=mine=1")
    space.apply(probe("taken", "runs", f"{PASSED}; echo evidence"))
    until("the name is said to be taken", lambda: verdict(space, "taken")[0] == "ResultsNotKept" and "taken-results" in verdict(space, "taken")[1], 120)
    assert space.status("e2erun", "taken")["phase"] == "Running"
    kubectl("delete", "configmap", "taken-results", "-n", space.name)
    status = ends(space, "taken", "Complete", "CasesPassed", passed=1)
    assert status["results"] == "taken-results" and "evidence" in log(space, "taken")


def a_case_that_passes_at_the_second_try_is_flaky(space):
    """By a template of its arguments; one that fails each time has failed, and so has one that the retry does not show."""
    again = lambda times: {"failedCases": times, "filter": {"args": ["{args}", "{names}"]}}
    space.apply(
        probe("flaky", "runs", SECOND, retries=again(2)),
        probe("never", "runs", FAILED, retries=again(2)),
        probe("silent", "runs", f"[ $0 = one ] && exit 0; {FAILED}", retries=again(1)),
        probe("unnamed", "runs", FAILED, retries={"failedCases": 1}),
    )
    status = ends(space, "flaky", "Complete", "CasesPassed", "1 at a second try only", passed=1, flaky=1, failed=0)
    assert [(a["number"], a["outcome"], a["reason"], a["manager"]) for a in status["attempts"]] == [(1, "Test", "CasesFailed", "runs-m0"), (2, "Test", "CasesPassed", "runs-m0")], status
    results = lambda *more: kubectl("testkit", "results", "flaky", "-n", space.name, *more).stdout
    assert "flakyFailure" in results("-o", "junit") and "flakyFailure" not in results("-o", "junit", "--attempt", "1")
    assert "it was two" in log(space, "flaky") and "it was two" not in kubectl("testkit", "logs", "flaky", "-n", space.name, "--attempt", "1").stdout
    told = kubectl("get", "events", "-n", space.name, "-o", "jsonpath={.items[?(@.reason=='Retrying')].message}").stdout
    assert "runs two again" in told, told
    assert len(ends(space, "never", "Failed", "CasesFailed", "attempt 3", passed=0, flaky=0, failed=1)["attempts"]) == 3
    ends(space, "silent", "Failed", "CasesFailed", "attempt 2", "no results", flaky=0, failed=1)
    assert "attempts" not in ends(space, "unnamed", "Failed", "CasesFailed", "not run again", "testkit.dev/case-filter", failed=1)


# An image with arguments of its own, which says how it is given names; two of its cases, or the one that it is told to run, which passes alone.
OWN = r"""cat > /tmp/own <<'END'
[ "$1" = kept ] && only=$2 || exit 9
[ "$only" = two ] && set -- '' || set -- '<testcase name="one"/>' '<failure message="not yet"/>'
printf '<testsuite name="s">%s<testcase name="two">%s</testcase></testsuite>' "$@" > $TESTKIT_RESULTS/junit.xml; [ "$only" = two ]
END
id=$(docker create testkit/probe:v1 /bin/sh) && docker cp /tmp/own $id:/own && docker commit --change 'CMD ["/bin/sh", "/own", "kept"]' \
  --change "LABEL testkit.dev/case-filter='{\"args\": [\"{args}\", \"{names}\"]}'" $id testkit/own:v1 && docker rm $id
"""


def what_failed_is_made_again_with_what_the_image_has(space, on_host):
    """Its arguments and its label: neither the plugin nor the spec knows them."""
    on_host(OWN)
    space.apply(probe("own", "runs", "", image="testkit/own:v1", args=[]))
    ends(space, "own", "Failed", "CasesFailed", "1 of 2 cases failed: two", passed=1, failed=1)
    kubectl("testkit", "rerun", "own", "--failed", "--name", "own-again", "-n", space.name)
    assert space.get("e2erun", "own-again")["spec"]["cases"] == ["two"]
    ends(space, "own-again", "Complete", "CasesPassed", "1 case passed", passed=1, failed=0)


def a_known_flake_in_quarantine_is_a_warning(space):
    """It passes where nothing else failed; after its end the quarantine is none, and it hides nothing else."""
    known = lambda until, **more: [{"name": "net.known", "owner": "net-team", "until": until, **more}]
    space.apply(
        probe("known", "runs", KNOWN + "1", quarantine=known("2999-01-01", reason="#12") + [{"name": "gone", "owner": "me", "until": "2999-01-01"}]),
        probe("over", "runs", KNOWN + "1", quarantine=known("2026-01-01T00:00:00Z")),
        probe("killed", "runs", KNOWN + "139", quarantine=known("2999-01-01")),
        probe("beside", "runs", KNOWN.replace('name="one"/>', 'name="one"><failure/></testcase>') + "1", quarantine=known("2999-01-01")),
    )
    said = "1 case failed in quarantine: net.known (owner net-team, until 2999-01-01: #12)"
    ends(space, "known", "Complete", "CasesPassed", "1 case passed", said, "spec.quarantine: gone", passed=1, failed=0, quarantined=1, exitCode=1)
    ends(space, "over", "Failed", "CasesFailed", "Their quarantine has ended: net.known (owner net-team", passed=1, failed=1, quarantined=0)
    ends(space, "killed", "Failed", "ContainerFailed", "no case failed that counts", "exit code 139", passed=1, failed=0, quarantined=1)
    status = ends(space, "beside", "Failed", "CasesFailed", "1 of 2 cases failed: one", failed=1, quarantined=1)
    assert [failure["name"] for failure in status["failures"]] == ["one"], status
    told = kubectl("get", "events", "-n", space.name, "-o", "jsonpath={.items[?(@.reason=='CasesQuarantined')].message}").stdout
    assert said in told, told
    results = lambda *more: kubectl("testkit", "results", "known", "-n", space.name, *more).stdout
    assert "quarantined   net.known" in results() and "<skipped message=" in results("-o", "junit") and "<failure" not in results("-o", "junit")
    assert "<failure" in results("-o", "junit", "--raw")
    # The same image has passed and failed, in the last runs of it that ended by themselves.
    found = json.loads(kubectl("testkit", "flakes", "-n", space.name, "--suite", "testkit/probe", "-o", "json").stdout)
    by_name = {(item["case"]["suite"], item["case"]["name"]): item for item in found["items"]}
    assert by_name["s", "net.known"]["state"] == "broken" and by_name["s", "net.known"]["failed"] == 4, found
    assert by_name["s", "one"]["state"] == "flaky" and by_name["s", "one"]["failed"] >= 1, found


def a_container_is_given_what_its_spec_says(space, on_host, operator):
    """Variables from a Secret and a ConfigMap; a limit that it exceeds; logins that are of no use; an image for other hosts."""
    token = "s3cr3t-of-the-run"
    take = lambda kind, key, **more: {"valueFrom": {kind: {"name": "given", "key": key, **more}}}
    env = [{"name": "TOKEN", **take("secretKeyRef", "token")}, {"name": "NONE", **take("secretKeyRef", "none", optional=True)}]
    says = f"""[ "${{#TOKEN}}" = {len(token)} ] && [ "$CI_level" = debug ] && [ "${{NONE-unset}}" = unset ] && {PASSED}"""
    on_host("tar -C / -chf - bin/sh | docker import --platform linux/riscv64 - testkit/foreign:v1")
    login = {"auths": {"registry.invalid": {"username": "me", "password": token}}}
    kubectl("create", "secret", "generic", "login", "-n", space.name, "--type=kubernetes.io/dockerconfigjson", f"--from-literal=.dockerconfigjson={json.dumps(login)}")
    space.apply(
        probe("given", "runs", says, env=env, envFrom=[{"prefix": "CI_", "configMapRef": {"name": "given"}}]),
        probe("stolen", "runs", says, envFrom=[{"secretRef": {"name": "runs-ssh"}}]),
        probe("hungry", "runs", "x=0123456789abcdef; while :; do x=$x$x; done", resources={"limits": {"memory": "16Mi"}}),
        probe("greedy", "runs", PASSED, resources={"limits": {"cpu": 64}}),
        probe("foreign", "runs", PASSED, image="testkit/foreign:v1"),
        probe("locked", "runs", PASSED, image="registry.invalid/suite:1", imagePullPolicy="IfNotPresent", imagePullTimeout="10s",
              imagePullSecrets=[{"name": "login"}, {"name": "nothing"}]),
    )
    until("it says what it lacks", lambda: verdict(space, "given")[0] == "CreateContainerConfigError" and "given" in verdict(space, "given")[1], 60)
    kubectl("create", "configmap", "given", "-n", space.name, "--from-literal=level=debug")
    kubectl("create", "secret", "generic", "given", "-n", space.name, f"--from-literal=token={token}")
    # Whenever it is looked at, the Secret is there, and the key is not.
    space.apply(probe("lacking", "runs", says, env=[{"name": "TOKEN", **take("secretKeyRef", "tokn")}], pendingTimeout="5s"))

    status = ends(space, "given", "Complete", "CasesPassed", passed=1)
    assert status["imageID"] in on_host("docker image inspect -f '{{.Id}} {{.RepoDigests}}' testkit/probe:v1"), status
    ends(space, "lacking", "Failed", "InvalidConfiguration", "spec.pendingTimeout (5s)", "Secret given has no key tokn", "TOKEN")
    ends(space, "stolen", "Failed", "InvalidConfiguration", "Secret runs-ssh", "the operator's own")
    ends(space, "hungry", "Failed", "OOMKilled", "spec.resources.limits.memory is 16Mi")
    ends(space, "greedy", "Failed", "InvalidConfiguration", "CPUs", "spec.resources.limits.cpu")
    ends(space, "foreign", "Failed", "InvalidConfiguration", "linux/riscv64", "runs-m0", "instanceTypes")
    ends(space, "locked", "Failed", "ImageUnavailable", "the login of Secret login for registry.invalid", "Secret nothing is not there")
    told = kubectl("get", "e2eruns,events,configmaps", "-n", space.name, "-o", "yaml").stdout + operator.log.read_text(errors="replace")
    assert token not in told, "a value of a Secret is kept"


def a_container_that_asks_for_the_role_of_its_host_gets_none(space, on_host):
    """On the host's network it is the host for the metadata, and there is no role to be had; behind a bridge it gets no token."""
    on_host(CURL)
    space.apply(probe("asks", "runs", ASKS + PASSED, image="testkit/curl:v1"))
    ends(space, "asks", "Complete", "CasesPassed", passed=1)
    said = log(space, "asks").splitlines()
    assert [line for line in ("token 0", "none 401", "role 404", "id 200") if line not in said] == [], said
    bridged = on_host(f"docker run --rm testkit/curl:v1 {TOKEN}; echo token $?; docker run --rm testkit/curl:v1 {TOKEN.replace(' -X PUT', '')} -o /dev/null -w '%{{http_code}}'")
    # Of curl: it took too long. The way there is no other than the host's: without PUT it is answered.
    assert bridged.startswith("token 28\n") and bridged.strip().split()[-1].isdigit() and not bridged.strip().endswith("000"), bridged


def the_clock_of_a_host_changes_nothing(space, on_host):
    """It goes 40 minutes ahead and comes back, with a run that begins before, between and after."""
    def turned(minutes):
        on_host(f"date -s @$(( $(date +%s) + {minutes * 60} ))")

    turned(40)
    try:
        space.apply(probe("ahead", "runs", f"sleep 8; {PASSED}", timeout="1m"), probe("stopped", "runs", GRACEFUL, timeout="4s"))
        runs_on(space, "ahead")
        runs_on(space, "stopped")
    finally:
        turned(-40)
    space.apply(probe("behind", "runs", f"sleep 1; {PASSED}", timeout="1m"))
    for name, least in (("ahead", 7), ("behind", 0.9)):
        status = ends(space, name, "Complete", "CasesPassed", passed=1)
        assert least <= seconds(status["duration"]) < 60, status
    status = ends(space, "stopped", "Failed", "DeadlineExceeded", passed=1)
    assert 4 <= seconds(status["duration"]) < 60, status


def an_engine_that_dies_is_not_the_tests_fault(space, on_host):
    space.apply(probe("hurt", "runs", "trap 'exit 3' TERM; sleep 600 & wait"))
    runs_on(space, "hurt")
    on_host("kill -9 $(pidof dockerd)")
    ends(space, "hurt", "Failed", "InfrastructureFailed", "the engine was lost while the container ran", timeout=180)


def a_cluster_that_is_deleted_lets_its_run_end(space):
    space.apply(probe("evidence", "runs", GRACEFUL))
    runs_on(space, "evidence")
    kubectl("delete", "swarmcluster", "runs", "-n", space.name, "--wait=false")
    ends(space, "evidence", "Failed", "ClusterGone", "1 case had passed", passed=1)
    assert "parted" in log(space, "evidence")
    space.delete("swarmcluster", "runs")
    assert space.leftovers("runs") == []
    assert "parted" in log(space, "evidence"), "the log outlives the cluster"


def test_every_run_ends_with_its_evidence(space, operator):
    on_host = made(space, "runs")
    results_that_cannot_be_kept_are_said_and_kept_later(space)
    what_is_told_to_end_has_its_grace(space)
    only_what_ran_and_is_in_order_passes(space)
    a_case_that_passes_at_the_second_try_is_flaky(space)
    what_failed_is_made_again_with_what_the_image_has(space, on_host)
    a_known_flake_in_quarantine_is_a_warning(space)
    a_container_is_given_what_its_spec_says(space, on_host, operator)
    a_container_that_asks_for_the_role_of_its_host_gets_none(space, on_host)
    the_clock_of_a_host_changes_nothing(space, on_host)
    until("no container of a run is left", lambda: on_host("docker ps -aq --filter label=testkit.dev/run-uid") == "", 60)
    an_engine_that_dies_is_not_the_tests_fault(space, on_host)
    a_cluster_that_is_deleted_lets_its_run_end(space)


def test_waiting_has_an_end(space):
    space.apply(run("early", "nowhere", pendingTimeout="4s"))
    ends(space, "early", "Failed", "PendingTimeoutExceeded", "spec.pendingTimeout (4s)", "no SwarmCluster nowhere", timeout=60)


@pytest.mark.long
def test_an_engine_that_is_dead_keeps_no_run(space):
    """It ends when its time and its grace are over, and what comes back later is no pass."""
    on_host = made(space, "dead")
    space.apply(probe("frozen", "dead", f"sleep 30; {PASSED}", timeout="10s", gracePeriod="2s"))
    runs_on(space, "frozen")
    on_host("kill -STOP $(pidof dockerd)")
    try:
        status = ends(space, "frozen", "Failed", "InfrastructureFailed", "spec.timeout (10s) is over", "cannot be reached", timeout=90)
        assert "results" not in status, status
    finally:
        on_host("kill -CONT $(pidof dockerd)")
    until("its container is removed", lambda: on_host("docker ps -aq --filter label=testkit.dev/run-uid") == "", 120)
    assert verdict(space, "frozen")[0] == "InfrastructureFailed"


@pytest.mark.long
def test_a_run_that_was_lost_is_begun_again_elsewhere(space):
    """The engine of its manager is killed; the second attempt is on another one, and counts alone."""
    space.apply(cluster("lost", managers=3, workers=0))
    space.wait("swarmcluster", "lost", "Ready", 240)
    addresses = {node["name"]: node["address"] for node in space.status("swarmcluster", "lost")["nodes"]}
    for address in addresses.values():
        space.ssh("lost", address, IMAGES)
    space.apply(probe("hurt", "lost", f"trap 'exit 3' TERM; sleep 25 & wait; {PASSED}; echo whole", timeout="4m"))
    runs_on(space, "hurt")
    first = space.status("e2erun", "hurt")["manager"]
    space.ssh("lost", addresses[first], "kill -9 $(pidof dockerd)")
    status = ends(space, "hurt", "Complete", "CasesPassed", "attempt 2", passed=1, failed=0, flaky=0, timeout=180)
    lost, passed = status["attempts"]
    assert (lost["outcome"], lost["reason"], lost["manager"]) == ("Infrastructure", "InfrastructureFailed", first), status
    assert passed["manager"] == status["manager"] != first, status
    assert "whole" in log(space, "hurt")
    for name, address in addresses.items():
        left = lambda: space.ssh("lost", address, "docker ps -aq --filter label=testkit.dev/run-uid") == ""
        until(f"no container of the run is left on {name}", left, 60)
