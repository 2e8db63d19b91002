#!/usr/bin/env python3
"""What --log-compression costs and saves: bytes of log and server CPU for each SET, by kind of value.

    python3 ci/perf/log_compression.py --server "target/release/corewheel server" --rounds 5 --json compression.json

The server runs on core 0 at periodic:1000, one connection sends pipelines of 16 from core 1. The ways take turns within a round, and a
ratio is taken within it; told are the median, the least and the most. The data is made before the clock starts.
"""

import argparse
import json
import os
import random
import re
import socket
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.report import Report
from judge.server import Server

WAYS = ("none", "lz4", "zstd")
PIPELINE = 16
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima")


def noise(chance):
    """64 B that say nothing twice, in characters that are printed: six bits of eight."""
    return bytes(chance.choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", k=64))


def document(chance):
    """A session as a web server might keep it, filled up to 1 KiB."""
    session = {"user_id": chance.randrange(1 << 32), "token": chance.randbytes(16).hex(), "created_at": f"2026-11-21T{chance.randrange(24):02}:00:00Z",
               "locale": chance.choice(("en-GB", "de-DE", "fr-FR")), "is_admin": False, "cart": []}
    while len(text := json.dumps(session)) < 1024:
        session["cart"].append({"sku": f"SKU-{chance.randrange(100_000):05}", "title": " ".join(chance.choices(WORDS, k=4)),
                                "quantity": chance.randrange(1, 9), "price_cents": chance.randrange(100, 100_000)})
    return text[:1024].encode()


def batches(make, count, chance):
    """Pipelines of commands, with keys of 16 B."""
    commands = [resp.encode((b"SET", b"key:%012d" % chance.randrange(100_000), make(chance))) for _ in range(count)]
    return [b"".join(commands[at:at + PIPELINE]) for at in range(0, count, PIPELINE)]


def measure(options, way, load):
    """Bytes of frames, bytes of entries and microseconds of server CPU, for each command."""
    with tempfile.TemporaryDirectory(prefix="corewheel-perf-", dir=options.dir) as folder:
        extra = ["--dir", folder, "--durability", "periodic:1000", "--log-compression", way, "--snapshot-log-bytes", "0"]
        with Server(options.server, pin=0, extra=extra) as server:
            with server.client() as client:
                while isinstance(client.call("DBSIZE"), resp.Error):
                    pass
            with socket.create_connection(("127.0.0.1", server.port)) as wire:
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                reply = b"+OK\r\n"
                before = server.cpu_seconds()
                for batch in load:
                    wire.sendall(batch)
                    left = PIPELINE * len(reply)
                    while left:
                        got = wire.recv(left)
                        if not got or not reply.startswith(got[:1]) and got[:1] not in reply:
                            raise SystemExit(f"the server said {got!r}")
                        left -= len(got)
                cpu = server.cpu_seconds() - before
            with server.client() as client:
                client.call("SET", "last", "one")
                said = client.call("INFO", "persistence").decode()
            counts = [int(re.search(rf"{name}:(\d+)", said)[1]) for name in ("log_bytes", "log_payload_bytes")]
    commands = len(load) * PIPELINE
    return counts[0] / commands, counts[1] / commands, cpu / commands * 1e6


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program that is started")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=160_000, help="commands of a measurement, a multiple of 16; of documents a quarter")
    parser.add_argument("--dir", help="where the logs are written")
    parser.add_argument("--json", help="write the rows to this file too")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1 % os.cpu_count()})
    report = Report("log compression")
    chance = random.Random(1)
    for kind, make, share in (("64 B of noise", noise, 1), ("1 KiB of JSON", document, 4)):
        load = batches(make, options.count // share // PIPELINE * PIPELINE, chance)
        found = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                found[way].append(measure(options, way, load))
        for way in WAYS:
            log, _, cpu = zip(*found[way])
            ratios = [each[2] / plain[2] for each, plain in zip(found[way], found["none"])]
            sizes = [each[0] / plain[0] for each, plain in zip(found[way], found["none"])]
            report.row(f"{kind}, {way}: log bytes per SET", f"{spread(log, '.0f')}; {statistics.median(sizes):.2f} of none", "told", None)
            report.row(f"{kind}, {way}: server CPU per SET, us", f"{spread(cpu, '.2f')}; {spread(ratios, '.2f')} of none", "told", None)
    return report.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
