#!/usr/bin/env python3
"""The first words of clients that cannot be run here, replayed as recorded or as read in their sources.

    python3 ci/conformance/handshakes.py --server "target/release/corewheel server"

Each client's opening is sent as it sends it (one write where it pipelines), and each reply is held against what that client needs
to go on. The rows that a Redis of 7.0 answers otherwise are marked and skipped with `--reference`.
"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.server import Server

PASSWORD = "correct horse"


class Wanted:
    """What a reply must be for the client to go on."""

    def __init__(self, name, holds):
        self.name, self.holds = name, holds


def exactly(value):
    return Wanted(repr(value), lambda reply: reply == value and type(reply) is type(value))


def error(prefix):
    return Wanted(f"error {prefix}…", lambda reply: isinstance(reply, resp.Error) and reply.startswith(prefix))


def text(pattern):
    return Wanted(f"text like {pattern}", lambda reply: isinstance(reply, bytes) and re.search(pattern.encode(), reply, re.S) is not None)


def listing(*names):
    """CONFIG GET's pairs, as an array or a map."""
    def holds(reply):
        keys = list(reply) if isinstance(reply, dict) else reply[::2] if isinstance(reply, list) else []
        return [name.encode() for name in names] == list(keys)
    return Wanted(f"settings {names}", holds)


def hello(protocol):
    """The map that clients read on connect: these keys, in this order."""
    def holds(reply):
        pairs = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else {}
        return (list(pairs) == [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"] and pairs[b"server"] == b"redis"
                and re.fullmatch(rb"7\.\d+\.\d+", pairs[b"version"]) is not None and pairs[b"proto"] == protocol and isinstance(pairs[b"id"], int)
                and pairs[b"role"] == b"master" and isinstance(pairs[b"modules"], list)
                and (isinstance(reply, dict) if protocol == 3 else isinstance(reply, list)))
    return Wanted(f"HELLO's map, RESP{protocol}", holds)


OK, PONG = exactly(b"OK"), exactly(b"PONG")
INTEGER = Wanted("an integer", lambda reply: type(reply) is int)
ARRAY = Wanted("an array", lambda reply: isinstance(reply, list))
ANY = Wanted("any reply", lambda reply: True)
UNKNOWN = Wanted("OK, or an error (7.0)", lambda reply: reply == b"OK")

# Name; then (command, what the reply must be). Commands of one list are written at once.
REPLAYS = [
    ("redis-py 8.1", [("HELLO 3", hello(3)), ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-fqdn", UNKNOWN),
                      ("CLIENT SETINFO LIB-NAME redis-py", UNKNOWN), ("CLIENT SETINFO LIB-VER 8.1.0", UNKNOWN), ("SELECT 1", OK)]),
    ("node-redis 6.3", [("HELLO 3", hello(3)), ("CLIENT SETINFO LIB-VER 6.3.1", UNKNOWN), ("CLIENT SETINFO LIB-NAME node-redis", UNKNOWN),
                        ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-ip", UNKNOWN)]),
    ("ioredis 6.0", [("hello 3", hello(3)), ("client SETINFO LIB-NAME ioredis", UNKNOWN), ("info", text(r"# Server.*loading:0.*role:master"))]),
    ("ioredis 5", [("info", text(r"redis_version:7\.")), ("select 0", OK)]),
    ("valkey-glide 2.5", [("HELLO 3", hello(3)), ("CLIENT SETINFO LIB-NAME GlidePy", UNKNOWN), ("INFO REPLICATION", text(r"role:master")),
                          ("CLIENT SETNAME glide_management_connection", OK), ("PING", PONG)]),
    ("kombu", [("PING", PONG), ("HELLO 3", hello(3)), ("PING", PONG)]),
    ("redis-client (Sidekiq 7)", [("HELLO 3", hello(3)), ("SELECT 2", OK)]),
    ("go-redis v9", [("HELLO 3", hello(3)), ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip", UNKNOWN),
                     ("CLIENT SETINFO LIB-NAME go-redis(,go1.24)", UNKNOWN), ("CLIENT SETINFO LIB-VER 9.12.0", UNKNOWN)]),
    ("go-redis v9 without HELLO", [("HELLO 2", hello(2)), ("CLIENT SETNAME mine", OK)]),
    ("Lettuce", [("HELLO 3", hello(3)), ("CLIENT SETINFO lib-name Lettuce", UNKNOWN), ("CLIENT SETINFO lib-ver 6.5.0", UNKNOWN), ("PING", PONG)]),
    ("Lettuce, an unknown protocol", [("HELLO 4", error("NOPROTO")), ("PING", PONG)]),
    ("Jedis", [("CLIENT SETINFO LIB-NAME jedis", UNKNOWN), ("SELECT 0", OK), ("PING", PONG)]),
    ("StackExchange.Redis", [("CLIENT SETNAME WEB01(SE.Redis-v2.8.16)", OK), ("CLIENT SETINFO lib-name SE.Redis", UNKNOWN), ("CLIENT ID", INTEGER),
                             ("CONFIG GET timeout", listing("timeout")), ("CONFIG GET replica-read-only", listing("replica-read-only")),
                             ("CONFIG GET databases", listing("databases")), ("SENTINEL MASTERS", error("ERR")), ("INFO replication", text(r"role:master")),
                             ("INFO server", text(r"redis_version:.*redis_mode:")), ("CLUSTER NODES", ANY),
                             ("GET __Booksleeve_TieBreak", exactly(None)), ("ECHO 4f2a", exactly(b"4f2a"))]),
    ("redis-benchmark", [("CONFIG GET save", listing("save")), ("CONFIG GET appendonly", listing("appendonly"))]),
    ("redis_exporter", [("CLIENT SETNAME redis_exporter", OK), ("CONFIG GET *", ANY), ("INFO ALL", text(r"# Commandstats|# Keyspace")), ("LATENCY LATEST", ARRAY),
                        ("SLOWLOG LEN", INTEGER), ("SLOWLOG GET 1", ARRAY), ("LATENCY HISTOGRAM", ANY), ("CLIENT LIST", text(r"id=\d+ addr=.* name=redis_exporter"))]),
    ("Redis Insight", [("MODULE LIST", exactly([])), ("COMMAND INFO get", Wanted("one description", lambda reply: isinstance(reply, list) and len(reply) == 1 and reply[0][0] == b"get" and reply[0][1] == 2)),
                       ("INFO memory", text(r"used_memory:\d+")), ("CONFIG GET databases", listing("databases")), ("CLIENT LIST", text(r"id=\d+")), ("DBSIZE", INTEGER),
                       ("SCAN 0 MATCH * COUNT 100 TYPE string", ARRAY), ("MEMORY USAGE nothing", exactly(None))]),
    ("redis-cli", [("COMMAND DOCS", Wanted("documentation of at least 60 commands", lambda reply: len(reply) >= 60))]),
    ("Spring Session", [("CONFIG GET notify-keyspace-events", listing("notify-keyspace-events"))]),
    ("inline, as a person types", [(b"ping\r\n", PONG), (b"set  k \"a b\"\r\n", OK), (b"get k\n", exactly(b"a b"))]),
    ("unknown words", [("NOSUCH a b", exactly(resp.Error("ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' "))),
                       ("CLIENT NOPE", exactly(resp.Error("ERR unknown subcommand 'NOPE'. Try CLIENT HELP."))),
                       ("GET", exactly(resp.Error("ERR wrong number of arguments for 'get' command")))]),
    ("one connection, two protocols", [("HELLO 3", hello(3)), ("GET nothing", exactly(None)), ("HELLO 2", hello(2)), ("GET nothing", exactly(None)), ("HELLO", hello(2)),
                                       ("RESET", exactly(b"RESET")), ("QUIT", OK)]),
]

GUARDED = [
    ("redis-client with a password", [(f"HELLO 3 AUTH default|{PASSWORD}", hello(3)), ("PING", PONG)]),
    ("go-redis with a name", [(f"HELLO 3 AUTH default|{PASSWORD} SETNAME worker", hello(3)), ("CLIENT GETNAME", exactly(b"worker"))]),
    ("AUTH alone", [(f"AUTH |{PASSWORD}", OK), ("PING", PONG)]),
    ("AUTH default", [(f"AUTH default|{PASSWORD}", OK), ("PING", PONG)]),
    ("HELLO 3 before AUTH stays open", [("HELLO 3", error("NOAUTH")), (f"AUTH |{PASSWORD}", OK), ("HELLO 3", hello(3))]),
    ("a stranger", [("PING", exactly(resp.Error("NOAUTH Authentication required."))), ("AUTH wrong", error("WRONGPASS")), ("AUTH default wrong", error("WRONGPASS")),
                    ("HELLO 3 AUTH default wrong", error("WRONGPASS")), ("QUIT", OK)]),
]


def words(command):
    """`HELLO 3 AUTH default|correct horse`: what follows a bar is one word, up to the next option."""
    if isinstance(command, bytes):
        return command
    if "|" not in command:
        return resp.encode(command.split())
    before, _, rest = command.partition("|")
    after = rest[len(PASSWORD):].split()
    return resp.encode(before.split() + [PASSWORD] + after)


def replay(server, name, steps, reference):
    """Sends the whole opening in one write, as clients that pipeline do."""
    failures = []
    with resp.Client(server.port) as client:
        client.send(b"".join(words(command) for command, _ in steps))
        for command, wanted in steps:
            reply = client.value()
            if not wanted.holds(reply) and not (reference and wanted is UNKNOWN):
                failures.append(f"{command!r}: got {str(reply)[:200]!r}, wanted {wanted.name}")
    for failure in failures:
        print(f"FAIL  {name}: {failure}")
    return not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--cores", default="0")
    parser.add_argument("--io", default=None, choices=["uring", "epoll"])
    parser.add_argument("--reference", action="store_true", help="the server is a Redis of 7.0: skip what is newer")
    options = parser.parse_args()
    passed = 0
    for password, replays in ((None, REPLAYS), (PASSWORD, GUARDED)):
        with Server(options.server, cores=options.cores, io=options.io, password=password) as server:
            for name, steps in replays:
                try:
                    passed += replay(server, name, steps, options.reference)
                except (resp.Closed, OSError, ValueError) as cause:
                    print(f"FAIL  {name}: {type(cause).__name__}: {cause}")
    count = len(REPLAYS) + len(GUARDED)
    print(f"handshakes: {passed} of {count} openings hold")
    return 0 if passed == count else 1


if __name__ == "__main__":
    sys.exit(main())
