#!/usr/bin/env python3
"""The bars of docs/perf that are not CPU per operation (that is ci/peers/measure): one function each.

    python3 ci/perf/bars.py memory insert keys idle connections expiry hits
    python3 ci/perf/bars.py hits --reference redis-server --json hits.json

Each row is a figure, its bar, and whether it holds; the command is printed at the end. The server runs on core 0, everything
else on core 1, unless a bar says otherwise. `--keys` scales the ten million down for a quick look; then the bars are only hints.
"""

import argparse
import bisect
import itertools
import multiprocessing
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.load import fill
from judge.probe import Probe
from judge.report import Report, mib
from judge.server import Server

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class Bench:
    def __init__(self, options, report):
        self.options, self.report = options, report

    def server(self, **kinds):
        kinds.setdefault("pin", 0)
        kinds.setdefault("io", self.options.io)
        return Server(self.options.server, **kinds)

    def row(self, what, value, bar, passed, note=""):
        self.report.row(what, value, bar, passed, note)


def settle(server):
    """Waits until resident memory stops moving."""
    last = -1
    while server.rss_bytes() != last:
        last = server.rss_bytes()
        time.sleep(0.3)
    return last


def memory(bench):
    """Resident bytes per pair of 16 B + 16 B, one core; then with an expiry on each."""
    count = bench.options.keys
    far = int(time.time() * 1000) + 10_000_000
    for name, expire, bar in (("without expiry", None, 52), ("with expiry", lambda number: far + number // 10, 60)):
        with bench.server() as server:
            empty = settle(server)
            fill(server.port, 0, count, expire_at_ms=expire)
            each = (settle(server) - empty) / count
            with server.client() as client:
                size = client.call("DBSIZE")
            bench.row(f"memory: resident bytes per pair {name}, {size:,} pairs", f"{each:.1f} B", f"<= {bar} B", each <= bar and size == count)


def insert(bench):
    """The longest single command while inserting, by the server's own histogram; no rehash pause."""
    with bench.server() as server:
        with server.client() as client:
            client.call("CONFIG", "RESETSTAT")
            with Probe(server.port) as probe:
                fill(server.port, 0, bench.options.keys)
            longest, note = longest_us(client, "set")
        bench.row(f"insert: longest SET of {bench.options.keys:,}", f"<= {longest} us", "<= 1 ms, by the bucket that holds it", longest <= 1100, note)
        bench.row("insert: worst GET of another client meanwhile", f"{probe.worst_ms:.2f} ms", "-", None)


def longest_us(client, command):
    """The upper edge of the highest bucket in LATENCY HISTOGRAM."""
    reply = client.call("LATENCY", "HISTOGRAM", command)
    pairs = dict(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else reply
    described = pairs[command.encode()]
    described = dict(zip(described[::2], described[1::2])) if isinstance(described, list) else described
    buckets = described[b"histogram_usec"]
    buckets = dict(zip(buckets[::2], buckets[1::2])) if isinstance(buckets, list) else buckets
    tail = list(buckets.items())[-4:]
    return max(buckets), "highest buckets, cumulative: " + ", ".join(f"{edge} us: {count}" for edge, count in tail)


def keys(bench):
    """GET over ten million pairs against GET over a hundred thousand, pipeline 16, CPU per operation."""
    few, many = 100_000, bench.options.keys
    with bench.server() as small, bench.server() as large:
        fill(small.port, 0, few)
        fill(large.port, 0, many)
        costs = {few: [], many: []}
        for round_ in range(-1, bench.options.rounds):
            for server, count in ((small, few), (large, many)):
                operations = 1_500_000
                before = server.cpu_seconds()
                subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", "50", "-P", "16", "-n", str(operations), "-r", str(count), "-t", "get", "-q"],
                               check=True, capture_output=True)
                if round_ >= 0:
                    costs[count].append((server.cpu_seconds() - before) * 1e6 / operations)
        ratio = statistics.median(b / a for a, b in zip(costs[few], costs[many]))
        bench.row(f"keys: GET over {many:,} / over {few:,}", f"{ratio:.2f}", "<= 1.4", ratio <= 1.4,
                  f"{statistics.median(costs[few]):.3f} us and {statistics.median(costs[many]):.3f} us an operation")


def idle(bench):
    """CPU of a server that nobody talks to, with four cores configured."""
    cores = ",".join(str(number % os.cpu_count()) for number in range(4))
    try:
        server = bench.server(cores=cores, pin=None)
        server.start()
    except SystemExit as cause:
        cores = ",".join(str(number) for number in range(min(4, os.cpu_count())))
        print(f"one thread a processor only ({str(cause).splitlines()[0][:120]})")
        server = bench.server(cores=cores, pin=None)
        server.start()
    with server:
        time.sleep(2.0)
        before, started = server.cpu_seconds(), time.monotonic()
        time.sleep(10.0)
        share = (server.cpu_seconds() - before) / (time.monotonic() - started)
        bench.row(f"idle: CPU with cores {cores}", f"{share:.2%} of one core", "< 0.5 %", share < 0.005)


def connections(bench):
    """Server memory of an idle connection, silent ones and ones that once asked."""
    count = 10_000
    with bench.server(extra=["--maxclients", "20000"] if "redis" in bench.options.server else ["--set", "maxclients=20000"]) as server:
        with server.client() as client:
            client.call("PING")
        empty = settle(server)
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        with server.client() as client:
            client.call("PING")
        each = (settle(server) - empty) / count
        bench.row(f"connections: memory of each of {count:,} that say nothing", f"{each:.0f} B", "<= 1024 B", each <= 1024)
        for connection in crowd:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            connection.recv(64)
        each = (settle(server) - empty) / count
        bench.row(f"connections: memory of each of {count:,} that asked once", f"{each:.0f} B", "<= 1024 B", each <= 1024)
        for connection in crowd:
            connection.close()


def expiry(bench):
    """A million keys due over ten seconds, under half of the load the server can take: removed in time, none served late."""
    count, spread_ms = min(bench.options.keys, 1_000_000), 10_000
    with bench.server() as server:
        most = closed_loop_rate(server)
        began = int(time.time() * 1000) + 15_000
        # Pairs are stored in a mixed order, so that neighbours in the table are not due together.
        step = 7_919_117
        due = lambda number: began + (number * step % count) * spread_ms // count
        fill(server.port, 0, count, expire_at_ms=due)
        left_ms = began - time.time() * 1000
        if left_ms < 500:
            raise SystemExit(f"filling took too long: {left_ms:.0f} ms are left until the first key is due")
        inverse = pow(step, -1, count)
        with server.client() as client:
            before = int(resp.info(client, "stats")["expired_keys"])
        seconds = (left_ms + spread_ms) / 1000 + 1.5
        program = os.path.join(ROOT, "target", "release", "corewheel")
        load = subprocess.Popen([program, "bench", "--port", str(server.port), "--rate", str(int(most / 2)), "--duration", f"{int(seconds)}s", "--connections", "50",
                                 "--keys", "100000", "--key-prefix", "load:", "--mix", "get=1", "--spin", "0"] if os.access(program, os.X_OK) else
                                ["redis-benchmark", "-p", str(server.port), "-c", "2", "-n", "100000000", "-t", "ping_mbulk", "-q"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ours, theirs = multiprocessing.Pipe()
        reader = multiprocessing.Process(target=read_edge, args=(server.port, count, began, spread_ms, inverse, theirs), daemon=True)
        reader.start()
        samples = []
        cpu, started = server.cpu_seconds(), time.monotonic()
        os.nice(-10)
        with server.client() as client:
            request = resp.encode(["INFO", "stats"])
            end = (began + spread_ms + 1000) / 1000
            while time.time() < end:
                client.send(request)
                text = client.raw()
                samples.append((time.time() * 1000, int(text.split(b"expired_keys:", 1)[1].split(b"\r\n", 1)[0]) - before))
                time.sleep(0.0003)
        os.nice(10)
        busy = (server.cpu_seconds() - cpu) / (time.monotonic() - started)
        load.terminate()
        load.wait()
        served, asked = ours.recv()
        reader.join()
        within = {limit: 0 for limit in (1, 2, 5, 10, 100)}
        worst = 0.0
        times = [time_ms for time_ms, _ in samples]
        removed = [count_ for _, count_ in samples]
        for rank in range(0, count, 50):
            due_ms = began + rank * spread_ms // count
            at = bisect.bisect_left(removed, rank + 1)
            late = times[at] - due_ms if at < len(times) else float("inf")
            worst = max(worst, late)
            for limit in within:
                within[limit] += late <= limit
        share = within[2] / (count / 50)
        spacing = statistics.median(b - a for a, b in zip(times, times[1:]))
        bench.row(f"expiry: of {count:,} keys removed within 2 ms", f"{share:.2%}", ">= 99 %", share >= 0.99,
                  ", ".join(f"{limit} ms: {number / (count / 50):.2%}" for limit, number in within.items())
                  + f"; worst {worst:.1f} ms; counter read every {spacing:.2f} ms, which is charged; server {busy:.0%} busy")
        bench.row("expiry: keys served after their time", f"{served} of {asked:,} asked for then", "0", served == 0)
        bench.row("expiry: keys removed in the end", f"{removed[-1]:,}", f"{count:,}", removed[-1] >= count)


def closed_loop_rate(server):
    done = subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", "50", "-n", "100000", "-r", "100000", "-t", "get", "--csv"], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))


def read_edge(port, count, began, spread_ms, inverse, pipe):
    """Asks for keys around the moment they are due. A value that arrives though it was asked for after its time was served late."""
    served = asked = 0
    noise = random.Random(3)
    with resp.Client(port) as client:
        while time.time() * 1000 < began:
            time.sleep(0.001)
        while (now := time.time() * 1000) < began + spread_ms:
            ranks = [int((now - began + noise.uniform(-3, 6)) * count / spread_ms) for _ in range(16)]
            ranks = [rank for rank in ranks if 0 <= rank < count]
            client.send(b"".join(resp.encode([b"GET", b"key:%012d" % (rank * inverse % count)]) for rank in ranks))
            for rank in ranks:
                value = client.value()
                if now >= began + rank * spread_ms // count + 1:
                    asked += 1
                    served += value is not None
            time.sleep(0.002)
    pipe.send((served, asked))


def hits(bench):
    """Hit ratio of LFU under zipf 0.99 with room for a tenth: ours and the reference, each with a tenth of its own full size."""
    count, value, requests = 100_000, b"x" * 200, bench.options.requests
    ratios = {}
    for name, command in (("ours", bench.options.server), ("reference", bench.options.reference)):
        pin = 0
        with Server(command, pin=pin, io=bench.options.io if name == "ours" else None) as server:
            with server.client() as client:
                start = int(resp.info(client, "memory")["used_memory"])
                store(client, range(count), value)
                full = int(resp.info(client, "memory")["used_memory"])
        limit = start + (full - start) // 10
        with Server(command, pin=pin, maxmemory=limit, policy="allkeys-lfu", io=bench.options.io if name == "ours" else None) as server:
            with server.client() as client:
                ratio = ask(client, count, value, requests)
                held, evicted = client.call("DBSIZE"), int(resp.info(client, "stats")["evicted_keys"])
        ratios[name] = ratio
        bench.row(f"hits: {name}, LFU with {limit:,} B of {full:,} B", f"{ratio:.2%}", "-", None, f"{held:,} keys held, {evicted:,} evicted")
    ideal = ideal_ratio(count)
    bench.row("hits: ours / reference", f"{ratios['ours'] / ratios['reference']:.3f}", ">= 1", ratios["ours"] >= ratios["reference"],
              f"a cache that always held the best tenth would hit {ideal:.2%}")


def store(client, numbers, value):
    for start in range(0, len(numbers), 500):
        client.pipeline_raw([[b"SET", b"zipf:%08d" % number, value] for number in numbers[start : start + 500]])


def zipf_weights(count):
    return list(itertools.accumulate(1 / (rank + 1) ** 0.99 for rank in range(count)))


def ideal_ratio(count):
    weights = zipf_weights(count)
    return weights[count // 10 - 1] / weights[-1]


def ask(client, count, value, requests):
    """Reads through a cache: GET in batches, SET what was missing. The second half counts."""
    chance = random.Random(99)
    weights = zipf_weights(count)
    names = list(range(count))
    chance.shuffle(names)
    hit = asked = 0
    batch = 50
    for start in range(0, requests, batch):
        numbers = [names[rank] for rank in chance.choices(range(count), cum_weights=weights, k=batch)]
        replies = client.pipeline_raw([[b"GET", b"zipf:%08d" % number] for number in numbers])
        missing = [number for number, reply in zip(numbers, replies) if reply[:3] == b"$-1" or reply[:1] == b"_"]
        if missing:
            for reply in client.pipeline_raw([[b"SET", b"zipf:%08d" % number, value] for number in missing]):
                if reply != b"+OK\r\n":
                    raise SystemExit(f"SET was refused: {reply!r}")
        if start >= requests // 2:
            asked += batch
            hit += batch - len(missing)
    return hit / asked


BARS = {function.__name__: function for function in (memory, insert, keys, idle, connections, expiry, hits)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bars", nargs="+", choices=[*BARS, "all"])
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--reference", default="redis-server")
    parser.add_argument("--io", choices=["uring", "epoll"])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the hit ratio; half of them warm")
    parser.add_argument("--json")
    options = parser.parse_args()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 30_000), hard))
    if os.cpu_count() > 1:
        os.sched_setaffinity(0, set(range(1, os.cpu_count())))
    report = Report("bars")
    bench = Bench(options, report)
    for name in BARS if "all" in options.bars else options.bars:
        BARS[name](bench)
    return report.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
