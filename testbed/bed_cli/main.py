"""The command line: its verbs, their help, and what they print. What they do is in the other modules."""
import argparse
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from . import doctor, hosts, places, setup, users
from .arguments import one_of
from .beds import Bed
from .errors import BedError
from .http import unproxied


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="testbed/bed", description="A cluster of one machine: a Kubernetes API server, an EC2 endpoint, and real hosts behind it.",
                                  epilog="Start with `testbed/bed doctor`, then `testbed/bed up` and eval \"$(testbed/bed env)\".")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=os.environ.get("TESTBED_NAME") or "default", help="which bed of this checkout (default: $TESTBED_NAME, or 'default')")
    engines = argparse.ArgumentParser(add_help=False)
    engines.add_argument("--engine", action="append", choices=setup.ENGINES, help=f"a host image with this Docker Engine; may be repeated (default: {setup.ENGINES[0]})")
    wanted = argparse.ArgumentParser(add_help=False)
    wanted.add_argument("what", nargs="*", type=one_of(setup.WHATS), metavar="WHAT", help="; ".join(f"{what}: {text}" for what, text in setup.WHATS.items()))
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, action, text: str, parents=(named,), under=verbs) -> argparse.ArgumentParser:
        made = under.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", parents=list(parents))
        made.set_defaults(run=action)
        return made

    verb("doctor", do_doctor, "tell whether this machine can have a bed and all of the project, and how to get what it lacks", parents=(wanted, engines))
    prepare = verb("setup", do_setup, "install and build what is missing", parents=(wanted, engines))
    prepare.add_argument("--then", metavar="SECONDS", type=float, default=0, help="what comes after it takes so long, which belongs to the time that is left in all")
    up = verb("up", do_up, "start the bed, or repair it; nothing to do when it runs", parents=(named, engines))
    up.add_argument("--kubernetes-only", action="store_true", help="no EC2 endpoint and no hosts")
    up.add_argument("--node", action="store_true", help="and a node of Kubernetes, so that Deployments have pods")
    up.add_argument("--load", action="append", default=[], metavar="ARCHIVE", type=Path, help="with --node: images that it has when it is up, as of `node-load`; may be repeated")
    verb("node-load", do_node_load, "give the node the images of an archive, as `docker save` writes them").add_argument("archive", metavar="ARCHIVE", type=Path)
    verb("down", do_down, "end the bed and remove everything of it").add_argument("--all", action="store_true", help="every bed of this checkout")
    verb("status", do_status, "what runs and what answers; exit code 0 only for a bed that is up").add_argument("-o", dest="output", choices=("json",))
    env = verb("env", do_env, 'print shell exports, for: eval "$(testbed/bed env)"')
    env.add_argument("--user", default=users.ADMINISTRATOR, help=f"whose AWS keys: {users.OPERATOR} has the policy of deploy/iam-policy.json, {users.CLUSTER} a narrower one (default: {users.ADMINISTRATOR}, who may do everything)")
    env.add_argument("--python", action="store_true", help="print the interpreter with the bed's packages (an AWS SDK, pytest) instead")
    verb("install", do_install, "copy programs into the bed's bin folder, which `env` has on PATH").add_argument("programs", nargs="+", metavar="PROGRAM", type=Path)
    start = verb("start", do_start, "run a command as a daemon of the bed: its environment, a log in its run directory, its end with it; to the EC2 endpoint it is the user of its name, if there is one")
    start.add_argument("daemon", metavar="DAEMON", help="what to call it")
    start.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    verb("stop", do_stop, "end a daemon that `start` started").add_argument("daemon", metavar="DAEMON")

    host = verbs.add_parser("host", help="list hosts, look at one, or hurt it").add_subparsers(dest="host_verb", required=True, metavar="VERB")
    verb("ls", do_host_ls, "list the hosts", under=host).add_argument("-o", dest="output", choices=("json",))
    for name, unit, text in hosts.HOST_VERBS:
        made = verb(name, do_host, text, under=host)
        made.add_argument("host", metavar="HOST", help="instance id, its beginning, address or name")
        if unit:
            made.add_argument("number", metavar=unit.upper(), type=float)
        made.set_defaults(unit=unit)
    for name, _, text in hosts.GUEST_VERBS:
        verb(name, do_inside, text, under=host).add_argument("host", metavar="HOST", help="instance id, its beginning, address or name")
    verb("console", do_console, "print what it wrote on its console", under=host).add_argument("host", metavar="HOST")
    ssh = verb("ssh", do_ssh, "a shell on a host of a SwarmCluster, or a command there", under=host)
    ssh.add_argument("host", metavar="HOST")
    ssh.add_argument("-l", dest="user", default="root", metavar="USER")
    ssh.add_argument("command", nargs="*", metavar="COMMAND", help="after --")

    instance = verbs.add_parser("instance", help="list the instances of the EC2 endpoint, or end one as EC2 does by itself").add_subparsers(dest="instance_verb", required=True, metavar="VERB")
    verb("ls", do_instance_ls, "list the instances, ended ones included", under=instance)
    for name, option, default, text in hosts.INSTANCE_VERBS:
        made = verb(name, do_instance, text, under=instance)
        made.add_argument("instance", metavar="INSTANCE", help="instance id, its beginning, address or name")
        if option:
            made.add_argument(f"--{option}", dest="value", metavar=option.upper(), default=default, help="default: %(default)s")
        made.set_defaults(option=option)
    outage = verb("outage", do_outage, "have the EC2 endpoint refuse connections for a while, or end the calls to one region without an answer")
    outage.add_argument("seconds", metavar="SECONDS", type=float)
    outage.add_argument("--region", help="only calls to this region")

    pair = verbs.add_parser("pair", help="hurt the network between two hosts").add_subparsers(dest="pair_verb", required=True, metavar="VERB")
    for name, unit, text in hosts.PAIR_VERBS:
        made = verb(name, do_pair, text, under=pair)
        made.add_argument("one", metavar="HOST")
        made.add_argument("other", metavar="HOST")
        if unit:
            made.add_argument("number", metavar=unit.upper(), type=float)
        made.set_defaults(unit=unit)
    verb("knobs", do_knobs, "show or set the faults of the EC2 endpoint; a value is JSON or a word").add_argument("settings", nargs="*", metavar="KEY=VALUE")
    mirror = verb("mirror", do_mirror, "show or set what goes wrong with the install script and the packages that hosts without an engine download")
    mirror.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="script_fails and packages_fails: how often each download fails at first for each host, or always; "
                        "how: 503, 404, reset, hang or garble; bytes_per_s: a speed, or null; package_lock_s: how long a host that boots finds its package manager locked")
    verb("calls", do_calls, "how often each action was asked of the EC2 endpoint").add_argument("--reset", action="store_true", help="count from 0 after this")
    return top


def _engines(options) -> tuple[str, ...]:
    return tuple(options.engine or setup.ENGINES[:1])


def do_doctor(options) -> int:
    whats = tuple(options.what or (setup.DEMO,))
    steps = setup.missing(whats, _engines(options))
    code = doctor.report(steps, whats)
    print(f"setup would do: {setup.describe(steps)}")
    return code


def do_setup(options) -> int:
    setup.ensure(tuple(options.what or (setup.BED,)), _engines(options), options.then)
    return 0


def do_up(options) -> int:
    bed, began = Bed(options.name), time.monotonic()
    if options.node and options.kubernetes_only:
        raise BedError("--node is a host, and --kubernetes-only asks for none")
    if options.load and not options.node:
        raise BedError("--load is for the node: --node asks for one")
    whats = [setup.KUBERNETES if options.kubernetes_only else setup.UP] + [setup.NODE] * (options.node or bed.has_node())
    setup.ensure(tuple(whats), _engines(options))
    with bed.locked():
        started = bed.up(options.kubernetes_only, options.node, tuple(options.load))
    print(f"bed {bed.name!r} is up: {'started ' + ' and '.join(started) if started else 'it was already'} ({time.monotonic() - began:.1f} s)")
    return 0


def do_node_load(options) -> int:
    print(Bed(options.name).node().load(options.archive))
    return 0


def do_down(options) -> int:
    for name in Bed.names() if options.all else [options.name]:
        bed = Bed(name)
        with bed.locked():
            print(f"bed {name!r} is down" if bed.down() else f"bed {name!r} was not up")
    return 0


def do_status(options) -> int:
    status = Bed(options.name).status()
    if options.output == "json":
        print(json.dumps(status, indent=2))
    else:
        print(f"bed {status['name']!r} is {status['state']}" + (f" ({status['run']})" if status["pieces"] else ""))
        for piece in status["pieces"]:
            print(f"  {piece['name']:24} {piece['state']:8} {piece['pid'] or '-':>8}  {piece['url'] or '-':26} {piece['log']}")
    return 0 if status["state"] == "up" else 1


def do_env(options) -> int:
    if options.python:
        print(places.venv() / "bin" / "python")
        return 0
    bed = Bed(options.name)
    for key, value in bed.environment(options.user).items():
        print(f"export {key}={shlex.quote(value)}")
    folder = shlex.quote(str(bed.bin))
    # Not a fixed PATH: a Python launcher may have changed the one this process sees.
    print(f'case ":$PATH:" in *:{folder}:*) ;; *) export PATH={folder}:"$PATH" ;; esac')
    return 0


def do_install(options) -> int:
    bed = Bed(options.name)
    bed.environment()
    bed.install(options.programs)
    return 0


def do_start(options) -> int:
    bed = Bed(options.name)
    with bed.locked():
        pid = bed.start_guest(options.daemon, options.command)
    print(f"{options.daemon} runs as process {pid}, log {bed.run}/logs/{options.daemon}.log")
    return 0


def do_stop(options) -> int:
    bed = Bed(options.name)
    with bed.locked():
        bed.stop_guest(options.daemon)
    return 0


def do_host_ls(options) -> int:
    listed = hosts.Hosts(Bed(options.name)).every()
    if options.output == "json":
        print(json.dumps(listed, indent=2))
    elif listed:
        rows = [["ID", "NAME", "ZONE", "ADDRESS", "PUBLIC", "STATE", "BOOTS", "HURT BY"]]
        rows += [[host["id"], host["name"] or "-", host["zone"], host["ip"], host["public_ip"] or "-", host["state"] if host["pid"] else "dead", str(host["boots"]), hosts.hurt(host)] for host in listed]
        _table(rows)
    else:
        print("no hosts")
    return 0


def do_instance_ls(options) -> int:
    rows = [["ID", "NAME", "ADDRESS", "STATE", "TYPE", "ZONE", "REASON"]]
    rows += [[one["id"], one["name"] or "-", one["ip"] or "-", one["state"], one["type"], one["zone"], one["reason"] or "-"]
             for one in hosts.Hosts(Bed(options.name)).instances()]
    _table(rows)
    return 0


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip())


def do_instance(options) -> int:
    query = (options.option, options.value) if options.option else None
    hosts.Hosts(Bed(options.name)).tell_instance(options.instance, options.instance_verb, query)
    return 0


def do_outage(options) -> int:
    hosts.Hosts(Bed(options.name)).outage(options.seconds, options.region)
    return 0


def _number(options) -> tuple[str, str] | None:
    return (options.unit, f"{options.number:g}") if options.unit else None


def do_host(options) -> int:
    hosts.Hosts(Bed(options.name)).act(options.host, options.host_verb, _number(options))
    return 0


def do_inside(options) -> int:
    commands = {name: command for name, command, _ in hosts.GUEST_VERBS}
    hosts.Hosts(Bed(options.name)).inside(options.host, commands[options.host_verb])
    return 0


def do_pair(options) -> int:
    hosts.Hosts(Bed(options.name)).pair(options.one, options.other, options.pair_verb, _number(options))
    return 0


def do_console(options) -> int:
    sys.stdout.write(hosts.Hosts(Bed(options.name)).console(options.host))
    return 0


def do_ssh(options) -> int:
    hosts.Hosts(Bed(options.name)).ssh(options.host, options.user, options.command)
    return 1


def do_knobs(options) -> int:
    for key, value in sorted(hosts.Hosts(Bed(options.name)).knobs(options.settings).items()):
        print(f"{key}={json.dumps(value)}")
    return 0


def do_mirror(options) -> int:
    for key, value in sorted(hosts.Hosts(Bed(options.name)).mirror(options.settings).items()):
        print(f"{key}={json.dumps(value)}")
    return 0


def do_calls(options) -> int:
    for action, count in sorted(hosts.Hosts(Bed(options.name)).calls(options.reset).items()):
        print(f"{count:6} {action}")
    return 0


def settle() -> None:
    """What commands that are run here find around them, whoever's shell it is."""
    # Without one Go has no cache, and says so when it builds.
    os.environ.setdefault("HOME", str(Path.home()))
    os.environ.update(unproxied(os.environ))


def main(argv: list[str] | None = None) -> int:
    settle()
    options = parser().parse_args(argv)
    # So that what a step runs ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return options.run(options)
    except BedError as error:
        print(f"testbed/bed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("testbed/bed: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
