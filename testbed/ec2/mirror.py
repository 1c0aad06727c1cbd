"""What hosts find elsewhere, for those whose image has no engine: an https server with the install script and packages.

It is in reach as if behind a NAT gateway: whatever lets a host out lets it there. The names and the authority that vouches for them are in the image without an engine, and so known to its hosts only. What
can go wrong there is set here, for the whole bed.
"""
import itertools
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from .network import Network, run
from .services import Service

# No host's and nobody's: an address by which the names of Docker and Debian are known in the image.
ADDRESS = "169.254.80.80"
HOWS = ("503", "404", "reset", "hang", "garble")
_generation = itertools.count(1)


@dataclass(frozen=True)
class Faults:
    """How often each download fails at first, for each host: a number, or `always`."""

    script_fails: "int | str" = 0
    packages_fails: "int | str" = 0
    # An HTTP status, a connection that is reset or that nobody answers on, or content that is not what it should be.
    how: str = "503"
    # How fast the downloads are; None for as fast as it goes.
    bytes_per_s: "float | None" = None
    # For how long a host that boots finds its package manager locked, as by unattended-upgrades.
    package_lock_s: float = 0

    def changed(self, wanted: dict) -> "Faults":
        """Raises ValueError with what is wrong."""
        known = {field.name for field in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"the mirror has no {name!r}; there are {', '.join(sorted(known))}")
            if not _fits(name, value):
                raise ValueError(f"the mirror's {name} cannot be {value!r}: it takes {_TAKES[name]}")
        return replace(self, **wanted | ({"how": str(wanted["how"])} if "how" in wanted else {}))


_TIMES = "a number of times, or always"
_TAKES = {"script_fails": _TIMES, "packages_fails": _TIMES, "how": f"one of {', '.join(HOWS)}",
          "bytes_per_s": "a number above 0, or null", "package_lock_s": "a number of seconds"}


def _fits(name: str, value) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    return {"how": str(value) in HOWS, "bytes_per_s": value is None or number and value > 0,
            "package_lock_s": number}.get(name, value == "always" or number and isinstance(value, int))


class Mirror:
    def __init__(self, run_folder: Path, images: Path, network: Network):
        self.faults = Faults()
        self._service: "Service | None" = None
        folder = images / "mirror"
        if folder.is_dir():
            run("ip", "-n", network.name, "address", "add", f"{ADDRESS}/32", "dev", "lo")
            self._service = Service("mirror_server", run_folder, network.listen(ADDRESS, 443), str(folder))

    def start(self) -> None:
        if self._service:
            self._service.start()

    def change(self, wanted: dict) -> None:
        """From here on, for every host; who was failed before is failed again."""
        self.faults = self.faults.changed(wanted)
        if self._service:
            self._service.tell({"faults": asdict(self.faults) | {"generation": next(_generation)}})

    def end(self) -> None:
        if self._service:
            self._service.end()
