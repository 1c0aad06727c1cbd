"""The time that is left, as it would have been told at every moment of a setup, beside the time that it then took."""
import pytest

from bed_cli import forecast
from bed_cli.forecast import Supply, Work

CORES = 2
# What follows the setup: the demo itself.
THEN = 57
# As `setup` has it.
PLAN = {
    "packages": Work(8, 8, 1), "toolchain": Work(25, 10, 1), "python": Work(20, 5, 1, ("packages",)),
    "programs": Work(720, 5, 2, ("packages", "toolchain"), 100), "kubernetes": Work(770, 15, 2, tail=25),
    "prebuilt": Work(12, 8, 1, ("packages",)), "image": Work(30, 15, 1, ("packages", "prebuilt")), "suite": Work(165, 5, 2, ("packages", "toolchain"), 70),
}


def told(truth, others):
    """Plays a setup, second by second: (when, what was told to be left) every ten of them, and the end. `truth`: of each step; `others`: processors that others take, by time."""
    spent, waited, now, said, supply, finished = dict.fromkeys(PLAN, 0.0), dict.fromkeys(PLAN, 0.0), 0, [], Supply(CORES), {}
    while len(finished) < len(PLAN):
        pace = forecast.pace([(PLAN[name].cpu, spent[name]) for name in PLAN if name in finished],
                             [(PLAN[name].cpu, spent[name]) for name in PLAN if name not in finished])
        work = {}
        for name, step in PLAN.items():
            if name not in finished:
                expected = forecast.rest(step.cpu * pace, spent[name]) if spent[name] else step.cpu * pace
                work[name] = Work(expected, max(step.wait - waited[name], 0), step.threads, step.after, step.tail)
        if now % 10 == 0:
            said.append((now, forecast.left(work, supply.now, CORES)))
        heavy = [name for name in work if PLAN[name].threads > 1][:CORES]
        able = [name for name in work if not set(PLAN[name].after) - set(finished) and (name in heavy or PLAN[name].threads == 1)]
        ready = [name for name in able if waited[name] >= PLAN[name].wait]
        for name in able:
            waited[name] += 1
        # Every one gets its share of what the others leave, and no more than it can use.
        width = lambda name: PLAN[name].threads if truth[name] - spent[name] > PLAN[name].tail else 1
        free, asked, used = CORES - others(now), sorted(ready, key=width), 0.0
        for number, name in enumerate(asked):
            share = min(width(name) * free / CORES, (free - used) / (len(asked) - number), truth[name] - spent[name])
            spent[name] += share
            used += share
        finished |= {name: now for name in ready if spent[name] >= truth[name] - 1e-9}
        supply.seen(1, used, free - used)
        now += 1
    return said, now


@pytest.mark.parametrize("others", [lambda _: 0.0, lambda _: 1.0, lambda now: 1.0 if now > 200 else 0.0], ids=["a quiet machine", "half a machine", "half of it later"])
@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_what_is_left_is_right_to_a_third(factor, others):
    said, end = told({name: step.cpu * factor for name, step in PLAN.items()}, others)
    changed = others(0) != others(10**6)
    for now, left in said:
        # What others will take nobody can know, nor how busy the machine is before it was seen for a while.
        if not (changed and now < 200 + 60) and not (others(0) and now < 60):
            assert left + THEN == pytest.approx(end - now + THEN, rel=1 / 3), f"after {now} s of {end}"


def test_the_cold_setup_that_was_measured():
    """Of 2026-11-28, on two quiet cores with nothing cached: 993 s."""
    taken = {"toolchain": 21, "python": 21, "programs": 724, "kubernetes": 774, "prebuilt": 12, "image": 33, "suite": 166}
    work = {name: Work(cpu, PLAN[name].wait, PLAN[name].threads, PLAN[name].after, PLAN[name].tail) for name, cpu in taken.items()}
    assert forecast.left(work, CORES, CORES) == pytest.approx(993, rel=0.03)


def test_one_that_may_not_begin_yet_is_not_counted_as_under_way():
    """Of three that keep all processors busy the third begins when one of the others is done."""
    work = {name: Work(100, threads=2) for name in "abc"}
    assert forecast.left(work, supply=2, cores=2) == pytest.approx(300 / 2 / forecast.USED)
    # And its end is for one processor alone.
    assert forecast.left(work | {"c": Work(100, threads=2, tail=60)}, supply=2, cores=2) == pytest.approx((240 / 2 + 60) / forecast.USED)


def test_steps_that_only_wait_take_their_time():
    assert forecast.left({"a": Work(0, 40), "b": Work(2, 20, after=("a",))}, supply=2, cores=2) == pytest.approx(62, abs=0.2)


def test_a_step_over_its_estimate_is_not_said_to_be_over():
    assert forecast.rest(100, 40) == 60
    assert forecast.rest(100, 95) == pytest.approx(5) and forecast.rest(100, 100) > 2 and forecast.rest(100, 200) > 30


def test_words():
    assert [forecast.words(seconds) for seconds in (0, 44, 96, 130, 284, 285, 840)] == \
        ["about 10 s", "about 40 s", "about 100 s", "about 2 min", "about 4.5 min", "about 5 min", "about 14 min"]
