#!/usr/bin/env python3
"""A data directory that is damaged one place at a time, and a server that is started on each.

    python3 ci/durable/damage.py --server "target/release/corewheel server" --cases 60

A server may start with all it acknowledged; it may cut off the end of a log, if it says so and what is left is a moment that was;
or it may refuse, naming the place. What it may never do is serve something else, die of a signal, or hang. Of a log that is refused
`corewheel check` must think the same, and `corewheel repair --truncate` must make a moment that was of it: or, where an earlier life
is damaged, something a server starts on.
"""

import argparse
import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.witness import Level, Witness, wait_loaded
from judge import resp
from judge.report import Report
from judge.server import Server

REGION_BYTES = 512
# Long enough for a log to note that its last entries are durable.
QUIET_S = 0.5
EXIT_SECONDS_MAX = 20.0


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program that is started")
    parser.add_argument("--cases", type=int, default=60, help="places to damage; 0: every region of every file, both ways")
    parser.add_argument("--cores", default="0-1", help="processors of every server")
    parser.add_argument("--flags", default="", help="further flags for every server, such as --log-compression lz4")
    parser.add_argument("--seed", type=int, default=1, help="decides which places")
    parser.add_argument("--json", help="write the rows to this file too")
    return parser.parse_args()


def start(chosen, folder):
    flags = ["--dir", folder, "--durability", "batch", "--log-segment-bytes", "64kb", "--cores", chosen.cores, *chosen.flags.split()]
    return Server(chosen.server, extra=flags)


def prepare(chosen, folder, report):
    """Two lives of a server, with a snapshot where it can make one. Returns how often each key was written."""
    witness = Witness(chosen.seed, Level("batch"), writers=2)
    for life in range(2):
        with start(chosen, folder) as server:
            wait_loaded(server.port, server)
            witness.judge(server.port, time.monotonic(), 2)
            for part in range(2):
                witness.begin(server.port)
                time.sleep(0.25)
                witness.end()
                if life == 0 and part == 0:
                    with server.client() as client:
                        saved = client.call("SAVE")
                        report.row("a snapshot to damage", saved, "told", None)
            time.sleep(QUIET_S)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
    if witness.complaints:
        raise SystemExit(f"the directory is wrong before it was damaged: {witness.complaints[:3]}")
    return witness


def contents(port):
    """Everything a server holds, but for what is about to expire."""
    with resp.Client(port) as client:
        keys = sorted(key for key in client.call("KEYS", "*") if not key.startswith(b"sentinel:"))
        return {key: client.call("GET", key) for key in keys}


def files_of(folder):
    for path, _, names in os.walk(folder):
        for name in sorted(names):
            yield os.path.relpath(os.path.join(path, name), folder)


def kind_of(name):
    """Files of one kind differ in their numbers only."""
    return re.sub(r"\d+", "#", name)


def regions(path):
    """Offsets of a file's regions, those with something in them first."""
    with open(path, "rb") as file:
        chunks = iter(lambda: file.read(REGION_BYTES), b"")
        filled = [any(chunk) for chunk in chunks]
    used = [index * REGION_BYTES for index, is_filled in enumerate(filled) if is_filled]
    empty = [index * REGION_BYTES for index, is_filled in enumerate(filled) if not is_filled]
    return used, empty


def newest_files(folder):
    """The last files of the last life's streams: of each the one that was written to, its neighbour in front of it, and one made ready
    for what would have come."""
    names = [name for name in files_of(folder) if name.endswith(".log")]
    last_life = max(os.path.basename(name).split("-")[0] for name in names)
    streams = collections.defaultdict(list)
    for name in sorted(names):
        if os.path.basename(name).startswith(last_life):
            streams[name.rpartition("-")[0]].append(name)
    return [name for stream in streams.values() for name in stream[-3:]]


def frame_edges(path):
    """Where frames begin, and where the last one ends: what is cut off there leaves no half of anything."""
    with open(path, "rb") as file:
        data = file.read()
    align = int.from_bytes(data[72:76], "little")
    begins = [at for at in range(4096, len(data), align) if data[at:at + 4] == b"CWFR"]
    stored = [64 + int.from_bytes(data[at + 8:at + 12], "little") for at in begins[-1:]]
    return begins + [-(-(at + size) // align) * align for at, size in zip(begins[-1:], stored)]


def newest_places(folder, chance):
    """What nothing that is left would tell of but the files' own lengths: the newest ones gone, or cut off between two frames."""
    places = []
    for name in newest_files(folder):
        edges = frame_edges(os.path.join(folder, name))
        places.append((name, 0, "remove"))
        places += [(name, at, "cut between frames") for at in dict.fromkeys(edges[:1] + edges[-2:] + chance.sample(edges, min(len(edges), 1)))]
    return places


def choose(folder, cases, chance):
    """Places of every kind of file: beginnings and ends surely, the rest by chance."""
    by_kind = collections.defaultdict(list)
    for name in files_of(folder):
        used, empty = regions(os.path.join(folder, name))
        if cases == 0:
            by_kind[kind_of(name)] += [(name, at, way) for at in used + empty for way in ("flip", "cut")]
            continue
        edges = used[:1] + used[-1:] + used[4096 // REGION_BYTES:][:1] + empty[:1]
        within = chance.sample(used, min(len(used), 6))
        by_kind[kind_of(name)] += [(name, at, chance.choice(("flip", "flip", "cut"))) for at in dict.fromkeys(edges + within)]
        by_kind[kind_of(name)].append((name, 0, "remove"))
    for places in by_kind.values():
        chance.shuffle(places)
    chosen = []
    while any(by_kind.values()) and (cases == 0 or len(chosen) < cases):
        for places in by_kind.values():
            if places:
                chosen.append(places.pop())
    return chosen if cases == 0 else chosen[:cases]


def damage(path, at, way, chance):
    if way == "remove":
        os.remove(path)
    elif way.startswith("cut"):
        os.truncate(path, at)
    else:
        with open(path, "r+b") as file:
            file.seek(at)
            region = bytearray(file.read(REGION_BYTES))
            region[chance.randrange(len(region))] ^= 1 << chance.randrange(8)
            file.seek(at)
            file.write(region)


def outcome(chosen, folder, name, way, expected, witness):
    """What a server makes of the directory, in a word, and what is wrong with that if anything is."""
    server = start(chosen, folder)
    served = False
    try:
        server.start()
        wait_loaded(server.port, server)
        served = True
        if contents(server.port) == expected:
            return "starts with everything", None
        return cut_off(server, witness)
    except (SystemExit, OSError, resp.Closed) as ended:
        try:
            code = server.process.wait(EXIT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return "hangs", f"{ended!r}: {server.log()[-600:]}"
        said = server.log()
        if code <= 0:
            return "dies", f"ended with {code}: {said[-600:]}"
        if served:
            return "serves, then refuses", said[-600:]
        # What is missing at the end of a log's file is found at the beginning of its next.
        stream = os.path.basename(name).rpartition("-")[0] or os.path.basename(name)
        if f"/{stream}" not in said or "is damaged at byte" not in said:
            return "refuses", f"does not name the file: {said[-600:]}"
        return repaired(chosen, folder, name, witness) if name.endswith(".log") and way != "remove" else ("refuses", None)
    finally:
        server.stop()
        server.folder.cleanup()


def repaired(chosen, folder, name, witness):
    """What becomes of a refused directory: looked through, decided about, and started on."""
    generations = sorted(each.split("-")[0] for each in os.listdir(os.path.join(folder, "log")) if each.endswith(".log"))
    is_last_life = os.path.basename(name).startswith(generations[-1])
    program = chosen.server.split()[0]
    for words, code in ((["check"], 3), (["repair", "--truncate"], 0)):
        done = subprocess.run([program, *words, folder], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != code:
            wrong = f"corewheel {' '.join(words)} ended with {done.returncode}, not {code}: {(done.stdout + done.stderr)[-600:]}"
            return "refuses, and cannot be repaired", wrong
    server = start(chosen, folder)
    try:
        server.start()
        wait_loaded(server.port, server)
        # Where an earlier life lost its end, what later ones wrote is played upon less than they had: no moment that was.
        wrong = never_was(server, witness) if is_last_life else None
        return "refuses, is repaired and starts", f"serves what never was: {wrong}" if wrong else None
    except (SystemExit, OSError, resp.Closed) as ended:
        return "refuses, also when repaired", repr(ended)[-600:]
    finally:
        server.stop()
        server.folder.cleanup()


def never_was(server, witness):
    """What a server holds that is no state a key ever had, or half of what was done at once."""
    cut = Witness(0, Level("every:1000000000"), writers=len(witness.own))
    for ours, theirs in zip(histories(cut), histories(witness)):
        ours.sent = theirs.sent
    cut.judge(server.port, 0.0, 1)
    return "; ".join(cut.complaints[:3])


def cut_off(server, witness):
    """Of a server that does not hold everything: whether it holds a moment that was, and said that it lost the rest."""
    wrong = never_was(server, witness)
    if wrong:
        return "serves what never was", wrong
    said = server.log()
    return ("cuts the end off and says so", None) if "a crash tore" in said else ("loses in silence", said[-600:])


def histories(witness):
    return [history for own in witness.own for history in own] + [each for group in witness.groups for each in (group.written, group.moved)]


def main():
    chosen = options()
    chance = random.Random(chosen.seed)
    report = Report("damage")
    counts = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="corewheel-damage-") as scratch:
        original = os.path.join(scratch, "original")
        os.mkdir(original)
        witness = prepare(chosen, original, report)
        # What is damaged is a copy of what a killed server left, before anybody looked at it.
        looked = os.path.join(scratch, "looked")
        shutil.copytree(original, looked)
        with start(chosen, looked) as server:
            wait_loaded(server.port, server)
            expected = contents(server.port)
        places = choose(original, chosen.cases, chance) + newest_places(original, chance)
        for name, at, way in places:
            copy = os.path.join(scratch, "copy")
            shutil.copytree(original, copy)
            damage(os.path.join(copy, name), at, way, chance)
            word, wrong = outcome(chosen, copy, name, way, expected, witness)
            counts[f"{kind_of(name)}, {way}: {word}"] += 1
            if wrong:
                report.row(f"{name}, {way} at {at}", word, "equal, cut and told, or refused by name", False, wrong)
            shutil.rmtree(copy)
    for what, count in sorted(counts.items()):
        report.row(what, count, "told", None)
    report.row("places damaged", len(places), "some", bool(places))
    return report.finish(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
