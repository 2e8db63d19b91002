#!/usr/bin/env python3
"""Moves data from redis-server into a server of ours and back, and compares every key.

    python3 ci/conformance/moving.py --program target/release/corewheel [--reference redis-server] [--cores 0,1]

Each case starts its own servers. The reference writes the files and reads what is exported, so that neither side is judged by itself.
"""

import argparse
import base64
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.witness import wait_loaded
from judge.server import Server, free_port

WHOLE, FAILED, USAGE, SKIPPED, STOPPED = range(5)
FAR = 4102444800000  # 2100-01-01, in milliseconds
PASSWORD = "correct horse battery staple"
COMMAND_SECONDS_MAX = 60


class Place:
    """What the cases need to know."""

    def __init__(self, options):
        self.program, self.reference, self.cores = options.program, options.reference, options.cores

    def ours(self, **flags):
        return Server(f"{self.program} server", cores=self.cores, **flags)

    def redis(self, *extra, **flags):
        return Server(self.reference, extra=extra, **flags)

    def run(self, *words, env=None, want=WHOLE):
        """Runs the program to its end and returns what it printed."""
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False,
                              env=dict(os.environ, **(env or {})))
        assert done.returncode == want, f"{words} ended with {done.returncode}, not {want}:\n{done.stdout}{done.stderr}"
        assert PASSWORD not in done.stdout + done.stderr, "a password was shown"
        return done.stdout + done.stderr


def fill(client, count, seed):
    """Strings of every shape in three databases; some of them expire."""
    chance = random.Random(seed)
    for db in (0, 1, 9):
        client.call("SELECT", db)
        commands = []
        for index in range(count):
            key = b"key:%d" % index if index % 7 else b"\x00\xff\r\n %d" % index
            value = chance.choice([b"", b"%d" % chance.randrange(-(1 << 33), 1 << 33), b"abc" * chance.randrange(300), chance.randbytes(chance.randrange(200))])
            commands.append(["SET", key, value] + (["PXAT", FAR + index] if index % 3 == 0 else []))
        for reply in client.pipeline_raw(commands):
            assert reply == b"+OK\r\n", reply
    client.call("SELECT", 0)
    client.call("SET", "long", chance.randbytes(3_000_000))


def contents(client, dbs=(0, 1, 9)):
    """Every string of these databases with its deadline."""
    found = {}
    for db in dbs:
        client.call("SELECT", db)
        cursor, keys = b"0", []
        while True:
            cursor, some = client.call("SCAN", cursor, "COUNT", 1000, "TYPE", "string")
            keys += some
            if cursor == b"0":
                break
        if not keys:
            continue
        client.send(b"".join(request(["GET", key]) + request(["PEXPIRETIME", key]) for key in keys))
        for key in keys:
            found[db, key] = (client.value(), client.value())
    client.call("SELECT", 0)
    return found


def collections(client):
    """What the collections of `other_kinds` hold."""
    pairs = client.call("HGETALL", "a hash")
    return {"a list": client.call("LRANGE", "a list", 0, -1), "a set": sorted(client.call("SMEMBERS", "a set")),
            "a sorted set": client.call("ZRANGE", "a sorted set", 0, -1, "WITHSCORES"), "a hash": dict(zip(pairs[::2], pairs[1::2]))}


def request(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def same(name, was, now):
    if was == now:
        return
    lost, new = was.keys() - now.keys(), now.keys() - was.keys()
    changed = [key for key in was.keys() & now.keys() if was[key] != now[key]]
    raise AssertionError(f"{name}: {len(was)} keys were, {len(now)} are; lost {sorted(lost)[:5]}, new {sorted(new)[:5]}, changed {changed[:5]}")


def other_kinds(client):
    client.call("RPUSH", "a list", *range(100))
    client.call("SADD", "a set", "x", "y")
    client.call("ZADD", "a sorted set", 1, "x")
    client.call("HSET", "a hash", "f", "v")
    client.call("XADD", "a stream", "*", "f", "v")
    client.call("FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('f', function() return 1 end)")


def to(server):
    return f"127.0.0.1:{server.port}"


def case_dump(place):
    """A dump with every kind of value, twice: keys that exist are kept, or replaced."""
    with place.redis() as redis, place.ours() as ours:
        with redis.client() as source, ours.client() as target:
            fill(source, 2000, 1)
            other_kinds(source)
            source.call("SAVE")
            dump = os.path.join(redis.folder.name, "dump.rdb")
            was = contents(source)
            target.call("SET", "long", "mine")
            text = place.run("import", dump, "--to", to(ours), want=SKIPPED)
            for kind in ("stream", "function library"):
                assert re.search(rf"^{kind} +1  \S", text, re.M), f"{kind} is not in the table:\n{text}"
            assert re.search(r"^0 +2006 +2004 +1 +0 +1 +0$", text, re.M), text
            assert f"verified: {len(was) + 4} keys" in text, text
            same("other kinds", collections(source), collections(target))
            now = contents(target)
            assert now.pop((0, b"long")) == (b"mine", -1)
            same("kept", {key: value for key, value in was.items() if key != (0, b"long")}, now)
            place.run("import", dump, "--to", to(ours), "--existing", "replace", "--quiet", want=SKIPPED)
            same("replaced", was, contents(target))
            assert not os.path.exists(dump + ".position"), "the position file outlives the import"


def case_durable(place):
    """What the import says is there survives the target's sudden death: it was acknowledged as any client's write is."""
    with place.redis() as redis, tempfile.TemporaryDirectory() as folder:
        extra = ["--dir", folder, "--durability", "batch"]
        with place.ours(extra=extra) as ours, redis.client() as source:
            fill(source, 1500, 8)
            source.call("SAVE")
            was = contents(source)
            place.run("import", os.path.join(redis.folder.name, "dump.rdb"), "--to", to(ours))
            ours.kill()
        # On another port: the kernel may hold a killed ring's listeners for a moment.
        with place.ours(extra=extra, port=free_port()) as ours:
            wait_loaded(ours.port, ours)
            with ours.client() as target:
                same("after a kill", was, contents(target))


def case_damage(place):
    """A file that was cut or changed is refused with its place, a wrong command line with what is wrong."""
    with place.redis() as redis, place.ours() as ours:
        with redis.client() as source:
            fill(source, 300, 2)
            source.call("SAVE")
        dump = os.path.join(redis.folder.name, "dump.rdb")
        with open(dump, "rb") as file:
            good = file.read()
        bad = os.path.join(redis.folder.name, "bad.rdb")
        for name, data, what in [
            ("cut", good[: len(good) // 2], "it was cut"),
            # A type that there is not, where the end should be said.
            ("end", good[:-9] + bytes([99]) + bytes(8), "damaged at byte"),
            ("checksum", good[:-1] + bytes([good[-1] ^ 1]), "checksum"),
            ("future", b"REDIS0099" + good[9:], "RDB version 99 of Redis is not read here"),
            ("text", b"hello\n", "no command begins there"),
        ]:
            with open(bad, "wb") as file:
                file.write(data)
            text = place.run("import", bad, "--to", to(ours), "--restart", want=FAILED)
            assert what in text, f"{name}: {text}"
        place.run("import", dump, "--to", "127.0.0.1:1", want=FAILED)
        place.run("import", dump + ".no", "--to", to(ours), want=FAILED)
        place.run("import", dump, "--to", f"redis://me:{PASSWORD}@127.0.0.1:{ours.port}", want=USAGE)


def case_password(place):
    """Both servers want a password; it comes from a file or the environment."""
    with place.redis(password=PASSWORD) as redis, place.ours(password=PASSWORD) as ours:
        with redis.client() as source, ours.client() as target:
            source.call("SET", "k", "v")
            source.call("SAVE")
            dump = os.path.join(redis.folder.name, "dump.rdb")
            assert "NOAUTH" in place.run("import", dump, "--to", to(ours), want=FAILED)
            assert "WRONGPASS" in place.run("import", dump, "--to", to(ours), env={"COREWHEEL_TO_PASSWORD": "no"}, want=FAILED)
            place.run("import", dump, "--to", to(ours), env={"COREWHEEL_TO_PASSWORD": PASSWORD})
            assert target.call("GET", "k") == b"v"
            file = os.path.join(redis.folder.name, "password")
            with open(file, "w", encoding="utf-8") as out:
                out.write(PASSWORD + "\n")
            place.run("import", dump, "--to", to(ours), "--to-password-file", file, "--existing", "replace")


def case_resume(place):
    """An import that is stopped goes on where it was, and not with another file."""
    with place.redis() as redis, place.ours() as ours:
        with redis.client() as source, ours.client() as target:
            fill(source, 5000, 3)
            source.call("SAVE")
            was = contents(source)
            dump = os.path.join(redis.folder.name, "dump.rdb")
            stops = 0
            while True:
                # The target stops reading for a moment, so that the signal comes in the middle whatever the machine's speed is.
                os.kill(ours.pid, signal.SIGSTOP)
                process = subprocess.Popen([place.program, "import", dump, "--to", to(ours), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                if stops < 3:
                    time.sleep(0.2)
                    process.send_signal(signal.SIGTERM)
                    time.sleep(0.1)
                os.kill(ours.pid, signal.SIGCONT)
                text = process.communicate(timeout=COMMAND_SECONDS_MAX)[0]
                assert (stops > 0) == bool(re.search(r"^going on at byte [1-9]", text, re.M)), text
                if stops == 3:
                    break
                assert process.returncode == STOPPED, f"{process.returncode}: {text}"
                assert os.path.exists(dump + ".position"), text
                stops += 1
            assert process.returncode == WHOLE, text
            same("resumed", was, contents(target))
            assert re.search(r"^1 +5000 +5000 +0 +0 +0 +0$", text, re.M), f"counts of all tries together:\n{text}"


def case_append_only(place):
    """Append-only files: with and without a preamble, in parts, with transactions, cut at the end."""
    for preamble in ("yes", "no"):
        with place.redis("--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes") as redis, place.ours() as ours:
            with redis.client() as source, ours.client() as target:
                fill(source, 500, 4)
                source.call("BGREWRITEAOF")
                while "aof_rewrite_in_progress:0" not in source.call("INFO", "persistence").decode():
                    time.sleep(0.02)
                change(source)
                was = contents(source)
                redis.stop()
                folder = os.path.join(redis.folder.name, "appendonlydir")
                text = place.run("import", folder, "--to", to(ours), want=SKIPPED)
                assert re.search(r"^command XADD +1  there is no such command here$", text, re.M), text
                same(f"append-only, preamble {preamble}", was, contents(target))

                # A key of the target's own: commands could change it.
                assert "--existing replace" in place.run("import", folder, "--to", to(ours), want=USAGE)
                tail = b"*1\r\n$5\r\nMULTI\r\n" + request(["SET", "greeting", "never"]) + b"*3\r\n$3\r\nSET\r\n$8\r\ngree"
                last = max((name for name in os.listdir(folder) if name.endswith(".incr.aof")), key=lambda name: os.stat(os.path.join(folder, name)).st_mtime)
                with open(os.path.join(folder, last), "ab") as file:
                    file.write(tail)
                target.call("FLUSHALL")
                text = place.run("import", os.path.join(folder, "appendonly.aof.manifest"), "--to", to(ours), "--restart", want=SKIPPED)
                assert "its server ended before EXEC" in text and "its server ended while it wrote it" in text, text
                same("cut at the end", was, contents(target))


class Writer(threading.Thread):
    """A client that goes on changing what the source holds until it is told to stop."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.client, self.chance, self.ending, self.count, self.error = server.client(), random.Random(seed), threading.Event(), 0, None

    def run(self):
        try:
            while not self.ending.is_set():
                self.client.call("SELECT", self.chance.choice((0, 1, 9)))
                for _ in range(50):
                    key = f"key:{self.chance.randrange(3000)}"
                    words = self.chance.choice([
                        ["SET", key, self.chance.randbytes(50)], ["SET", key, "x", "EX", 100000], ["DEL", key], ["APPEND", "log", "."],
                        ["INCR", f"counter:{self.chance.randrange(20)}"], ["XADD", "a stream", "*", "f", "x"], ["PERSIST", key]])
                    self.client.call(*words)
                    self.count += 1
                self.client.call("MULTI")
                self.client.call("INCR", "counter:0")
                self.client.call("INCR", "counter:1")
                self.client.call("EXEC")
        except OSError as error:
            self.error = error

    def end(self):
        self.ending.set()
        self.join()
        assert self.error is None and self.count > 0, self.error


def case_live(place):
    """A running source that goes on being written to: caught up, followed, left and returned to."""
    for diskless in ("yes", "no"):
        with place.redis("--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0", password=PASSWORD) as redis, place.ours() as ours:
            with redis.client() as source, ours.client() as target:
                fill(source, 1000, 5)
                other_kinds(source)
                position = os.path.join(redis.folder.name, "position")
                words = ["import", f"redis://127.0.0.1:{redis.port}", "--to", to(ours), "--position", position, "--quiet"]
                env = {"COREWHEEL_FROM_PASSWORD": PASSWORD}
                writer = Writer(redis, 6)
                writer.start()
                text = place.run(*words, env=env, want=SKIPPED)
                assert re.search(r"^verified: [0-9]+ keys", text, re.M), text
                assert re.search(r"^command XADD +[0-9]+  there is no such command here$", text, re.M), text
                # It went on meanwhile; now we go on too, without reading every key again, and stay.
                process = subprocess.Popen([place.program, *words, "--follow"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **env))
                time.sleep(0.5)
                writer.end()
                was, end = contents(source), time.monotonic() + 20
                while contents(target) != was and time.monotonic() < end:
                    time.sleep(0.1)
                same(f"live, diskless {diskless}", was, contents(target))
                process.send_signal(signal.SIGTERM)
                text = process.communicate(timeout=COMMAND_SECONDS_MAX)[0]
                assert process.returncode == SKIPPED and "caught up" in text, f"{process.returncode}: {text}"
                syncs = {name: int(re.search(rf"^{name}:(\d+)", source.call("INFO", "stats").decode(), re.M)[1]) for name in ("sync_full", "sync_partial_ok")}
                assert syncs == {"sync_full": 1, "sync_partial_ok": 1}, syncs
                # A target with keys of its own, and no word about them.
                assert "--existing replace" in place.run(*words, "--restart", env=env, want=USAGE)
                place.run(*words, "--restart", "--existing", "replace", env=env, want=SKIPPED)
                same("live, again", was, contents(target))


def case_export(place):
    """Out into a dump that the reference loads, JSON lines and CSV; in again; what is in the way is said."""
    with place.ours(password=PASSWORD) as ours, tempfile.TemporaryDirectory() as folder:
        env = {"COREWHEEL_FROM_PASSWORD": PASSWORD, "COREWHEEL_TO_PASSWORD": PASSWORD}
        with ours.client() as target:
            fill(target, 1500, 7)
            target.call("SET", "k" * 40_000, "a key longer than a group of requests")
            target.call("SET", "soon", "gone", "PX", 1)
            time.sleep(0.01)
            was = contents(target)
            files = {name: os.path.join(folder, "keys." + name) for name in ("rdb", "jsonl", "csv")}
            for name, file in files.items():
                text = place.run("export", name, file, "--from", to(ours), env=env)
                assert f"verified: {len(was)} keys" in text, text
            checked = subprocess.run(["redis-check-rdb", files["rdb"]], capture_output=True, text=True, check=False)
            assert checked.returncode == 0 and "RDB looks OK" in checked.stdout, checked.stdout
            redis = place.redis()
            shutil.copy(files["rdb"], os.path.join(redis.folder.name, "dump.rdb"))
            with redis, redis.client() as loaded:
                wait_loaded(redis.port, redis)
                same("loaded by the reference", was, contents(loaded))
                # The reference can be exported too; its stream stays there.
                other_kinds(loaded)
                kinds = collections(loaded)
                text = place.run("export", "rdb", os.path.join(folder, "theirs.rdb"), "--from", to(redis), want=SKIPPED)
                assert f"verified: {len(was) + 4} keys" in text, text
            same("JSON", was, dict(records(json.loads(line) for line in read_lines(files["jsonl"]))))
            with open(files["csv"], newline="", encoding="utf-8") as file:
                csv.field_size_limit(1 << 30)
                same("CSV", was, dict(records(csv.DictReader(file))))
            for dump in (files["rdb"], os.path.join(folder, "theirs.rdb")):
                target.call("FLUSHALL")
                place.run("import", dump, "--to", to(ours), env=env)
                same("there and back", was, contents(target))
            same("collections, there and back", kinds, collections(target))
            assert "--force" in place.run("export", "csv", files["csv"], "--from", to(ours), env=env, want=USAGE)
            place.run("export", "csv", files["csv"], "--from", to(ours), "--force", env=env)
            assert "cannot write" in place.run("export", "csv", os.path.join(folder, "no", "x.csv"), "--from", to(ours), env=env, want=FAILED)
            assert "NOAUTH" in place.run("export", "csv", os.path.join(folder, "x.csv"), "--from", to(ours), want=FAILED)
            assert sorted(os.listdir(folder)) == ["keys.csv", "keys.jsonl", "keys.rdb", "theirs.rdb"], os.listdir(folder)


def read_lines(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return file.read().rstrip("\n").split("\n")


def records(rows):
    """Exported rows as `contents` gives them."""
    for row in rows:
        decode = base64.b64decode if row["encoding"] == "base64" else str.encode
        deadline = row["expires_at_ms"]
        yield (int(row["db"]), decode(row["key"])), (decode(row["value"]), int(deadline) if deadline not in (None, "") else -1)


def change(client):
    """Commands that change what is there, in every way that a stream tells of them."""
    client.call("SELECT", 1)
    for index in range(300):
        client.call("INCR", "counter")
        client.call("APPEND", "log", f"{index},")
        client.call("SET", f"short:{index}", "x", "EX", 100000)
    client.call("XADD", "a new stream", "*", "f", "x")
    client.call("DEL", "key:1", "key:2", "key:3")
    client.call("PEXPIREAT", "key:4", FAR)
    client.call("MULTI")
    client.call("SET", "together", "1")
    client.call("SELECT", 9)
    client.call("INCRBY", "together", "2")
    client.call("EXEC")
    client.call("RENAME", "key:5", "key:renamed")
    client.call("SETRANGE", "key:8", 3, "abc")


CASES = [case_dump, case_durable, case_damage, case_password, case_resume, case_append_only, case_live, case_export]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/corewheel")
    parser.add_argument("--reference", default="redis-server")
    parser.add_argument("--cores")
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
            print(f"pass  {name} in {time.monotonic() - began:.1f} s")
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed.append(name)
            print(f"FAIL  {name}: {error}")
    print(f"moving: {'FAILED in ' + ', '.join(failed) if failed else 'every case holds'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
