"""The lives of one server on one directory: started, worked with, ended, and judged in the next life."""

import os
import random
import shlex
import signal
import time

from durable.witness import Level, Witness, wait_loaded
from judge.server import Server, flavour

# Orderly stops in between: everything acknowledged must be there then, at every level.
ORDERLY_EVERY = 5


def add_options(parser):
    parser.add_argument("--server", default="target/release/corewheel server", help="the program that is killed")
    parser.add_argument("--level", action="append", help="batch, every:N or periodic:MS; may be given more than once")
    parser.add_argument("--rounds", type=int, default=20, help="lives of the server per level")
    parser.add_argument("--cores", default="2,1,3,1", help="how many cores each life has, in turn")
    parser.add_argument("--segment-bytes", default="1mb", help="size of a log segment: small ones are changed often")
    parser.add_argument("--flags", default="", help="further flags for the server")
    parser.add_argument("--seed", type=int, default=1, help="decides moments and work, as far as a real machine lets it")
    parser.add_argument("--json", help="write the rows to this file too")


def flags(chosen, level, folder):
    """The reference takes the same judge: `--flags "--appendonly no"` shows that it finds what it should."""
    if flavour(shlex.split(chosen.server)) == "redis":
        fsync = {"batch": "always"}.get(level, "everysec")
        return ["--dir", folder, "--appendonly", "yes", "--appendfsync", fsync, *chosen.flags.split()]
    return ["--dir", folder, "--durability", level, "--log-segment-bytes", chosen.segment_bytes, *chosen.flags.split(), "--cores", "0"]


def run(chosen, level, folder, report, what, on_death=lambda: None):
    """All lives at one level. `on_death` is called between the end of one and the beginning of the next."""
    chance = random.Random(chosen.seed)
    witness = Witness(chosen.seed, Level(level), collections=True)
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
            on_death()
    finally:
        server.stop()
        server.folder.cleanup()
    what = f"{what} at {level}"
    report.row(f"{what}, {turn} rounds, seed {chosen.seed}", f"{len(witness.complaints)} complaints", "none", not witness.complaints,
               "; ".join(witness.complaints[:4]))
    report.row(f"{what}: acknowledged writes", witness.acknowledged, "some", witness.acknowledged > 0)
    report.row(f"{what}: acknowledged writes lost", witness.lost, "0" if level == "batch" else "within the level",
               witness.lost == 0 if level == "batch" else None)
    report.row(f"{what}: slowest load", f"{max(loads):.2f} s", "told", None)
