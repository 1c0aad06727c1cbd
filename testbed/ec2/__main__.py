"""`python -m ec2`: the EC2 endpoint of a test bed, until SIGTERM. It leaves no host, interface, namespace or file."""
import argparse
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from .fleet import Fleet
from .network import Network, NetworkError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ec2", description="EC2 whose instances are User-Mode Linux hosts.")
    parser.add_argument("--run", type=Path, required=True, help="folder for hosts' disks and consoles, this endpoint's alone")
    parser.add_argument("--namespace", required=True, help="name of the network namespace and of the machine's way into it")
    parser.add_argument("--clean", action="store_true", help="remove what a killed endpoint left, and end")
    parser.add_argument("--images", type=Path, help="folder that hosts/image.sh wrote")
    parser.add_argument("--kernel", nargs="+", metavar="WORD", help="what hosts boot with: a program of hosts/kernel and its arguments")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for a free one")
    parser.add_argument("--net", help="the hosts' addresses, such as 10.64.0.0/16: the VPC of every region has a part of it")
    parser.add_argument("--public", help="public addresses, such as 198.18.0.0/22: the last 256 are the internet's")
    parser.add_argument("--no-hosts", action="store_true", help="knob boot=false from the start, and no network")
    given = parser.parse_args()
    given.images = given.images and given.images.absolute()
    if not given.clean and not given.no_hosts and not (given.images and given.kernel and given.net and given.public):
        parser.error("--images, --kernel, --net and --public are needed, or --no-hosts")
    return given


def main() -> None:
    given = arguments()
    run = given.run.absolute()
    run.mkdir(parents=True, exist_ok=True)
    # See machine: names of sockets are relative to it.
    os.chdir(run)
    held = (run / "lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"ec2: an endpoint is running in {run}; end it first")
    try:
        work(given, run)
    except (NetworkError, OSError) as error:
        sys.exit(f"ec2: {error}")
    finally:
        (run / "lock").unlink(missing_ok=True)


def work(given: argparse.Namespace, run: Path) -> None:
    network = Network(given.net or "10.64.0.0/16", given.public or "198.18.0.0/22", given.namespace)
    fleet = Fleet(run, given.images or run, given.kernel or [], network)
    fleet.clean()
    if given.clean:
        return
    # Imported late: moto takes a second, and --clean needs none of it.
    from . import door, server

    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    endpoint = server.Endpoint(fleet)
    listening = door.Door(endpoint, given.port)
    endpoint.attach(listening)
    try:
        if given.no_hosts:
            endpoint.knobs.boot = False
        else:
            fleet.up()
            endpoint.serve_hosts(run, given.images, network)
        endpoint.warm_up()
        listening.open()
        print(f"ready http://127.0.0.1:{listening.port}", flush=True)
        over.wait()
    finally:
        # No instance is made or booted from here on.
        endpoint.life.lock.acquire(timeout=2)
        if given.no_hosts:
            fleet.clean()
        else:
            endpoint.end_services()
            fleet.down()
    # Requests and timers may still hold threads: nothing waits for them.
    (run / "lock").unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    main()
