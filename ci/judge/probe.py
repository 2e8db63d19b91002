"""An innocent client beside the hostile ones: asks at a steady pace, in a process of its own, and keeps every latency.

Its own process, because a thread would wait for the attackers' interpreter lock and call that the server's latency.
"""

import multiprocessing
import time

from . import resp

PACE_SECONDS = 0.002


class Probe:
    """`with Probe(port) as probe: …` then `probe.latencies_ms` holds what it saw, sorted."""

    def __init__(self, port, password=None, command=("GET", "probe")):
        self.port, self.password, self.command = port, password, command
        self.latencies_ms = []
        self.failure = None

    def __enter__(self):
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_ask, args=(self.port, self.password, self.command, theirs), daemon=True)
        self.process.start()
        assert self.ours.recv() == "ready"
        return self

    def __exit__(self, *_):
        self.ours.send("stop")
        if self.ours.poll(30.0):
            self.latencies_ms, self.failure = self.ours.recv()
        else:
            self.failure = "the probe still waits for a reply 30 s after the attack"
        self.process.terminate()
        self.process.join()
        self.latencies_ms.sort()

    def quantile_ms(self, share):
        if not self.latencies_ms:
            return float("inf")
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * share))]

    @property
    def worst_ms(self):
        return self.latencies_ms[-1] if self.latencies_ms else float("inf")


def _ask(port, password, command, pipe):
    latencies, failure = [], None
    try:
        client = resp.Client(port, timeout=25.0)
        if password is not None:
            client.call("AUTH", password)
        request = resp.encode(command)
        for _ in range(50):
            client.send(request)
            client.raw()
        pipe.send("ready")
        while not pipe.poll():
            started = time.perf_counter()
            client.send(request)
            client.raw()
            latencies.append((time.perf_counter() - started) * 1e3)
            time.sleep(PACE_SECONDS)
    except (OSError, resp.Closed) as cause:
        failure = f"{type(cause).__name__}: {cause}"
        if not latencies:
            pipe.send("ready")
    pipe.recv()
    pipe.send((latencies, failure))
