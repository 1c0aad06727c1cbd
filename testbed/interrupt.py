"""Ends runs of the suite at random moments, by SIGTERM and by SIGKILL, on a SwarmCluster that has the suite's image.

After SIGTERM nothing of the run may be on any node when it has ended; after SIGKILL nothing when the next run has ended, which
is of one case and has to pass. One line a run; exit code 1 when anything stayed, or a run that was told to stop did not say so.
"""
import argparse
import random
import sys
import time

from interrupted import Suite


def main():
    parser = argparse.ArgumentParser(prog="testbed/interrupt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", help="a SwarmCluster of the bed, in the namespace default")
    parser.add_argument("--times", type=int, default=10, help="how many runs for each signal (default: 10)")
    parser.add_argument("--within", type=float, default=40, metavar="SECONDS", help="the latest moment (default: 40)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="to have the same moments again")
    parser.add_argument("args", nargs="*", help="arguments of the suite, after --: filters and flags")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    moments, suite, bad = random.Random(args.seed), Suite(args.cluster), 0
    before = suite.has()
    for signal in ("TERM", "KILL"):
        for _ in range(args.times):
            moment = moments.uniform(0.5, args.within)
            suite.run(*args.args)
            # The moment is what is tested here: there is nothing to wait for but time.
            time.sleep(moment)
            there = {line for line in suite.has() - before if not line.endswith("container suite")}
            began = time.monotonic()
            code, said = suite.end(signal)
            took = time.monotonic() - began
            if signal == "KILL":
                suite.next("--exact", "NetworkIpam")
            left, tidy = suite.left(before)
            right = code == {"TERM": 130, "KILL": 137}[signal]
            bad += bool(left) or not right
            words = f"left: {sorted(left)}" if left else f"nothing left (nodes tidy after {tidy:.1f} s)"
            print(f"SIG{signal} after {moment:4.1f} s: {len(there)} objects there, ended with {code} within {took:.1f} s; {words}", flush=True)
            if left or not right:
                print(said[-3000:], flush=True)
                suite.clean()
                suite.left(before)
    print(f"{2 * args.times - bad} of {2 * args.times} runs left nothing")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
