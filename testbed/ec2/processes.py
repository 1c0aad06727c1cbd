"""Which processes are ours, after a crash too. Written down so that a recycled process id is never taken for a host."""
import json
import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> "int | None":
    """When a process began, in ticks since boot; None when there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def record(file: Path, pid: int) -> None:
    file.write_text(json.dumps({"pid": pid, "started": start_time(pid)}))


def kill_group(group: int, folder: Path) -> None:
    """Ends every process of a group that works in `folder`, and returns when there is none left."""
    while members := list(_members(group, folder)):
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def kill_recorded(file: Path, folder: Path) -> None:
    """Ends the group that `record` noted, unless its number belongs to somebody else by now."""
    try:
        noted = json.loads(file.read_text())
    except (OSError, ValueError):
        return
    if start_time(noted["pid"]) in (None, noted["started"]):
        kill_group(noted["pid"], folder)


def _members(group: int, folder: Path):
    """The folder tells our processes from those of a stranger whose group got the same number."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        fields = _stat(int(entry))
        if not fields or fields[0] == "Z" or int(fields[2]) != group:
            continue
        try:
            if os.path.samefile(f"/proc/{entry}/cwd", folder):
                yield int(entry)
        except OSError:
            continue


def _stat(pid: int) -> "list[str] | None":
    """The fields of /proc/PID/stat from the state on: what stands before it may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
