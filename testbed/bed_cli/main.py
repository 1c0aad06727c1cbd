"""The command line: its verbs, their help, and what they print. What they do is in the other modules."""
import argparse
import json
import os
import shlex
import sys
import time

from .beds import Bed
from .errors import BedError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="testbed/bed", description="A cluster of one machine: a Kubernetes API server, an EC2 endpoint, and real hosts behind it.")
    top.add_argument("--name", default=os.environ.get("TESTBED_NAME", "default"), help="which bed of this checkout (default: $TESTBED_NAME, or 'default')")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    up = verbs.add_parser("up", help="start the bed, or repair it; nothing to do when it runs")
    up.add_argument("--kubernetes-only", action="store_true", help="no EC2 endpoint and no hosts")
    up.set_defaults(run=do_up)
    down = verbs.add_parser("down", help="end the bed and remove everything of it")
    down.add_argument("--all", action="store_true", help="every bed of this checkout")
    down.set_defaults(run=do_down)
    verbs.add_parser("env", help="print shell exports: eval \"$(testbed/bed env)\"").set_defaults(run=do_env)
    return top


def do_up(options) -> int:
    bed, began = Bed(options.name), time.monotonic()
    with bed.locked():
        started = bed.up(options.kubernetes_only)
    print(f"bed {bed.name!r} is up: {'started ' + ' and '.join(started) if started else 'it was already'} ({time.monotonic() - began:.1f} s)")
    return 0


def do_down(options) -> int:
    for name in Bed.names() if options.all else [options.name]:
        bed = Bed(name)
        with bed.locked():
            print(f"bed {name!r} is down" if bed.down() else f"bed {name!r} was not up")
    return 0


def do_env(options) -> int:
    for key, value in Bed(options.name).environment().items():
        print(f"export {key}={shlex.quote(value)}")
    bin_dir = shlex.quote(str(Bed(options.name).bin))
    # Not a fixed PATH: a Python launcher may have changed the one this process sees.
    print(f'case ":$PATH:" in *:{bin_dir}:*) ;; *) export PATH={bin_dir}:"$PATH" ;; esac')
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        return options.run(options)
    except BedError as error:
        print(f"testbed/bed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
