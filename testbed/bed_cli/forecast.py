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
PRIOR = 60.0
# A step that is over its estimate will take this part of what it took once more.
OVERTIME = 0.1


@dataclass(frozen=True)
class Work:
    """What is left of a step. `cpu`: seconds of processor; `wait`: seconds in which it waits for a network or a disk."""

    cpu: float
    wait: float = 0
    # How many processors it keeps busy.
    threads: int = 1
    after: tuple[str, ...] = ()


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


def pace(finished: list[tuple[float, float]]) -> float:
    """By how much steps take more than was expected, from what the finished ones took: (expected, taken)."""
    return (PRIOR + sum(taken for _, taken in finished)) / (PRIOR + sum(expected for expected, _ in finished))


def rest(expected: float, used: float) -> float:
    """Seconds of processor that a step under way will still take."""
    return max(expected - used, OVERTIME * used)


def left(work: dict[str, Work], supply: float, cores: int) -> float:
    """Seconds until everything is done: the processors have to do it all, and one thing has to wait for the other."""
    longest = max((_chain(name, work, supply / cores, cores) for name in work), default=0)
    return max(sum(step.cpu for step in work.values()) / (supply * USED), longest)


def _chain(name: str, work: dict[str, Work], speed: float, cores: int) -> float:
    """Seconds until this step is done, if it only waited for what it comes after. `speed`: what we have of one processor."""
    step = work[name]
    before = max((_chain(other, work, speed, cores) for other in step.after if other in work), default=0)
    return before + step.wait + step.cpu / (min(step.threads, cores) * speed)


def words(seconds: float) -> str:
    """No more exact than it is."""
    if seconds < 100:
        return f"about {max(round(seconds / 10), 1) * 10} s"
    if seconds < 285:
        return f"about {round(seconds / 30) / 2:g} min"
    return f"about {round(seconds / 60)} min"
