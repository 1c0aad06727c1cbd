"""Of two operators with one Lease one works, and the other takes over: at once from one that goes, in time from one that is gone."""
import signal
import time

import pytest
import world
from test_members import events, ids, ready_again
from world import cluster, until

pytestmark = pytest.mark.long
LEADS = b"operator at work"


class Replica(world.Operator):
    def led(self):
        """How often it has begun to work."""
        return self.log.read_bytes().count(LEADS)

    def leads_within(self, seconds, times=1):
        began = time.monotonic()
        until("it is at work", lambda: self.led() >= times, seconds, every=0.05)
        return time.monotonic() - began


def test_two_operators_with_one_lease(bed, tmp_path):
    one, two = (Replica(tmp_path / f"{name}.log", "--lease", "default/elect") for name in ("one", "two"))
    space = world.Namespace("leadership")
    try:
        one.start().leads_within(30)
        two.start()
        space.apply(cluster("kept", managers=1, workers=1))
        until("an instance", lambda: space.instances("kept"), 60)
        # The one that leads goes while the cluster forms: the other works on within a second or two.
        one.process.terminate()
        assert two.leads_within(3) < 3
        ready_again(space, "kept", 240)
        first = ids(space, "kept")
        assert len(first) == 2
        assert one.process.wait(5) == 0

        # One that is killed has the Lease until it is over.
        one.start()
        two.kill()
        assert one.leads_within(25, times=2) > 3

        # One that stood still finds that another leads, and ends.
        two.start()
        time.sleep(5)
        one.process.send_signal(signal.SIGSTOP)
        two.leads_within(30, times=2)
        one.process.send_signal(signal.SIGCONT)
        assert one.process.wait(15) != 0
        time.sleep(5)
        assert ids(space, "kept") == first and space.condition("swarmcluster", "kept", "Ready")["status"] == "True"
        assert not [e for e in events(space) if e["type"] == "Warning"], events(space)
        space.delete("swarmcluster", "kept")
        assert space.leftovers("kept") == []
    finally:
        one.process.send_signal(signal.SIGCONT)
        for replica in (one, two):
            replica.stop()
        world.kubectl("delete", "namespace", space.name, "--timeout=60s", timeout=80)
