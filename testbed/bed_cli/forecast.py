"""How long steps that run side by side will still take. Arithmetic alone: what is measured comes in as arguments.

A step is known by its seconds of processor. Those stay what they are on a busy machine, where it only gets them later; how
fast it gets them is what this machine's processors have to give just now.
"""
from dataclasses import dataclass

# What a plan uses of the processors it could have: while a linker runs, and at its ends, not every one is busy.
USED = 0.93
# Seconds over which the machine's other work is averaged.
SIGHT = 45.0
# So many seconds of processor have to be seen before what the finished steps took says as much as what was expected.
PRIOR = 20.0
# Of a second; what is less is done.
_NOTHING = 1e-6
# A step is not said to end before it does: from this part of its estimate on it has so much left, and as much
# of what it is over that.
NEARLY, OVERTIME = 0.98, 0.3


@dataclass(frozen=True)
class Work:
    """What is left of a step. `cpu`: seconds of processor; `wait`: seconds in which it waits for a network or a disk."""

    cpu: float
    wait: float = 0
    # How many processors it keeps busy, but for the last `tail` seconds of processor: what it all comes to is for one alone.
    threads: int = 1
    after: tuple[str, ...] = ()
    tail: float = 0

    def width(self, cpu: float) -> int:
        """How many processors it can use while it has so much left to do."""
        return self.threads if cpu > self.tail + _NOTHING else 1


class Supply:
    """How many processors there are for us: those that we have, and those that nobody has."""

    def __init__(self, cores: int):
        self.cores = cores
        self.now = float(cores)

    def seen(self, seconds: float, ours: float, idle: float) -> None:
        """In so many seconds our processes had `ours`, and nobody had `idle`, seconds of processor."""
        if seconds > 0:
            there = min(max((ours + idle) / seconds, 0.1), self.cores)
            self.now += (there - self.now) * min(seconds / SIGHT, 1)


def pace(done: list[tuple[float, float]], under_way: list[tuple[float, float]] = ()) -> float:
    """By how much steps take more than was expected, from what those took that are done: (expected, taken). One that is under way
    says something only when it has taken more than it should by now."""
    known = _ratio(done)
    return _ratio([*done, *((expected, used) for expected, used in under_way if used > expected * known)])


def _ratio(steps: list[tuple[float, float]]) -> float:
    return (PRIOR + sum(taken for _, taken in steps)) / (PRIOR + sum(expected for expected, _ in steps))


def rest(expected: float, used: float) -> float:
    """Seconds of processor that a step under way will still take."""
    nearly = NEARLY * expected
    return expected - used if used < nearly else expected - nearly + OVERTIME * (used - nearly)


def left(work: dict[str, Work], supply: float, cores: int) -> float:
    """Seconds until everything is done, by playing it: `work` is in the order in which it begins where it can."""
    rest, seconds = {name: [step.wait, step.cpu] for name, step in work.items()}, 0.0
    while rest:
        able = _able(work, rest, cores) or list(rest)
        rates = _rates([(work[name].width(rest[name][1]), name) for name in able if rest[name][0] <= 0], supply * USED, supply * USED / cores)
        # Until the first of them has waited enough, goes on alone, or is done.
        step = min(rest[name][0] if name not in rates else _until_change(work[name], rest[name][1]) / rates[name] for name in able)
        for name in able:
            if name in rates:
                rest[name][1] -= step * rates[name]
            else:
                rest[name][0] -= step
        rest = {name: [max(wait, 0), cpu] for name, (wait, cpu) in rest.items() if wait > _NOTHING or cpu > _NOTHING}
        seconds += step
    return seconds


def _able(work: dict[str, Work], rest: dict, cores: int) -> list[str]:
    """What runs: of those that keep processors busy no more than there are processors, and one that cannot begin yet keeps its place."""
    places, able = max(cores, 2), []
    for name in rest:
        busy = work[name].threads > 1
        if busy and not places:
            continue
        places -= busy
        if not any(other in rest for other in work[name].after):
            able.append(name)
    return able


def _rates(wanted: list[tuple[int, str]], supply: float, one: float) -> dict[str, float]:
    """Seconds of processor that each gets in a second: its share, and no more than it can use. `one`: what there is of one processor."""
    rates = {}
    for number, (width, name) in enumerate(sorted(wanted)):
        rates[name] = min(width * one, (supply - sum(rates.values())) / (len(wanted) - number))
    return rates


def _until_change(step: Work, cpu: float) -> float:
    return cpu - step.tail if cpu > step.tail + _NOTHING else max(cpu, _NOTHING)


def words(seconds: float) -> str:
    """No more exact than it is."""
    if seconds < 100:
        return f"about {max(round(seconds / 10), 1) * 10} s"
    if seconds < 285:
        return f"about {round(seconds / 30) / 2:g} min"
    return f"about {round(seconds / 60)} min"
