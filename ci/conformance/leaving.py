#!/usr/bin/env python3
"""Leaves a server of ours with the data: `redis-cli --rdb`, and Redis or Valkey as its replica until it is promoted.

    python3 ci/conformance/leaving.py --program target/release/corewheel [--reference redis-server] [--relative valkey-server]

Each case starts its own servers; a live one is written to while its replica comes. Every key, value and deadline is compared.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from conformance.moving import contents, fill, same, to
from durable.witness import wait_loaded
from judge import resp
from judge.server import Server, free_port

DBS = (0, 1, 9)
PASSWORD = "correct horse battery staple"
# Deadlines are over before anything is compared, or long after.
SOON_MS, FAR = 900, 4102444800000
LOAD_SECONDS = 1.5
FOLLOW_SECONDS_MAX = 15.0


class Place:
    """What the cases need to know."""

    def __init__(self, options):
        self.program, self.reference, self.relative = options.program, options.reference, options.relative
        self.ports = iter(range(free_port(200), 32000, 7))

    def ours(self, cores, **flags):
        return Server(f"{self.program} server", cores=cores, port=self.port(), **flags)

    def replica(self, master, program=None, extra=(), **flags):
        """A server that follows `master` from its start."""
        extra = ["--replicaof", f"127.0.0.1 {master.port}", *extra]
        extra += ["--masterauth", master.password] if master.password else []
        return Server(program or self.reference, extra=extra, port=self.port(), **flags)

    def port(self):
        """Not one that an earlier server of ours has had: its connections may linger there."""
        return next(self.ports)


class Load:
    """Clients that write whatever they like until they are told to stop."""

    def __init__(self, server, seed, swaps=False, clients=4):
        self.server, self.swaps, self.stopping = server, swaps, threading.Event()
        self.count, self.failures = 0, []
        self.threads = [threading.Thread(target=self._write, args=(seed * 100 + index,)) for index in range(clients)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def _write(self, seed):
        chance = random.Random(seed)
        try:
            with self.server.client() as client:
                while not self.stopping.is_set():
                    commands = [command(chance, self.swaps) for _ in range(32)]
                    client.pipeline_raw(commands)
                    self.count += len(commands)
        except (OSError, resp.Closed) as error:
            self.failures.append(repr(error))


def command(chance, swaps):
    """Anything that writes, in every form that a replica must be told of in its own way."""
    def key():
        return f"k:{chance.randrange(400)}"

    def value():
        return chance.choice([b"", b"%d" % chance.randrange(1 << 40), chance.randbytes(chance.randrange(80)), b"abc" * 50])

    dump = b"\x00\xc0\x07\x0b\x00\xf8\x8b\x66\x12\x1d\x1d\x11\x11"  # A wrong checksum: refused, and so not told.
    def of(kind):
        return f"{kind}:{chance.randrange(12)}"

    def members(count_max=6):
        return [value()[:60] for _ in range(chance.randrange(1, count_max))]

    def pairs(first):
        return [word for member in members() for word in (first(), member)]

    def side():
        return chance.choice(["LEFT", "RIGHT"])

    def score():
        return chance.choice(["1", "-2.5", "0.1", "1e17", "inf", str(chance.randrange(1000))])

    collections = [
        lambda: [chance.choice(["LPUSH", "RPUSH"]), of("list"), *members(40)],
        lambda: [chance.choice(["LPOP", "RPOP"]), of("list"), chance.randrange(4)],
        lambda: ["LMOVE", of("list"), of("list"), side(), side()],
        lambda: ["LMPOP", 2, of("list"), of("list"), side(), "COUNT", 2],
        lambda: ["LSET", of("list"), chance.randrange(-9, 9), value()],
        lambda: ["LINSERT", of("list"), "BEFORE", "", value()],
        lambda: ["LREM", of("list"), 1, ""],
        lambda: ["LTRIM", of("list"), 0, 400],
        lambda: ["SADD", of("set"), *members(60)],
        lambda: ["SREM", of("set"), *members()],
        lambda: ["SPOP", of("set"), chance.randrange(6)],
        lambda: ["SMOVE", of("set"), of("set"), ""],
        lambda: ["SUNIONSTORE", of("set"), of("set"), of("set")],
        lambda: ["HSET", of("hash"), *pairs(lambda: chance.randrange(600))],
        lambda: ["HDEL", of("hash"), *[chance.randrange(600) for _ in range(3)]],
        lambda: ["HINCRBY", of("hash"), "count", 7],
        lambda: ["HINCRBYFLOAT", of("hash"), "float", "0.1"],
        lambda: ["ZADD", of("zset"), *pairs(score)],
        lambda: ["ZADD", of("zset"), chance.choice(["NX", "XX", "GT", "LT"]), *pairs(score)],
        lambda: ["ZINCRBY", of("zset"), "0.5", value()],
        lambda: ["ZREM", of("zset"), *members()],
        lambda: ["ZPOPMIN", of("zset"), 2],
        lambda: ["ZMPOP", 2, of("zset"), of("zset"), "MAX"],
        lambda: ["ZREMRANGEBYSCORE", of("zset"), 100, 120],
        lambda: ["ZRANGESTORE", of("zset"), of("zset"), 0, 200],
        lambda: ["ZUNIONSTORE", of("zset"), 2, of("zset"), of("set")],
        lambda: ["RENAME", of("list"), of("list")],
        lambda: ["COPY", of("hash"), of("zset"), "DB", chance.choice(DBS), "REPLACE"],
        lambda: ["PEXPIRE", of(chance.choice(["list", "set", "hash", "zset"])), chance.randrange(1, SOON_MS)],
        lambda: ["DEL", of(chance.choice(["list", "set", "hash", "zset"]))],
    ]
    if chance.randrange(3) == 0:
        return chance.choice(collections)()
    commands = [
        lambda: ["SET", key(), value()],
        lambda: ["SET", key(), value(), "PX", chance.randrange(1, SOON_MS)],
        lambda: ["SET", key(), value(), "EX", 100000],
        lambda: ["SET", key(), value(), "KEEPTTL"],
        lambda: ["SET", key(), value(), "NX", "GET"],
        lambda: ["SET", key(), value(), "IFEQ", value()],
        lambda: ["SETEX", key(), 100000, value()],
        lambda: ["PSETEX", key(), chance.randrange(1, SOON_MS), value()],
        lambda: ["SETNX", key(), value()],
        lambda: ["GETSET", key(), value()],
        lambda: ["GETDEL", key()],
        lambda: ["GETEX", key(), chance.choice(["PX", "PXAT"]), chance.choice([1, 500, FAR])],
        lambda: ["GETEX", key(), "PERSIST"],
        lambda: ["DELIFEQ", key(), b"abc" * 50],
        lambda: ["DELEX", key(), "IFNE", b"abc" * 50],
        lambda: ["APPEND", key(), value()],
        lambda: ["APPEND", f"long:{chance.randrange(3)}", value()],
        lambda: ["SETRANGE", key(), chance.randrange(50), value()],
        lambda: ["SETBIT", f"bits:{chance.randrange(3)}", chance.randrange(1 << 16), chance.randrange(2)],
        lambda: ["BITFIELD", f"bits:{chance.randrange(3)}", "INCRBY", "u8", chance.randrange(1 << 12), chance.randrange(100), "SET", "i5", "#7", "3"],
        lambda: ["BITOP", chance.choice(["AND", "OR", "XOR"]), f"bits:{chance.randrange(3)}", "bits:0", key()],
        lambda: ["INCR", f"n:{chance.randrange(9)}"],
        lambda: ["DECRBY", f"n:{chance.randrange(9)}", chance.randrange(100)],
        lambda: ["INCRBYFLOAT", f"f:{chance.randrange(9)}", "0.1"],
        lambda: ["MSET", key(), value(), key(), value(), key(), value()],
        lambda: ["MSETNX", f"nx:{chance.randrange(10 ** 6)}", value(), f"nx:{chance.randrange(10 ** 6)}", value()],
        lambda: ["DEL", key(), key(), key()],
        lambda: ["UNLINK", key(), f"nx:{chance.randrange(10 ** 6)}"],
        lambda: ["RENAME", key(), key()],
        lambda: ["RENAMENX", key(), key()],
        lambda: ["COPY", key(), key(), "REPLACE"],
        lambda: ["COPY", key(), key(), "DB", chance.choice(DBS), "REPLACE"],
        lambda: ["MOVE", key(), chance.choice(DBS)],
        lambda: ["EXPIRE", key(), chance.choice([-1, 100000])],
        lambda: ["PEXPIRE", key(), chance.randrange(1, SOON_MS), chance.choice(["NX", "XX", "GT", "LT"])],
        lambda: ["EXPIREAT", key(), FAR // 1000],
        lambda: ["PEXPIREAT", key(), chance.choice([1, FAR])],
        lambda: ["PERSIST", key()],
        lambda: ["RESTORE", key(), 0, dump, "REPLACE"],
        lambda: ["SELECT", chance.choice(DBS)],
        lambda: ["GET", key()],
    ]
    if chance.randrange(4000) == 0:
        return chance.choice([["FLUSHDB"], ["FLUSHALL"]])
    if swaps and chance.randrange(1000) == 0:
        return ["SWAPDB", *chance.sample(DBS, 2)]
    return chance.choice(commands)()


def scored(words):
    """Scores as numbers: not every version writes as many digits."""
    return [(member, float(score)) for member, score in zip(words[::2], words[1::2])]


# By kind: how to ask for all of a key, and what the answer is when its order does not count.
WHOLE = {
    "list": (lambda key: ["LRANGE", key, 0, -1], list),
    "set": (lambda key: ["SMEMBERS", key], sorted),
    "zset": (lambda key: ["ZRANGE", key, 0, -1, "WITHSCORES"], scored),
    "hash": (lambda key: ["HGETALL", key], lambda words: dict(zip(words[::2], words[1::2]))),
}


def everything(client, dbs=DBS):
    """Every key of these databases with its deadline."""
    found = contents(client, dbs)
    for db in dbs:
        client.call("SELECT", db)
        for kind, (question, read) in WHOLE.items():
            cursor, keys = b"0", []
            while True:
                cursor, some = client.call("SCAN", cursor, "COUNT", 1000, "TYPE", kind)
                keys += some
                if cursor == b"0":
                    break
            for key in keys:
                found[db, key] = (kind, read(client.call(*question(key))), client.call("PEXPIRETIME", key))
    client.call("SELECT", 0)
    return found


def until(what, done, seconds_max=FOLLOW_SECONDS_MAX):
    end = time.monotonic() + seconds_max
    while not done():
        assert time.monotonic() < end, f"{what}: not within {seconds_max:.0f} s"
        time.sleep(0.05)


def link_is_up(replica):
    with replica.client() as client:
        return resp.info(client, "replication").get("master_link_status") == "up"


def same_as_replica(name, master, replica):
    """Once nothing is written any more: everything is the same on both, and both say so."""
    time.sleep(SOON_MS / 1000 + 0.2)
    with master.client(timeout=30) as ours, replica.client(timeout=30) as theirs:
        count = ours.call("WAIT", 1, 10000)
        assert count == 1, f"{name}: {count} replicas have everything\n{master.log()}\n{replica.log()}"
        at, told = resp.info(ours, "replication"), resp.info(theirs, "replication")
        assert at["connected_slaves"] == "1" and f"port={replica.port},state=online" in at["slave0"], at
        assert told["master_replid"] == at["master_replid"], (told, at)
        was = everything(ours)
        same(name, was, everything(theirs))
        for db in DBS:
            for client in (ours, theirs):
                client.call("SELECT", db)
            assert ours.call("DBSIZE") == theirs.call("DBSIZE"), f"{name}: keys of database {db} that are not shown"
        errors = resp.info(theirs, "errorstats")
        assert not [error for error in errors if not error.endswith("READONLY")], f"{name}: the replica was told nonsense: {errors}"
    return was


def promoted(name, replica, was):
    with replica.client(timeout=30) as client:
        assert client.call("REPLICAOF", "NO", "ONE") == b"OK"
        same(f"{name}, promoted", was, everything(client))
        assert client.call("SET", "written after", "that") == b"OK"


def follows(place, name, cores, program=None, io=None, loading="disabled", **flags):
    """A replica comes while anything is written, follows, breaks off and goes on, is promoted."""
    with place.ours(cores, io=io, **flags) as ours:
        with ours.client() as client:
            fill(client, 3000, 1)
            # Larger than an output buffer, so that writes happen while the keys are on their way.
            for index in range(30):
                client.call("SET", f"large:{index}", random.Random(index).randbytes(1_000_000))
        with Load(ours, 7) as load:
            time.sleep(0.3)
            with place.replica(ours, program, extra=["--repl-diskless-load", loading]) as replica:
                until(f"{name}: the replica follows", lambda: link_is_up(replica))
                load.swaps = True
                time.sleep(LOAD_SECONDS)
                with ours.client() as client:
                    assert client.call("CLIENT", "KILL", "TYPE", "replica") == 1
                    until(f"{name}: it goes on", lambda: resp.info(client, "stats")["sync_partial_ok"] != "0"
                          or resp.info(client, "stats")["sync_partial_err"] != "0")
                load.stop()
                until(f"{name}: the replica follows again", lambda: link_is_up(replica))
                was = same_as_replica(name, ours, replica)
                promoted(name, replica, was)
        print(f"  {name}: {load.count} commands, {len(was)} keys the same")


def case_file(place):
    """`redis-cli --rdb`, loaded by the reference and by ours."""
    with place.ours("0,1,0", password=PASSWORD) as ours:
        with ours.client() as client:
            fill(client, 3000, 2)
            was = contents(client)
        path = os.path.join(ours.folder.name, "away.rdb")
        done = subprocess.run(["redis-cli", "-p", str(ours.port), "--no-auth-warning", "-a", PASSWORD, "--rdb", path],
                              capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with ours.client() as client:
            assert resp.info(client, "replication")["connected_slaves"] == "0"
        assert PASSWORD not in ours.log()
        with Server(place.reference, extra=["--dbfilename", "away.rdb", "--dir", ours.folder.name], port=place.port()) as redis:
            wait_loaded(redis.port, redis)
            with redis.client() as client:
                same("a file that the reference loads", was, contents(client))
        with place.ours("0") as target:
            subprocess.run([place.program, "import", path, "--to", to(target)], capture_output=True, timeout=20, check=True)
            with target.client() as client:
                same("a file that ours imports", was, contents(client))


def case_follow(place):
    """The reference as a replica: of one core, of three, with a log, over epoll, behind a password."""
    follows(place, "one core", "0")
    with_log = os.path.join("/tmp", f"corewheel-leaving-{os.getpid()}")
    try:
        follows(place, "three cores with a log", "0,1,0", extra=["--dir", with_log, "--durability", "periodic:1000"])
    finally:
        subprocess.run(["rm", "-rf", with_log], check=False)
    follows(place, "three cores, epoll, password", "0,1,0", io="epoll", loading="swapdb", password=PASSWORD)


def case_relative(place):
    """Valkey as a replica, where it was built."""
    if not os.access(place.relative, os.X_OK):
        print(f"  no {place.relative} here: NOT CHECKED")
        return
    follows(place, "valkey", "0,1,0", program=place.relative)


def case_stopped(place):
    """A replica that is stopped, and one that is killed: memory is bounded, clients and the other replica notice nothing."""
    with place.ours("0,1,0", extra=["--set", "client-output-buffer-limit=replica 8mb 0 0"]) as ours:
        with place.replica(ours) as stopped, place.replica(ours) as other:
            until("both follow", lambda: link_is_up(stopped) and link_is_up(other))
            with ours.client() as client:
                # What the sockets and the pages of that many keys take does not count.
                value = b"v" * 100_000
                client.pipeline_raw([["SET", f"v:{index % 50}", value] for index in range(50)])
                client.call("WAIT", 2, 5000)
                before = ours.rss_bytes()
                os.kill(stopped.pid, signal.SIGSTOP)
                slowest = 0.0
                for _ in range(60):
                    began = time.monotonic()
                    client.pipeline_raw([["SET", f"v:{index % 50}", value] for index in range(20)])
                    slowest = max(slowest, time.monotonic() - began)
                until("it is let go", lambda: resp.info(client, "replication")["connected_slaves"] == "1")
                assert client.call("WAIT", 1, 5000) == 1, "the other replica follows"
                grown = ours.rss_bytes() - before
                assert grown < 100 << 20, f"{grown >> 20} MiB for a replica that is stopped"
                assert slowest < 2.0, f"a client waited for {slowest:.2f} s"
                os.kill(stopped.pid, signal.SIGCONT)
                until("it comes again", lambda: client.call("WAIT", 2, 100) == 2)
                other.kill()
                until("the killed one is gone", lambda: resp.info(client, "replication")["connected_slaves"] == "1")
            same_as_replica("after a stop", ours, stopped)


CASES = [case_file, case_follow, case_relative, case_stopped]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/corewheel")
    parser.add_argument("--reference", default="redis-server")
    parser.add_argument("--relative", default="target/peers/bin/valkey-server")
    parser.add_argument("cases", nargs="*", help="only these")
    options = parser.parse_args()
    place, failed = Place(options), []
    for case in CASES:
        name = case.__name__.removeprefix("case_")
        if options.cases and name not in options.cases:
            continue
        began = time.monotonic()
        try:
            case(place)
            print(f"pass  {name} in {time.monotonic() - began:.1f} s", flush=True)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed.append(name)
            print(f"FAIL  {name}: {error}", flush=True)
    print(f"leaving: {'FAILED in ' + ', '.join(failed) if failed else 'every case holds'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
