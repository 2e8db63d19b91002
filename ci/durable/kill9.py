#!/usr/bin/env python3
"""A server that is killed again and again in the middle of its work, on one directory.

    python3 ci/durable/kill9.py --server "target/release/corewheel server" --level batch --rounds 20

Witnesses in this process write, read and remember; the server gets SIGKILL after 50 to 500 ms, every fifth time SIGTERM, and is
started again on what it left, with another number of cores each time. What it then holds is judged against what was acknowledged.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.witness import Level, Witness, wait_loaded
from judge.report import Report
from judge.server import Server, flavour

# Orderly stops in between: everything acknowledged must be there then, at every level.
ORDERLY_EVERY = 5


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program that is killed")
    parser.add_argument("--level", action="append", help="batch, every:N or periodic:MS; may be given more than once (default: all three)")
    parser.add_argument("--rounds", type=int, default=20, help="lives of the server per level")
    parser.add_argument("--cores", default="2,1,3,1", help="how many cores each life has, in turn")
    parser.add_argument("--segment-bytes", default="1mb", help="size of a log segment: small ones are changed often")
    parser.add_argument("--flags", default="", help="further flags for the server")
    parser.add_argument("--seed", type=int, default=1, help="decides moments and work, as far as a real machine lets it")
    parser.add_argument("--keep", help="a directory that stays, to look at what was left")
    parser.add_argument("--json", help="write the rows to this file too")
    return parser.parse_args()


def flags(chosen, level, folder):
    """The reference takes the same judge: `--flags "--appendonly no"` shows that it finds what it should."""
    if flavour(shlex.split(chosen.server)) == "redis":
        fsync = {"batch": "always"}.get(level, "everysec")
        return ["--dir", folder, "--appendonly", "yes", "--appendfsync", fsync, *chosen.flags.split()]
    return ["--dir", folder, "--durability", level, "--log-segment-bytes", chosen.segment_bytes, *chosen.flags.split(), "--cores", "0"]


def lives(chosen, level, folder, report):
    chance = random.Random(chosen.seed)
    witness = Witness(chosen.seed, Level(level))
    cores = [int(each) for each in chosen.cores.split(",")]
    server = Server(chosen.server, extra=flags(chosen, level, folder))
    killed_at, orderly, loads = 0.0, True, []
    try:
        for turn in range(chosen.rounds + 1):
            count = cores[turn % len(cores)]
            if server.flavour == "corewheel":
                # A processor may be named twice: more cores than the machine has.
                server.words[-1] = ",".join(str(core % os.cpu_count()) for core in range(count))
            server.start()
            loads.append(wait_loaded(server.port, server))
            witness.judge(server.port, killed_at, count, orderly)
            if witness.complaints or turn == chosen.rounds:
                break
            orderly = turn % ORDERLY_EVERY == ORDERLY_EVERY - 1
            witness.begin(server.port)
            time.sleep(chance.uniform(0.05, 0.5))
            killed_at = time.monotonic()
            if orderly:
                witness.end()
                if server.stop() != 0:
                    witness.complaints.append(f"an orderly stop ended with {server.process.returncode}: {server.log()[-500:]}")
            else:
                os.kill(server.pid, signal.SIGKILL)
                server.process.wait()
                witness.end()
    finally:
        server.stop()
        server.folder.cleanup()
    what = f"kill -9 at {level}, {turn} rounds, seed {chosen.seed}"
    report.row(what, f"{len(witness.complaints)} complaints", "none", not witness.complaints, "; ".join(witness.complaints[:4]))
    report.row(f"kill -9 at {level}: acknowledged writes", witness.acknowledged, "some", witness.acknowledged > 0)
    report.row(f"kill -9 at {level}: acknowledged writes lost", witness.lost, "0" if level == "batch" else "within the level",
               witness.lost == 0 if level == "batch" else None)
    report.row(f"kill -9 at {level}: slowest load", f"{max(loads):.2f} s", "told", None)


def main():
    chosen = options()
    report = Report("kill -9")
    for level in chosen.level or ["batch", "every:100", "periodic:200"]:
        folder = tempfile.mkdtemp(prefix="corewheel-kill9-", dir=chosen.keep)
        try:
            lives(chosen, level, folder, report)
        finally:
            if chosen.keep is None:
                shutil.rmtree(folder)
    return report.finish(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
