"""The suite as a container on a manager that is told to stop, or killed; and what is left on the nodes then."""
import subprocess
import time

from world import until

# All that a node has. A worker knows only its own; what the swarm has is told by managers.
HAS = """
docker ps -a --format 'container {{.Names}}'
docker volume ls --format 'volume {{.Name}}'
docker network ls --format 'network {{.Name}}'
docker service ls --format 'service {{.Name}}' 2>/dev/null || exit 0
docker secret ls --format 'secret {{.Name}}'
docker config ls --format 'config {{.Name}}'
docker node ls -q | xargs docker node inspect --format '{{range $label, $value := .Spec.Labels}}label {{$label}} {{end}}'
"""
IMAGE = "dockerswarm/e2e:latest"
# What ended is gone for the swarm before its node has removed it.
NODES_TIDY_UP_WITHIN = 60


class Suite:
    """The suite on a manager of a SwarmCluster, in one container."""

    def __init__(self, cluster, *plugin):
        """`plugin`: options of kubectl testkit, such as the namespace."""
        self.cluster, self.plugin = cluster, plugin

    def on(self, where, command, timeout=300):
        words = ["kubectl", "testkit", "exec", self.cluster, *self.plugin, "--on", where, "--", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def has(self, where="all"):
        """Lines of these nodes, each beginning with its node."""
        return set(self.on(where, HAS).splitlines())

    def run(self, *args):
        """Begins a run, and does not wait for it."""
        self.on("leader", "docker run -d --name suite --net=host -v /var/run/docker.sock:/var/run/docker.sock " + " ".join((IMAGE, *args)))

    def end(self, signal):
        """Its exit code and what it said, when it has ended by this signal."""
        code = int(self.on("leader", f"docker kill -s {signal} suite >/dev/null; docker wait suite").split()[-1])
        said = self.on("leader", "docker logs suite 2>&1; docker rm suite >/dev/null")
        return code, said

    def next(self, *args):
        """What another run says, which has to pass; it begins by removing what the one before left."""
        words = ("docker run --rm --net=host -v /var/run/docker.sock:/var/run/docker.sock", IMAGE, *args, "2>&1; echo ended with $?")
        said = self.on("leader", " ".join(words))
        assert said.endswith("ended with 0\n"), said
        return said

    def clean(self):
        return self.next("clean", "--older-than", "0s")

    def left(self, before, where="all"):
        """What the nodes have that they had not, once they had the time to remove what ended; and how long that took."""
        began = time.monotonic()
        while True:
            left = self.has(where) - before
            took = time.monotonic() - began
            if not left or took > NODES_TIDY_UP_WITHIN:
                return left, took


def the_next_run_removes_what_a_killed_one_left(cluster, *plugin):
    """And passes with the case that the killed one was in the middle of, whose network has a subnet of its own."""
    suite, case = Suite(cluster, *plugin), "NetworkIpam"
    before = suite.has("leader")
    begun = lambda: {line for line in suite.has("leader") - before if "network e2e-" in line or "config e2e-subnet-" in line}
    # On a busy machine the case may be over before anybody has looked: then it is begun anew.
    for tries_left in (2, 1, 0):
        suite.run("--selftest", "slow", "SelftestSlow", case)
        try:
            until("a network, and the claim to a subnet", lambda: len({line.split()[-2] for line in begun()}) == 2, 45, every=0)
            break
        except AssertionError:
            if not tries_left:
                raise
            suite.end("KILL")
    code, said = suite.end("KILL")
    left = {" ".join(line.split()[-2:]) for line in begun()}
    assert code == 137 and left, (code, said)
    said = suite.next(case)
    assert "is over: removing what it left" in said and all(f"e2e: removed {it}" in said for it in left), (left, said)
    assert suite.left(before, "leader")[0] == set(), said


def only_managers_will_do(cluster, *plugin):
    """On a worker, and where there is no engine, it says so with an exit code of its own before any case."""
    suite = Suite(cluster, *plugin)
    for code, words, options in ((3, "is a worker of its swarm", "-v /var/run/docker.sock:/var/run/docker.sock"), (2, "no answer from the Docker Engine", "")):
        said = suite.on("w0", f"docker run --rm --net=host {options} {IMAGE} 2>&1; echo ended with $?")
        assert words in said and f"ended with {code}" in said and "running" not in said, said
