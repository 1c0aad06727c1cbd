"""What is done to the hosts of a cluster, and undone: rules of their firewall, images taken away, hosts that stand still."""
import json
import subprocess
from pathlib import Path

BED = Path(__file__).resolve().parents[1] / "bed"
IMAGE = "dockerswarm/e2e:latest"


class Hosts:
    def __init__(self, cluster, plugin, image):
        self.cluster, self.plugin, self.image = cluster, plugin, image
        asked = self.kubectl("get", "swarmcluster", cluster, *plugin, "-o", "json")
        self.nodes = {node["name"]: node for node in json.loads(asked)["status"]["nodes"]}
        self.managers = sum(node["role"].lower() == "manager" for node in self.nodes.values())
        self.worker = max(name for name, node in self.nodes.items() if node["role"].lower() == "worker")

    @staticmethod
    def kubectl(*args):
        done = subprocess.run(["kubectl", *args], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout

    def on(self, where, command):
        return self.kubectl("testkit", "exec", self.cluster, *self.plugin, "--on", where, "--", command)

    def bed(self, verb):
        subprocess.run([BED, "host", verb, self.worker], check=True, capture_output=True, timeout=60)


def drop(where, *matches):
    """Packets of these kinds vanish on these nodes (`all`, or `worker` for one of them)."""
    def each(hosts, flag):
        node = hosts.worker if where == "worker" else where
        hosts.on(node, " && ".join(f"iptables -w -t raw -{flag} {match} -j DROP" for match in matches))
    return (lambda hosts: each(hosts, "I")), (lambda hosts: each(hosts, "D"))


def image_gone():
    """The suite's image is not on one of the workers."""
    def load(hosts):
        assert hosts.image, "--image is needed to bring the image back"
        hosts.kubectl("testkit", "load", str(hosts.image), "--cluster", hosts.cluster, *hosts.plugin)
    return (lambda hosts: hosts.on(hosts.worker, f"docker rmi -f {IMAGE}")), load


def frozen():
    """One of the workers stands still, and the swarm has noticed."""
    def down(hosts, wanted):
        node = hosts.nodes[hosts.worker]["nodeID"]
        hosts.on("leader", f"for i in $(seq 60); do docker node inspect -f '{{{{.Status.State}}}}' {node} | grep -qx {wanted} && exit 0; sleep 1; done; exit 1")

    def freeze(hosts):
        hosts.bed("freeze")
        down(hosts, "down")

    def thaw(hosts):
        hosts.bed("thaw")
        down(hosts, "ready")
    return freeze, thaw
