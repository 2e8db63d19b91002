#!/usr/bin/env python3
"""What commands on collections cost the server, beside the reference on the same machine: CPU of the process over operations done.

    python3 ci/perf/collection_costs.py                       every row of redis-benchmark's tests on collections, pipeline 16
    python3 ci/perf/collection_costs.py memory                a million small hashes, lists, sets and sorted sets

Servers take turns on core 0, the load is on core 1.
"""

import argparse
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge.report import Report
from judge.server import Server

# Name, words for redis-benchmark, what must be there first. `__rand_int__` is one of as many numbers as there are operations.
TESTS = [
    ("LPUSH", ["LPUSH", "mylist", "VXK"], []),
    ("RPOP", ["RPOP", "mylist"], ["lpush"]),
    ("SADD", ["SADD", "myset", "element:__rand_int__"], []),
    ("HSET", ["HSET", "myhash", "element:__rand_int__", "VXK"], []),
    ("ZADD", ["ZADD", "myzset", "__rand_int__", "element:__rand_int__"], []),
    ("SPOP", ["SPOP", "myset"], ["sadd"]),
    ("LRANGE_100", ["LRANGE", "shortlist", "0", "99"], ["short"]),
]
VALUE = "VXK"


def benchmark(port, operations, words):
    subprocess.run(["taskset", "-c", str(os.cpu_count() - 1), "redis-benchmark", "-p", str(port), "-c", "50", "-P", "16", "-n", str(operations),
                    "-r", str(operations), "-q", *words], check=True, capture_output=True)


def prepare(server, operations, first):
    with server.client(timeout=60) as client:
        client.call("FLUSHALL")
        if "short" in first:
            client.call("RPUSH", "shortlist", *["VXK"] * 450)
    if "lpush" in first:
        benchmark(server.port, operations, ["LPUSH", "mylist", VALUE])
    if "sadd" in first:
        benchmark(server.port, 3 * operations, ["SADD", "myset", "element:__rand_int__"])


def commands(options, report):
    with Server(options.reference, pin=0) as reference, Server(options.server, pin=0) as ours:
        for name, words, first in TESTS:
            operations = options.operations // 8 if name == "LRANGE_100" else options.operations
            costs = {reference: [], ours: []}
            for round_ in range(-1, options.rounds):
                for server in costs:
                    prepare(server, operations, first)
                    before = server.cpu_seconds()
                    benchmark(server.port, operations, words)
                    if round_ >= 0:
                        costs[server].append((server.cpu_seconds() - before) * 1e6 / operations)
            ratios = [theirs / mine for theirs, mine in zip(costs[reference], costs[ours])]
            median = statistics.median(ratios)
            report.row(f"{name}, pipeline 16: CPU of the reference / ours", f"{median:.2f}", ">= 2", median >= 2,
                       f"{min(ratios):.2f} to {max(ratios):.2f}; {statistics.median(costs[reference]):.2f} us and {statistics.median(costs[ours]):.2f} us")


SHAPES = {
    "hashes of 5 fields": lambda n: ["HSET", f"h:{n}", *[word for field in range(5) for word in (f"field{field}", f"value{n % 1000}")]],
    "lists of 10 elements": lambda n: ["RPUSH", f"l:{n}", *[f"element{each}" for each in range(10)]],
    "sets of 10 members": lambda n: ["SADD", f"s:{n}", *[f"member{each}" for each in range(10)]],
    "sorted sets of 10 members": lambda n: ["ZADD", f"z:{n}", *[word for each in range(10) for word in (str(each * 10), f"member{each}")]],
}


def memory(options, report):
    for what, make in SHAPES.items():
        used = []
        for command in (options.reference, options.server):
            with Server(command, pin=0) as server, server.client(timeout=60) as client:
                before = server.rss_bytes()
                for start in range(0, options.keys, 1000):
                    client.pipeline_raw([make(n) for n in range(start, start + 1000)])
                used.append((server.rss_bytes() - before) / options.keys)
        report.row(f"memory of {options.keys:,} {what}", f"{used[1]:.0f} B", f"<= {used[0]:.0f} B", used[1] <= used[0], "resident bytes a key; the bar is the reference's")


PARTS = {"commands": commands, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, default="commands")
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--reference", default="redis-server")
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    report = Report("collections")
    PARTS[options.part](options, report)
    return report.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
