"""What makes runs: schedules, matrices and shards. docs/programmes.md names the checks."""
import time
from datetime import datetime, timezone

from test_runs import GRACEFUL, HELD, PASSED, ends, let_go, log, made, patch, probe, runs_on
from world import kubectl, until


def schedule(name, of, script, **spec):
    run = probe("template", of, script)["spec"]
    return {
        "apiVersion": "testkit.dev/v1alpha1", "kind": "E2ESchedule", "metadata": {"name": name},
        "spec": {"schedule": "* * * * *", "runTemplate": {"metadata": {"labels": {"made": "by-a-schedule"}}, "spec": run}, **spec},
    }


def runs_of(space, name):
    return sorted(kubectl("get", "e2eruns", "-n", space.name, "-l", f"testkit.dev/schedule={name}", "-o", "name").stdout.split())


def since(moment):
    return (datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds()


def test_a_schedule_makes_each_run_once(space, operator):
    """It is due at the next full minute; the operator is killed as soon as the run is there, and again when it has ended."""
    made(space, "runs")
    # So that it is due soon, and what is seen of the first run is seen before the second one is due.
    until("a minute is about to end", lambda: 45 <= time.time() % 60 < 57, 90)
    space.apply(schedule("minutely", "runs", PASSED))
    until("a run is made", lambda: runs_of(space, "minutely"), 120, every=0.05)
    operator.kill()
    [name] = runs_of(space, "minutely")
    meta = space.get(*name.split("/"))["metadata"]
    due = meta["annotations"]["testkit.dev/scheduled-at"]
    late = datetime.fromisoformat(meta["creationTimestamp"]) - datetime.fromisoformat(due)
    assert 0 <= late.total_seconds() < 30, "it is made when it is due, and not by the next look at the schedule"
    assert name.endswith(f"/minutely-{int(datetime.fromisoformat(due).timestamp()) // 60}")
    operator.start()
    space.wait("e2erun", name.split("/")[1], "Complete", 120)
    operator.kill()
    operator.start()
    until("its success is noted", lambda: space.status("e2eschedule", "minutely").get("lastSuccessfulTime"), 60)
    # Of the minute that it was due in; on a slow machine the next one may have its own by now.
    made_so_far = runs_of(space, "minutely")
    assert made_so_far == [name] or since(due) >= 60, "one start, one run"
    status = space.status("e2eschedule", "minutely")
    assert status["lastScheduleTime"] >= due and status["nextScheduleTime"] > due, status
    assert space.condition("e2eschedule", "minutely", "Ready")["reason"] == "Scheduled"
    assert space.get(*name.split("/"))["metadata"]["labels"]["made"] == "by-a-schedule"
    patch(space, "e2eschedule", "minutely", {"suspend": True})
    until("it says so", lambda: space.condition("e2eschedule", "minutely", "Ready")["reason"] == "Suspended", 60)
    patch(space, "e2eschedule", "minutely", {"suspend": False, "timeZone": "Europe/Atlantis"})
    until("it says what is wrong", lambda: "Atlantis" in space.condition("e2eschedule", "minutely", "Stalled")["message"], 60)
    space.delete("e2eschedule", "minutely")
    until("its runs are gone with it", lambda: not runs_of(space, "minutely"), 60)


def matrix(name, of, script, images, **spec):
    run = probe("template", of, script)["spec"]
    return {
        "apiVersion": "testkit.dev/v1alpha1", "kind": "E2EMatrix", "metadata": {"name": name},
        "spec": {"axes": {"image": images}, "runTemplate": {"spec": run}, **spec},
    }


def stand(space, name):
    """Each combination: its phase, and why."""
    return {one["run"]: (one["phase"], one.get("reason")) for one in space.status("e2ematrix", name).get("combinations", [])}


def test_a_matrix_runs_each_combination_and_ends_at_the_first_failure(space, operator):
    on_host = made(space, "runs")
    on_host("docker tag testkit/probe:v1 testkit/probe:v2")
    # The image tells the run which of them it is.
    first_fails = f"""case $TESTKIT_IMAGE in *:v1) sleep 3; exit 1;; *) {PASSED}; sleep 600 & trap 'exit 0' TERM; wait;; esac"""
    space.apply(
        matrix("all", "runs", PASSED, ["testkit/probe:v1", "testkit/probe:v2"]),
        matrix("fast", "runs", first_fails, ["testkit/probe:v1", "testkit/probe:v2"], failFast=True),
    )
    operator.kill()
    operator.start()
    space.wait("e2ematrix", "all", "Complete", 120)
    assert stand(space, "all") == {"all-probe-v1": ("Complete", "CasesPassed"), "all-probe-v2": ("Complete", "CasesPassed")}
    status = space.status("e2ematrix", "all")
    assert (status["ended"], status["runsPassed"], status["runsFailed"]) == ("2/2", 2, 0), status
    assert [one["passed"] for one in status["combinations"]] == [1, 1], status
    space.wait("e2ematrix", "fast", "Failed", 120)
    failed = stand(space, "fast")
    assert failed["fast-probe-v1"][0] == "Failed" and failed["fast-probe-v2"] == ("Failed", "Cancelled"), failed
    said = space.condition("e2ematrix", "fast", "Ready")
    assert said["reason"] == "RunsFailed" and "fast-probe-v1" in said["message"] and "1 were cancelled" in said["message"], said
    # What has ended stays so, whatever becomes of its runs; and they go with it.
    space.delete("e2erun", "all-probe-v1")
    space.delete("e2ematrix", "fast")
    until("its runs are gone with it", lambda: not kubectl("get", "e2eruns", "-n", space.name, "-l", "testkit.dev/matrix=fast", "-o", "name").stdout, 60)
    assert len(stand(space, "all")) == 2 and "all-probe-v1" not in kubectl("get", "e2eruns", "-n", space.name, "-o", "name").stdout


# Each of four shards has a case of its own, but the last one has none; the second one waits until it is let go.
PART = f"""i=$TESTKIT_SHARD_INDEX; echo "shard $0"; [ $i != 2 ] || {{ {HELD}; }}
""" + """[ $i = 4 ] && set -- '' || set -- "<testcase name='case-$i' time='$i.5'/>"
printf '<testsuite name="s">%s</testsuite>' "$1" > $TESTKIT_RESULTS/junit.xml"""


def shards_of(space, name):
    return sorted(kubectl("get", "e2eruns", "-n", space.name, "-l", f"testkit.dev/shard-of={name}", "-o", "name").stdout.split())


def shards_that_are_red_or_run_the_same_are_no_pass(space):
    red = """[ $TESTKIT_SHARD_INDEX = 1 ] && bad='<failure message="no"/>'
printf '<testsuite name="s"><testcase name="case-%s">%s</testcase></testsuite>' $TESTKIT_SHARD_INDEX "$bad" > $TESTKIT_RESULTS/junit.xml"""
    space.apply(
        probe("red", "runs", red, shards=2),
        probe("same", "runs", PASSED, shards=2),
        probe("silent", "runs", f"[ $TESTKIT_SHARD_INDEX = 1 ] || {{ {PASSED}; }}", shards=2),
        probe("cancelled", "runs", GRACEFUL, shards=2),
    )
    ends(space, "red", "Failed", "CasesFailed", "1 of 2 cases failed", "case-1", passed=1, failed=1)
    ends(space, "same", "Failed", "ShardsOverlap", "1 case was run by several shards: one (shards 1, 2)", "TESTKIT_SHARD_INDEX", passed=1, failed=0)
    ends(space, "silent", "Failed", "NoResults", "shard 1 of 2 (silent-1of2)", passed=1)
    for n in (1, 2):
        runs_on(space, f"cancelled-{n}of2")
    kubectl("label", "e2erun", "cancelled-1of2", "-n", space.name, "testkit.dev/shard-of-")
    until("its label is given back", lambda: len(shards_of(space, "cancelled")) == 2, 20)
    patch(space, "e2erun", "cancelled", {"cancel": True})
    # Both write the same case: what is told twice is counted once.
    ends(space, "cancelled", "Failed", "Cancelled", "spec.cancel", "1 case had passed", passed=1, failed=0)
    refused = patch(space, "e2erun", "red", {"shards": 3}, check=False)
    assert refused.returncode and "cannot be changed" in refused.stderr, refused.stderr


def shards_are_told_how_long_cases_took(space, operator):
    """By the runs before, and all shards the same: the operator is killed when that is kept, and another run ends meanwhile."""
    told = """echo "took $TESTKIT_DURATIONS"
printf '<testsuite name="s"><testcase name="case-%s"/></testsuite>' $TESTKIT_SHARD_INDEX > $TESTKIT_RESULTS/junit.xml"""
    space.apply(probe("timed", "runs", told, shards=2))
    there = ("get", "configmap", "timed-durations", "-n", space.name)
    until("what is known is kept", lambda: not kubectl(*there, check=False).returncode, 60, every=0.05)
    operator.kill()
    operator.start()
    status = ends(space, "timed", "Complete", "CasesPassed", "2 cases passed", passed=2, failed=0)
    assert "four" in status["balancedBy"]["runs"] and status["balancedBy"]["cases"] >= 3, status
    kept = space.get("configmap", "timed-durations")
    assert kept["immutable"] and '"case-3":3.500,"case-2":2.500,"case-1":1.500' in kept["data"]["durations.json"], kept
    for n in (1, 2):
        assert f"took {kept['data']['durations.json']}" in log(space, f"timed-{n}of2")


def test_four_shards_are_one_run(space, operator):
    """They are beside each other on one cluster though the run is exclusive; the operator is killed while they run, and before it tells of their end."""
    on_host = made(space, "runs")
    how = {"sharing": "Exclusive", "shards": 4, "timeout": "10m"}
    four = probe("four", "runs", PART, **how)
    four["spec"]["args"].append("$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)")
    space.apply(four)
    names = [f"e2erun.testkit.dev/four-{n}of4" for n in range(1, 5)]
    until("the shards are made", lambda: shards_of(space, "four") == names, 60, every=0.1)
    space.apply(probe("other", "runs", PASSED, sharing="Exclusive"))
    runs_on(space, "four-2of4")
    # It runs until it is let go: the others run beside it, and nobody else does.
    for n in (1, 3, 4):
        runs_on(space, f"four-{n}of4")
    until("the other one waits", lambda: space.condition("e2erun", "other", "Ready")["reason"] == "Queued", 60, every=0.1)
    operator.kill()
    let_go(space, on_host, "four-2of4")
    operator.start()
    status = ends(space, "four", "Complete", "CasesPassed", "3 cases passed", "in 4 shards, of which 1 had none to run", passed=3, failed=0, skipped=0)
    stand = [(one["run"], one["phase"], one.get("reason")) for one in status["shards"]]
    assert stand == [(f"four-{n}of4", "Complete", "CasesPassed") for n in (1, 2, 3)] + [("four-4of4", "Failed", "NoCasesRun")], stand
    assert shards_of(space, "four") == names, "each was made once"
    junit = kubectl("testkit", "results", "four", "-n", space.name, "-o", "junit").stdout
    assert all(junit.count(f'name="case-{n}"') == 1 and f'name="testkit.shard" value="{n}"' in junit for n in (1, 2, 3)), junit
    assert "shard 2/4" in log(space, "four-2of4") and "kubectl testkit logs four-2of4" in log(space, "four")
    ends(space, "other", "Complete", "CasesPassed", passed=1)
    shards_are_told_how_long_cases_took(space, operator)
    # They go with it, and so does what they left.
    space.delete("e2erun", "four")
    until("its shards are gone with it", lambda: not shards_of(space, "four"), 60)
    shards_that_are_red_or_run_the_same_are_no_pass(space)
