#!/usr/bin/env python3
"""The same commands, cut into packets in every unkind way: replies must not hang on where a read ended.

    python3 ci/conformance/framing.py --server "target/release/corewheel server"

Arrays and inline commands are mixed, values look like the protocol itself, and the cuts fall one byte at a time, at random, and around
the sizes that receive buffers have. What the server answers to commands sent one by one is what it must answer to any cutting.
"""

import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.server import Server


def commands(rng, count, mean_bytes):
    """Requests as bytes: arrays, and inline commands between them."""
    for number in range(count):
        key = b"k%d" % rng.randrange(20)
        body = rng.choice([b"x", b"*", b"$5\r\n", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x00", b"set a b\r\n"])
        value = body * max(1, rng.randrange(2 * mean_bytes) // len(body))
        kind = rng.randrange(8)
        if kind < 3:
            yield resp.encode([b"SET", key, value])
        elif kind < 5:
            yield resp.encode([b"GET", key])
        elif kind == 5:
            yield b"set  %s inline%d\r\n" % (key, number)
        elif kind == 6:
            yield b"get %s\n" % key
        else:
            yield rng.choice([b"\r\n", b"", b"PING\r\n", resp.encode([b"APPEND", key, b"+"]), resp.encode([b"STRLEN", key])])


def cuts(rng, kind, length):
    """Lengths of packets that add up to `length`."""
    while length > 0:
        size = {"one byte": 1, "random": rng.randrange(1, 3000), "16 KiB": rng.choice([16383, 16384, 16385]), "4 KiB": 4096 + rng.randrange(-2, 3),
                "whole": length, "tiny and huge": rng.choice([1, 2, 3, 40_000, 70_000])}[kind]
        size = min(size, length)
        yield size
        length -= size


def replies(client, count):
    return [client.raw() for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--cores", default="0")
    parser.add_argument("--io", default=None, choices=["uring", "epoll"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = count = 0
    with Server(options.server, cores=options.cores, io=options.io) as server:
        for mean_bytes, number in ((20, 400), (500, 600), (9000, 60)):
            rng = random.Random(options.seed + mean_bytes)
            requests = [request for request in commands(rng, number, mean_bytes)]
            with server.client() as client:
                client.call("FLUSHALL")
                wanted = []
                for request in requests:
                    if request.strip():
                        client.send(request)
                        wanted.append(client.raw())
            text = b"".join(requests)
            for kind in ("whole", "16 KiB", "4 KiB", "random", "tiny and huge", "one byte"):
                if kind == "one byte" and len(text) > 60_000:
                    continue
                count += 1
                with server.client() as client:
                    client.call("FLUSHALL")

                    def send(client=client, kind=kind):
                        at = 0
                        for size in cuts(rng, kind, len(text)):
                            client.send(text[at : at + size])
                            at += size
                            if kind in ("random", "tiny and huge"):
                                time.sleep(0.0002)

                    # From its own thread: a server may rightly stop reading until its replies are read.
                    sender = threading.Thread(target=send)
                    sender.start()
                    try:
                        got = replies(client, len(wanted))
                    except (resp.Closed, OSError) as cause:
                        got = [str(cause).encode()]
                    sender.join()
                    if got != wanted:
                        failed += 1
                        at = next((index for index, (one, other) in enumerate(zip(got, wanted)) if one != other), min(len(got), len(wanted)))
                        print(f"FAIL  {kind}, values of {mean_bytes} B, reply {at} of {len(wanted)}: got {got[at:at + 1]!r:.200}, wanted {wanted[at:at + 1]!r:.200}")
    print(f"framing: {count - failed} of {count} cuttings hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
