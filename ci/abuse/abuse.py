#!/usr/bin/env python3
"""Hostile clients against a running server, with an innocent one beside them.

    python3 ci/abuse/abuse.py --server "target/release/corewheel server"
    python3 ci/abuse/abuse.py --server redis-server --only slow_reader

Each case starts its own server, does its worst, and asks three things: what did the innocent client feel, how much memory did it cost,
is it still the same process. `--strict` holds the latency bars as they are published; without it they leave room for a busy machine.
"""

import argparse
import os
import random
import resource
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.probe import Probe
from judge.report import Report, mib
from judge.server import Server

MIB = 1 << 20


class Bench:
    """What a case needs: the command to start servers with, the report, how strict to be."""

    def __init__(self, options, report):
        self.options, self.report = options, report
        self.room = 1.0 if options.strict else 3.0

    def server(self, **kinds):
        kinds.setdefault("cores", self.options.cores)
        kinds.setdefault("io", self.options.io)
        return Server(self.options.server, **kinds)

    def row(self, what, value, bar, passed, note=""):
        self.report.row(what, value, bar, passed, note)

    def unharmed(self, case, server, run_id):
        """The same process, answering."""
        if not server.alive():
            self.row(f"{case}: same process after", f"ended with {server.process.returncode}", "alive", False, server.log()[-500:])
            return
        with server.client() as client:
            now = resp.info(client, "server").get("run_id")
        self.row(f"{case}: same process after", now == run_id, "same run_id", now == run_id)

    def probe_rows(self, case, probe, worst_ms_max=50):
        limit = worst_ms_max * self.room
        passed = probe.failure is None and probe.worst_ms <= limit
        self.row(f"{case}: worst probe", f"{probe.worst_ms:.1f} ms of {len(probe.latencies_ms)}", f"<= {limit:.0f} ms", passed, probe.failure or "")


class Memory:
    """The most a server's resident memory rose above where it began."""

    def __init__(self, server):
        self.server = server
        self.start = server.rss_bytes()
        server.rss_peak_reset()

    def rise(self):
        return max(0, self.server.rss_peak_bytes() - self.start)


def run_id(server):
    with server.client() as client:
        client.call("SET", "probe", "x" * 32)
        return resp.info(client, "server")["run_id"]


def connect(server, receive_bytes=None):
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(5.0)
    client.connect(("127.0.0.1", server.port))
    return client


def send_some(client, data, seconds=0.5):
    """As much of `data` as the server takes within the time. Returns the count of bytes taken."""
    client.settimeout(0.05)
    end = time.monotonic() + seconds
    sent = 0
    while sent < len(data) and time.monotonic() < end:
        try:
            sent += client.send(data[sent : sent + 65536])
        except (socket.timeout, BlockingIOError):
            continue
        except OSError:
            break
    return sent


def slow_reader(bench):
    """One client pipelines 3,000 GETs of 1 MB and never reads."""
    with bench.server() as server:
        identity = run_id(server)
        with server.client() as client:
            client.call("SET", "big", b"x" * 1_000_000)
        with Probe(server.port) as before:
            time.sleep(3.0)
        memory = Memory(server)
        with Probe(server.port) as during:
            reader = connect(server, receive_bytes=4096)
            send_some(reader, resp.encode(["GET", "big"]) * 3000, seconds=1.0)
            time.sleep(4.0)
        rise = memory.rise()
        bench.row("slow_reader: memory", mib(rise), "<= 64 MiB", rise <= 64 * MIB)
        p999, base = during.quantile_ms(0.999), before.quantile_ms(0.999)
        limit = max(2 * base * bench.room, 0.0 if bench.options.strict else 10.0)
        bench.row("slow_reader: p99.9 of others", f"{p999:.2f} ms, before {base:.2f} ms", f"<= {limit:.2f} ms", during.failure is None and p999 <= limit)
        bench.probe_rows("slow_reader", during)
        reader.close()
        bench.unharmed("slow_reader", server, identity)


def slow_readers_of_small(bench):
    """Clients that ask for millions of small replies and read none."""
    with bench.server() as server:
        identity = run_id(server)
        memory = Memory(server)
        with Probe(server.port) as probe:
            readers = [connect(server, receive_bytes=4096) for _ in range(8)]
            for reader in readers:
                send_some(reader, b"*1\r\n$4\r\nPING\r\n" * 500_000, seconds=0.5)
            time.sleep(0.5)
        bench.row("slow_readers_of_small: memory", mib(memory.rise()), "<= 64 MiB", memory.rise() <= 64 * MIB)
        bench.probe_rows("slow_readers_of_small", probe)
        for reader in readers:
            reader.close()
        bench.unharmed("slow_readers_of_small", server, identity)


def crowd(bench):
    """50 declared 500 MB bulks, 50 headers of a million, 300 clients at 4 B/s, 400 malformed openings, 3,000 idle connections."""
    with bench.server() as server:
        identity = run_id(server)
        memory = Memory(server)
        held = []
        with Probe(server.port) as probe:
            for _ in range(50):
                client = connect(server)
                client.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$500000000\r\n" + b"y" * 1000)
                held.append(client)
            for _ in range(50):
                client = connect(server)
                client.sendall(b"*1000000\r\n$3\r\nDEL\r\n")
                held.append(client)
            held += trickle(server, clients=300, rounds=20)
            for opening in malformed(400):
                client = connect(server)
                try:
                    client.sendall(opening)
                except OSError:
                    pass
                held.append(client)
            held += [connect(server) for _ in range(3000)]
            time.sleep(1.0)
        rise = memory.rise()
        bench.row("crowd: memory", mib(rise), "<= 100 MiB", rise <= 100 * MIB)
        bench.probe_rows("crowd", probe)
        for client in held:
            client.close()
        bench.unharmed("crowd", server, identity)


def trickle(server, clients, rounds):
    """Each sends one byte of a command every quarter of a second."""
    crowd_ = [connect(server) for _ in range(clients)]
    text = resp.encode(["SET", "slow", "loris"])
    for number in range(rounds):
        for client in crowd_:
            try:
                client.sendall(text[number % len(text) :][:1])
            except OSError:
                pass
        time.sleep(0.25)
    return crowd_


def malformed(count):
    """First bytes that are no command: broken lengths, wrong types, noise. From a fixed seed."""
    noise = random.Random(7)
    fixed = [b"*-5\r\n", b"*abc\r\n", b"*1\r\n+PING\r\n", b"*1\r\n$-2\r\n", b"*1\r\n$abc\r\n", b"*99999999999999999999\r\n", b"*1\r\n$99999999999\r\n",
             b"\r\n\r\n\r\n", b"'unbalanced\r\n", b"\"\\x\r\n", b"*1\r\n$4\r\nPINGxx", b"*2\r\n$3\r\nGET\r\n:5\r\n", b"$5\r\nhello\r\n", b"+OK\r\n", b":1\r\n",
             b"~1\r\n", b"%1\r\n", b"*0\r\n", b"*-1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 2000, b"*1\r\n$0\r\n\r\n", b"*1\n$4\nPING\n"]
    for number in range(count):
        if number % 2 == 0:
            yield fixed[(number // 2) % len(fixed)]
        else:
            yield bytes(noise.randrange(256) for _ in range(noise.randrange(1, 400)))


def long_line(bench):
    """An inline command that never ends, and a length line that never ends."""
    with bench.server() as server:
        identity = run_id(server)
        memory = Memory(server)
        for name, data in (("inline", b"a" * MIB), ("length", b"*" + b"1" * MIB), ("bulk length", b"*1\r\n$" + b"1" * MIB)):
            client = connect(server)
            send_some(client, data, seconds=1.0)
            ended = closed(client, 3.0)
            bench.row(f"long_line: {name} of 1 MiB is refused", ended, "closed with an error", ended.startswith("closed"))
            client.close()
        bench.row("long_line: memory", mib(memory.rise()), "<= 16 MiB", memory.rise() <= 16 * MIB)
        bench.unharmed("long_line", server, identity)


def closed(client, seconds):
    """How the server ended the connection within the time, with what it said before."""
    said = b""
    client.settimeout(seconds)
    try:
        while True:
            data = client.recv(65536)
            if not data:
                return f"closed after {said[:60]!r}"
            said += data
    except socket.timeout:
        return f"still open after {said[:60]!r}"
    except ConnectionError as cause:
        return f"closed ({type(cause).__name__}) after {said[:60]!r}"


def many_clients(bench):
    """More clients than `maxclients`: the surplus is told and closed, the others do not notice."""
    with bench.server() as server:
        identity = run_id(server)
        with server.client() as client, Probe(server.port) as probe:
            reply = client.call("CONFIG", "SET", "maxclients", "60")
            bench.row("many_clients: CONFIG SET maxclients", reply, "OK", reply == b"OK")
            crowd_, refused = [], 0
            for _ in range(120):
                each = connect(server)
                crowd_.append(each)
            for each in crowd_:
                try:
                    each.sendall(b"PING\r\n")
                    each.settimeout(1.0)
                    refused += each.recv(200).startswith(b"-ERR max number of clients reached")
                except ConnectionError:
                    refused += 1
                except socket.timeout:
                    pass
            bench.row("many_clients: refused of 120 over 60", refused, "60 to 65", 60 <= refused <= 65)
            for each in crowd_:
                each.close()
            time.sleep(0.3)
            with server.client() as late:
                bench.row("many_clients: a place is free again", late.call("PING"), "PONG", late.call("PING") == b"PONG")
        bench.probe_rows("many_clients", probe)
        bench.unharmed("many_clients", server, identity)


def files_exhausted(bench):
    """More connections than file descriptors: nobody inside notices, nothing spins, places come back."""
    with bench.server(files_max=200) as server:
        identity = run_id(server)
        with Probe(server.port) as probe:
            crowd_ = []
            for _ in range(400):
                try:
                    crowd_.append(connect(server))
                except OSError:
                    break
            cpu = server.cpu_seconds()
            time.sleep(2.0)
            share = (server.cpu_seconds() - cpu) / 2.0
            bench.row("files_exhausted: CPU while no descriptor is left", f"{share:.0%} of a core", "<= 40 %", share <= 0.40)
            for each in crowd_:
                each.close()
        bench.probe_rows("files_exhausted", probe)
        time.sleep(0.5)
        bench.unharmed("files_exhausted", server, identity)


def stranger(bench):
    """Clients without the password: little may be said, and nothing grows."""
    with bench.server(password="correct horse") as server:
        identity = run_id(server)
        memory = Memory(server)
        with Probe(server.port, password="correct horse") as probe:
            for name, data in (("many arguments", b"*100\r\n"), ("a large bulk", b"*2\r\n$3\r\nGET\r\n$1000000\r\n")):
                client = connect(server)
                client.sendall(data)
                ended = closed(client, 2.0)
                bench.row(f"stranger: {name}", ended, "refused and closed", ended.startswith("closed"))
                client.close()
            with resp.Client(server.port) as client:
                reply = client.call("GET", "x")
                bench.row("stranger: GET", reply, "NOAUTH Authentication required.", reply == "NOAUTH Authentication required.")
                reply = client.call("AUTH", "wrong")
                bench.row("stranger: AUTH wrong", reply, "WRONGPASS …", isinstance(reply, resp.Error) and reply.startswith("WRONGPASS"))
                reply = client.call("HELLO", "3")
                bench.row("stranger: HELLO 3", reply, "NOAUTH …, connection stays", isinstance(reply, resp.Error) and reply.startswith("NOAUTH") and isinstance(client.call("PING"), resp.Error))
            floods = [connect(server, receive_bytes=4096) for _ in range(20)]
            for flood in floods:
                send_some(flood, b"GET x\r\n" * 300_000, seconds=0.3)
            time.sleep(0.5)
            for flood in floods:
                flood.close()
        rise = memory.rise()
        bench.row("stranger: memory under a flood nobody reads", mib(rise), "<= 32 MiB", rise <= 32 * MIB)
        bench.probe_rows("stranger", probe)
        bench.unharmed("stranger", server, identity)


def patterns(bench):
    """Globs made to backtrack."""
    with bench.server() as server:
        identity = run_id(server)
        with server.client() as client, Probe(server.port) as probe:
            client.call("SET", "a" * 500, "1")
            for name, pattern in (("a*a*…b", "a*" * 120 + "b"), ("nested classes", "[^b]*" * 60 + "b"), ("long", "*" * 20_000 + "b")):
                started = time.perf_counter()
                reply = client.call("KEYS", pattern)
                took_ms = (time.perf_counter() - started) * 1e3
                bench.row(f"patterns: KEYS {name}", f"{took_ms:.1f} ms", f"<= {50 * bench.room:.0f} ms, no key", took_ms <= 50 * bench.room and reply == [])
                client.call("SCAN", "0", "MATCH", pattern)
        bench.probe_rows("patterns", probe)
        bench.unharmed("patterns", server, identity)


def browsers(bench):
    """HTTP spoken to this port must not run what its body says."""
    with bench.server() as server:
        identity = run_id(server)
        for name, text in (("POST", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nSET stolen yes\r\n"), ("Host:", b"Host: localhost\r\nSET stolen yes\r\n")):
            client = connect(server)
            client.sendall(text)
            ended = closed(client, 2.0)
            bench.row(f"browsers: {name}", ended, "closed", ended.startswith("closed"))
            client.close()
        with server.client() as client:
            stolen = client.call("EXISTS", "stolen")
            bench.row("browsers: the body ran", stolen, "0", stolen == 0)
        bench.unharmed("browsers", server, identity)


def half_open(bench):
    """Clients that stop sending, vanish inside a command, or reset."""
    with bench.server() as server:
        identity = run_id(server)
        client = connect(server)
        client.sendall(b"PING\r\nPING\r\n")
        client.shutdown(socket.SHUT_WR)
        said = closed(client, 3.0)
        bench.row("half_open: what was asked before the end of sending is answered", said, "two replies, then closed", said == "closed after b'+PONG\\r\\n+PONG\\r\\n'")
        client.close()
        with Probe(server.port) as probe:
            for number in range(500):
                client = connect(server)
                client.sendall([b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$10\r\nab", b"GET big\r\n" * 50, b"*1"][number % 3])
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            time.sleep(0.5)
            with server.client() as client:
                left = int(resp.info(client, "clients")["connected_clients"])
        bench.row("half_open: connections left after 500 resets", left, "<= 3", left <= 3)
        bench.probe_rows("half_open", probe)
        bench.unharmed("half_open", server, identity)


def churn(bench):
    """Connect, PING, close, thousands of times: nothing is left behind."""
    with bench.server() as server:
        identity = run_id(server)

        def visits(count):
            for _ in range(count):
                client = connect(server)
                client.sendall(b"PING\r\n")
                client.recv(100)
                client.close()

        visits(500)
        memory = Memory(server)
        started = time.perf_counter()
        visits(4000)
        rate = 4000 / (time.perf_counter() - started)
        bench.row("churn: visits", f"{rate:.0f} /s", ">= 1000 /s", rate >= 1000)
        bench.row("churn: memory after 4,000 visits", mib(memory.rise()), "<= 8 MiB", memory.rise() <= 8 * MIB)
        bench.unharmed("churn", server, identity)


def asked_to_stop(bench):
    """SIGTERM and SIGINT with clients of every kind connected."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with bench.server() as server:
            run_id(server)
            idle = [connect(server) for _ in range(50)]
            reader = connect(server, receive_bytes=4096)
            with server.client() as client:
                client.call("SET", "big", b"x" * 1_000_000)
            send_some(reader, resp.encode(["GET", "big"]) * 100, seconds=0.2)
            started = time.monotonic()
            server.process.send_signal(number)
            code = server.process.wait(20.0)
            took = time.monotonic() - started
            bench.row(f"asked_to_stop: {number.name}", f"code {code} after {took:.2f} s", "code 0 within 5 s", code == 0 and took <= 5.0)
            for client in [*idle, reader]:
                client.close()


CASES = [slow_reader, slow_readers_of_small, crowd, long_line, many_clients, files_exhausted, stranger, patterns, browsers, half_open, churn, asked_to_stop]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="target/release/corewheel server", help="command that starts the server")
    parser.add_argument("--cores", default="0", help="cores of the server (ours only)")
    parser.add_argument("--io", default=None, choices=["uring", "epoll"])
    parser.add_argument("--only", nargs="*", choices=[case.__name__ for case in CASES])
    parser.add_argument("--strict", action="store_true", help="hold the published latency bars")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()

    # The attackers need more connections than most shells allow.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))

    report = Report("abuse")
    bench = Bench(options, report)
    for case in CASES:
        if options.only and case.__name__ not in options.only:
            continue
        try:
            case(bench)
        except (OSError, resp.Closed, KeyError) as cause:
            report.row(f"{case.__name__}: ran to its end", f"{type(cause).__name__}: {cause}", "yes", False)
    return report.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
