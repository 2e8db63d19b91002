#!/usr/bin/env python3
"""What durability costs, and how fast a server is back: the bars of docs/perf for the log, snapshots and recovery.

    python3 ci/perf/durable.py everysec always restart snapshot
    python3 ci/perf/durable.py restart --keys 1000000 --json restart.json

Servers take turns on core 0 with directories on one disk, the load is on core 1. CPU is user and system time of the server's process.
"""

import argparse
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.load import fill
from judge.report import Report, mib
from judge.server import Server

VALUES = 4096
LOADING_SECONDS_MAX = 300


class Bench:
    """The servers that are compared, by what they promise; directories go when it ends."""

    def __init__(self, options, report):
        self.options, self.report = options, report
        self.folder = tempfile.TemporaryDirectory(prefix="corewheel-durable-", dir=os.path.abspath(options.disk))
        # Hard to compress, so that no server has less to read than the others.
        chance = random.Random(1)
        self.values = [base64.b64encode(chance.randbytes(75)) for _ in range(VALUES)]

    def place(self, name):
        path = os.path.join(self.folder.name, name)
        os.makedirs(path, exist_ok=True)
        return path

    def ours(self, level, name=None):
        extra = ["--durability", level, "--dir", self.place(name or level.replace(":", "-"))] if level else []
        return Server(self.options.server, pin=0, extra=extra)

    def reference(self, fsync=None, name=None):
        extra = ["--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"] if fsync else []
        return Server(self.options.reference, pin=0, extra=[*extra, "--dir", self.place(name or f"reference-{fsync}")])

    def row(self, what, value, bar, passed, note=""):
        self.report.row(what, value, bar, passed, note)


def told(figures, digits=2):
    return " / ".join(f"{figure:.{digits}f}" for figure in figures)


def everysec(bench):
    """CPU of a SET where a second may be lost, pipeline 16, against none and against the reference's everysec."""
    operations = bench.options.operations
    with bench.ours(None) as none, bench.ours("periodic:1000") as periodic, bench.reference("everysec") as reference:
        wait_loaded(periodic, 0)
        costs = {server: [] for server in (none, periodic, reference)}
        for round_ in range(-1, bench.options.rounds):
            for server in costs:
                before = server.cpu_seconds()
                subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", "50", "-P", "16", "-n", str(operations), "-r", "100000", "-d", "64", "-t", "set", "-q"],
                               check=True, capture_output=True)
                if round_ >= 0:
                    costs[server].append((server.cpu_seconds() - before) * 1e6 / operations)
        with periodic.client() as client:
            persistence = resp.info(client, "persistence")
        each = int(persistence["log_bytes"]) / (operations * (bench.options.rounds + 1))
    own = [b / a for a, b in zip(costs[none], costs[periodic])]
    peer = [b / a for a, b in zip(costs[periodic], costs[reference])]
    bench.row("SET at periodic:1000 / at none, CPU, pipeline 16", f"{statistics.median(own):.2f}", "<= 1.35", statistics.median(own) <= 1.35, told(own))
    bench.row("SET at the reference's everysec / at ours, CPU, pipeline 16", f"{statistics.median(peer):.2f}", ">= 3", statistics.median(peer) >= 3,
              f"{told(peer)}; {told(costs[reference])} us and {told(costs[periodic])} us")
    bench.row("log bytes of a SET of 16 + 64 bytes at periodic:1000", f"{each:.0f} B", "<= 120 B", each <= 120)


def always(bench):
    """SETs a second where nothing may be lost, 256 connections without pipelines."""
    rates = {"ours": [], "reference": []}
    latencies = {"ours": [], "reference": []}
    with bench.ours("batch") as ours, bench.reference("always") as reference:
        wait_loaded(ours, 0)
        for _ in range(bench.options.rounds):
            for name, server in (("ours", ours), ("reference", reference)):
                found = load(bench, server.port, ["--closed", "--connections", "256", "--keys", "100000", "--value-size", "64", "--mix", "set:100"])
                rates[name].append(found["total"]["throughput_ops_s"])
                latencies[name].append(found["total"]["service"]["latency_us"]["p99"] / 1000)
    ratios = [a / b for a, b in zip(rates["ours"], rates["reference"])]
    bench.row("SET/s at batch / at the reference's always, 256 connections", f"{statistics.median(ratios):.2f}", ">= 1.5", statistics.median(ratios) >= 1.5,
              f"{told(ratios)}; {told(rates['ours'], 0)} against {told(rates['reference'], 0)}, p99 {told(latencies['ours'], 1)} against {told(latencies['reference'], 1)} ms")


def load(bench, port, flags):
    """One run of our own generator, which costs less than `redis-benchmark`: eight seconds, measured after one."""
    path = os.path.join(bench.folder.name, "load.json")
    program = bench.options.server.split()[0]
    subprocess.run([program, "bench", "--host", "127.0.0.1", "--port", str(port), "--threads", "1", "--cpus", "1", "--duration", "8s", "--warmup", "1s", *flags, "--json", path],
                   check=True, capture_output=True)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def restart(bench):
    """CPU from start to the first answer that is not LOADING, from a snapshot; the reference from its RDB file."""
    count = bench.options.keys
    servers = {"ours": lambda: bench.ours("none", "restart"), "reference": lambda: bench.reference(name="restart-reference")}
    for server in servers.values():
        with server() as running:
            wait_loaded(running, 0)
            fill(running.port, 0, count, value_of=lambda number: bench.values[number % VALUES])
            with running.client(timeout=LOADING_SECONDS_MAX) as client:
                client.call("SAVE")
    costs, walls = {name: [] for name in servers}, {name: [] for name in servers}
    for _ in range(bench.options.rounds):
        for name, server in servers.items():
            began = time.monotonic()
            with server() as running:
                wait_loaded(running, count)
                walls[name].append(time.monotonic() - began)
                costs[name].append(running.cpu_seconds())
                running.kill()
    ratios = [a / b for a, b in zip(costs["ours"], costs["reference"])]
    bench.row(f"restart with {count:,} keys of 100 B: CPU / the reference's", f"{statistics.median(ratios):.2f}", "<= 0.5", statistics.median(ratios) <= 0.5,
              f"{told(ratios)}; {told(costs['ours'])} s against {told(costs['reference'])} s, {told(walls['ours'])} s against {told(walls['reference'])} s of time")


def wait_loaded(server, count):
    end = time.monotonic() + LOADING_SECONDS_MAX
    while time.monotonic() < end:
        try:
            with server.client() as client:
                if client.call("DBSIZE") == count:
                    return
        except (OSError, resp.Closed):
            pass
        time.sleep(0.02)
    raise SystemExit(f"not loaded within {LOADING_SECONDS_MAX} s:\n{server.log()}")


def snapshot(bench):
    """p99.9 of GET at a steady rate while one snapshot after the other is made, and the memory that takes."""
    count = bench.options.keys
    flags = ["--rate", str(bench.options.rate), "--connections", "50", "--keys", str(count), "--key-prefix", "key:", "--value-size", "100", "--mix", "get:100"]
    with bench.ours("none", "snapshot") as server:
        wait_loaded(server, 0)
        fill(server.port, 0, count, value_of=lambda number: bench.values[number % VALUES])
        without, during, saves, peaks = [], [], 0, []
        for _ in range(bench.options.rounds):
            without.append(p99_9_us(load(bench, server.port, flags)))
            at_rest = server.rss_bytes()
            server.rss_peak_reset()
            with Saver(server) as saver:
                during.append(p99_9_us(load(bench, server.port, flags)))
            saves += saver.count
            peaks.append(server.rss_peak_bytes() / at_rest - 1)
    ratios = [b / a for a, b in zip(without, during)]
    bench.row(f"p99.9 of GET while a snapshot of {count:,} keys is made / without, {bench.options.rate}/s", f"{statistics.median(ratios):.2f}", "<= 2",
              statistics.median(ratios) <= 2, f"{told(during, 0)} us and {told(without, 0)} us, {saves} snapshots")
    bench.row("memory more while it is made", f"{max(peaks):.1%}", "<= 5 %", max(peaks) <= 0.05, mib(at_rest) + " at rest")


def p99_9_us(found):
    return found["total"]["response"]["latency_us"]["p99_9"]


class Saver:
    """`SAVE` again and again, as long as the block lasts."""

    def __init__(self, server):
        self.server, self.count, self.over = server, 0, False

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        with self.server.client(timeout=LOADING_SECONDS_MAX) as client:
            while not self.over:
                client.call("SAVE")
                self.count += 1

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


BARS = {function.__name__: function for function in (everysec, always, restart, snapshot)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", nargs="+", choices=[*BARS, "all"])
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--reference", default="redis-server")
    parser.add_argument("--disk", default="target", help="directory on the disk that is meant")
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--operations", type=int, default=600_000)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    if os.cpu_count() > 1:
        os.sched_setaffinity(0, set(range(1, os.cpu_count())))
    report = Report("durable bars")
    bench = Bench(options, report)
    with bench.folder:
        for name in BARS if "all" in options.bars else options.bars:
            BARS[name](bench)
    return report.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
