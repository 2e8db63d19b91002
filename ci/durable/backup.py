#!/usr/bin/env python3
"""Backups of a server that is being written to, and directories made from them, judged by what clients were told.

    python3 ci/durable/backup.py --server "target/release/corewheel server"
    python3 ci/durable/backup.py --server "target/release/corewheel server" --store s3

Each writer sends one command at a time over keys on every core, so whatever a restored server holds must be the state after a number
of its commands: no fewer than were acknowledged before the point, no more than were sent. Both stores are judged unless one is named;
the S3 server comes from PyPI (see stores.py), everything else is the standard library.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.stores import S3, Bucket, Folder, Relay, environment
from judge.report import Report
from judge.resp import Client, Closed, Error
from judge.server import Server

WRITERS = 4
SLOTS = 16
TOGETHER = 6
SECONDS_MAX = 90
TURN_MS_MAX = 100


def now_ms():
    return time.time_ns() // 1_000_000


class Writer:
    """Commands 1, 2, 3, … of one client. Odd ones count, even ones set; every eighth sets keys on all cores at once."""

    def __init__(self, name):
        self.name = name
        self.sent, self.acked = [], []
        self.trouble = None

    def command(self, number):
        if number % 8 == 0:
            return ("MSET", *[part for key in self.together() for part in (key, number)])
        return ("INCR", b"count:%d" % self.name) if number % 2 else ("SET", b"own:%d:%d" % (self.name, number % SLOTS), number)

    def together(self):
        return [b"together:%d:%d" % (self.name, index) for index in range(TOGETHER)]

    def keys(self):
        return [b"count:%d" % self.name, *[b"own:%d:%d" % (self.name, slot) for slot in range(SLOTS)], *self.together()]

    def state(self, number):
        """What the keys hold after so many commands."""
        held = {b"count:%d" % self.name: (number + 1) // 2}
        for each in range(max(1, number - SLOTS), number + 1):
            if each % 8 == 0:
                held |= {key: each for key in self.together()}
            elif each % 2 == 0:
                held[b"own:%d:%d" % (self.name, each % SLOTS)] = each
        return [held.get(key) or None for key in self.keys()]

    def found(self, client):
        return [None if value is None else int(value) for value in client.call("MGET", *self.keys())]

    def run(self, port, over):
        try:
            with Client(port) as client:
                while not over.is_set():
                    number = len(self.acked) + 1
                    self.sent.append(now_ms())
                    reply = client.call(*self.command(number))
                    if isinstance(reply, Error):
                        self.trouble = f"{self.command(number)} was answered {reply}"
                        return
                    self.acked.append(now_ms())
        except (OSError, Closed):
            pass

    def judge(self, client, low_ms, high_ms):
        """What is wrong with what a server holds, if it should be as it was between two moments."""
        low = sum(at <= low_ms for at in self.acked)
        high = sum(at <= high_ms for at in self.sent)
        found = self.found(client)
        if any(self.state(number) == found for number in range(low, high + 1)):
            return self.trouble
        return f"writer {self.name}: no state between command {low} and {high}: {found}"


class Load:
    """All writers, on and off."""

    def __init__(self, writers, port):
        self.over = threading.Event()
        self.threads = [threading.Thread(target=writer.run, args=(port, self.over), daemon=True) for writer in writers]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(20)


class Story:
    """One directory, its store, and everything that happens to them."""

    def __init__(self, command, folder, store, report):
        self.server_words = shlex.split(command)
        self.folder = pathlib.Path(folder)
        self.data, self.objects, self.store = self.folder / "data", store, store.address
        self.writers = [Writer(index) for index in range(WRITERS)]
        self.report = report
        self.restored = 0

    def words(self, *words):
        return [self.server_words[0], *map(str, words)]

    def corewheel(self, *words, code=0):
        done = subprocess.run(self.words(*words), capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
        if done.returncode != code:
            raise AssertionError(f"{words} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def serve(self, directory, cores, *more, segment="256kb"):
        flags = ["--dir", str(directory), "--log-segment-bytes", segment, "--log-compression", "lz4", "--cores", processors(cores), *more]
        server = Server(self.server_words, extra=flags)
        server.start()
        wait_loaded(server)
        return server

    def create(self, *words, directory=None):
        """Takes a backup and returns its name."""
        return self.corewheel("backup", "create", "--dir", directory or self.data, "--to", self.store, *words).split()[0]

    def around(self, moment):
        """A moment of load is sharp but for commands under way, which may count or not. One over several cores that does not takes
        with it what its cores did after they had begun it; and a turn of the server that is held up began before what it read came."""
        under_way = [sent for writer in self.writers for index, sent in enumerate(writer.sent)
                     if sent <= moment and (index >= len(writer.acked) or writer.acked[index] > moment)]
        return min(under_way, default=moment) - 1, moment + TURN_MS_MAX

    def catalog(self, backup):
        name = next(name for name in self.objects.names() if name.endswith(f"/{backup}/catalog.json"))
        text = self.objects.get(name).decode("ascii")
        return json.loads(text[:text.rindex("crc32c ")])

    def restore(self, *words):
        self.restored += 1
        target = self.folder / f"restored-{self.restored}"
        self.corewheel("restore", "--from", self.store, "--dir", target, *words)
        return target

    def judge(self, what, target, cores, low_ms, high_ms, **expected):
        """Serves a directory and compares it with what clients were told between two moments."""
        server = self.serve(target, cores)
        try:
            with server.client() as client:
                wrong = [text for text in (writer.judge(client, low_ms, high_ms) for writer in self.writers) if text]
                found = {key: client.call("GET", key) for key in expected}
            wrong += [f"{key} is {found[key]}, not {value}" for key, value in expected.items() if found[key] != value]
            self.report.row(what, f"{len(wrong)} complaints", "none", not wrong, "; ".join(wrong)[:600])
        finally:
            end(server)


def processors(count):
    """A processor may be named twice: more cores than the machine has."""
    return ",".join(str(core % os.cpu_count()) for core in range(count))


def end(server):
    server.stop()
    server.folder.cleanup()


def wait_loaded(server):
    until = time.monotonic() + SECONDS_MAX
    while True:
        try:
            with server.client() as client:
                if not isinstance(client.call("DBSIZE"), Error):
                    return
        except (OSError, Closed):
            pass
        if time.monotonic() > until or not server.alive():
            raise SystemExit(f"the server does not serve what it was given:\n{server.log()}")
        time.sleep(0.02)


def lsns(client):
    """The newest entry of each core."""
    return [int(lsn) for lsn in re.findall(rb"log_core\d+:lsn=(\d+)", client.call("INFO", "persistence"))]


def first_life(story):
    """A full backup, then an incremental one, both under load, and in between moments that are worth returning to."""
    server = story.serve(story.data, 2)
    marks = {}
    try:
        with Load(story.writers, server.port):
            time.sleep(1.0)
            marks["full"] = story.create()
            time.sleep(0.3)
        with server.client() as client:
            client.call("SET", "mark", "before")
            client.call("SET", "short", "lived", "PX", 50)
            time.sleep(0.1)
            marks["time"] = now_ms()
            time.sleep(0.1)
            client.call("SET", "mark", "after")
        with Load(story.writers, server.port):
            time.sleep(0.5)
            marks["incremental"] = story.create()
            time.sleep(0.2)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
    finally:
        end(server)
    return marks


def settle(story, client):
    """After a crash, a command that was not acknowledged may count or not; the histories go on from what is there."""
    for writer in story.writers:
        found, acked = writer.found(client), len(writer.acked)
        number = next((each for each in range(len(writer.sent), acked - 1, -1) if writer.state(each) == found), None)
        if number is None:
            raise SystemExit(f"writer {writer.name}: the server itself has lost what it acknowledged: {found}")
        writer.acked += [now_ms()] * (number - acked)
        del writer.sent[number:]


def second_life(story, marks):
    """Another number of cores, compressed and encrypted, another backup, and the entry that is the last one to count."""
    os.environ["COREWHEEL_ENCRYPTION_KEY"] = "1 " + "5a" * 32
    server = story.serve(story.data, 3)
    try:
        with server.client() as client:
            settle(story, client)
            before = lsns(client)
            client.call("SET", "entry", "wanted")
            after = lsns(client)
            core = next(core for core, (one, other) in enumerate(zip(before, after)) if one != other)
            marks["lsn"], marks["lsn_ms"] = f"2.{core}.{after[core]}", now_ms()
            client.call("SET", "entry", "too late")
            with Load(story.writers, server.port):
                time.sleep(0.3)
                marks["middle"] = now_ms()
                time.sleep(0.3)
            marks["newest"], marks["end"] = story.create(), now_ms()
            client.call("SET", "entry", "never backed up")
    finally:
        end(server)


def check_store(story, marks):
    """What is shared, what an interruption leaves, and that a flipped bit is found."""
    row = story.report.row
    full, incremental, newest = (story.catalog(marks[name]) for name in ("full", "incremental", "newest"))
    shared = [file for file in incremental["files"] if file["object"].startswith(full["id"])]
    row("an incremental backup shares what is there", f"{len(shared)} of {len(incremental['files'])} files", "some, not all",
        full["full"] and not incremental["full"] and 0 < len(shared) < len(incremental["files"]))
    said = story.corewheel("backup", "list", "--from", story.store)
    row("list shows full and incremental ones", said.count("incremental"), "2", said.count("incremental") == 2 and full["id"] in said)
    interrupted = check_interruption(story, full["node"])
    story.corewheel("backup", "verify", "--from", story.store)
    segment = max((file for file in newest["files"] if file["name"].endswith(".log")), key=lambda file: file["stored_bytes"])
    name = f"{newest['node']}/{segment['object']}"
    whole = story.objects.get(name)
    middle = len(whole) // 2
    story.objects.put(name, whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1:])
    refused = story.folder / "refused"
    for what, words in (("verify", ()), ("restore", ("--dir", refused, "--backup", newest["id"]))):
        said = story.corewheel(*(("backup", "verify") if what == "verify" else (what,)), "--from", story.store, *words, code=1)
        row(f"a flipped bit is found by {what}", "named" if segment["object"] in said else said[-300:], "named", segment["object"] in said)
    row("what was refused is no directory", (refused / "node").exists(), "False", not (refused / "node").exists())
    story.objects.put(name, whole)
    story.corewheel("restore", "--from", story.store, "--dir", refused, "--backup", newest["id"])
    row("once it is whole again, restore goes on there", (refused / "node").exists(), "True", (refused / "node").exists())
    return interrupted


def check_interruption(story, node):
    """A backup that is killed is none, and the next one removes what is left of it. Returns that one's name."""
    row = story.report.row
    # Only a directory has names for what is being written.
    names = ("x.log.zst", "y.log.zst.tmp") if isinstance(story.objects, Folder) else ("x.log.zst",)
    left = [f"{node}/20010101T000000000Z/log/{name}" for name in names]
    for name in left:
        story.objects.put(name, b"half")
    words = story.words("backup", "create", "--dir", story.data, "--to", story.store, "--full")
    for _ in range(20):
        stopped = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while not (story.data / "backup.tmp").exists() and stopped.poll() is None:
            time.sleep(0.0005)
        stopped.kill()
        finished = stopped.communicate(timeout=SECONDS_MAX)[0].split()
        if not finished:
            break
        # It was faster than we.
        for name in story.objects.names():
            if finished[0] in name:
                story.objects.delete(name)
    row("a backup is interrupted", stopped.returncode, -signal.SIGKILL, not finished and stopped.returncode == -signal.SIGKILL)
    said = story.corewheel("backup", "list", "--from", story.store)
    row("it is none", f"{len(said.splitlines()) - 1} listed", "3", len(said.splitlines()) == 4)
    extra = story.create("--full")
    names = story.objects.names()
    gone = not set(left) & set(names) and not (story.data / "backup.tmp").exists()
    backups = {name.split("/")[1] for name in names}
    row("the next removes what is left of it", "gone" if gone else "there", "gone", gone and len(backups) == 4)
    row("a full one shares nothing", extra, "", all(file["object"].startswith(extra) for file in story.catalog(extra)["files"]))
    return extra


class Saves:
    """Snapshots one after the other, so that the log is compacted all the time."""

    def __init__(self, port):
        self.port, self.over, self.count = port, threading.Event(), 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            with Client(self.port) as client:
                while not self.over.is_set():
                    self.count += not isinstance(client.call("SAVE"), Error)
        except (OSError, Closed):
            pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(20)


def check_under_snapshots(story):
    """Backups while snapshots replace each other and the log is compacted behind them: each is what was at its moment."""
    backups = []
    server = story.serve(story.data, 2)
    try:
        with server.client() as client:
            settle(story, client)
            before = sorted((story.data / "log").iterdir())
        with Load(story.writers, server.port), Saves(server.port) as saves:
            for _ in range(4):
                time.sleep(0.4)
                backups.append(story.create())
        gone = [path for path in before if not path.exists()]
        story.report.row("snapshots while backups were taken", f"{saves.count}, {len(gone)} of {len(before)} files compacted", "more than backups",
                         saves.count > len(backups) and bool(gone))
    finally:
        end(server)
    for backup in backups[::3]:
        at = story.around(story.catalog(backup)["clock_ms"])
        story.judge("restore of a backup among snapshots", story.restore("--backup", backup), 3, *at)


def check_restores(story, marks, extra):
    sent, acked = (sum(len(getattr(writer, name)) for writer in story.writers) for name in ("sent", "acked"))
    story.report.row("commands acknowledged", acked, "some", acked > 100 and sent == acked)
    for what, name, cores, expected in (("a backup under load, on one core", "full", 1, {"mark": None}),
                                        ("an incremental one, on three", "incremental", 3, {"mark": b"after", "short": None})):
        at = story.around(story.catalog(marks[name])["clock_ms"])
        story.judge(f"restore of {what}", story.restore("--backup", marks[name]), cores, *at, **expected)
    story.judge("restore to now", story.restore(), 2, marks["end"], marks["end"], entry=b"never backed up")
    target = story.restore("--to-time", marks["time"])
    story.judge("restore to a moment between two writes", target, 3, marks["time"], marks["time"], mark=b"before", entry=None, short=None)
    story.judge("restore to an entry", story.restore("--to-lsn", marks["lsn"]), 1, marks["lsn_ms"], marks["lsn_ms"], entry=b"wanted")
    story.judge("restore to the middle of the load", story.restore("--to-time", marks["middle"]), 2, *story.around(marks["middle"]),
                entry=b"too late")
    refused = story.corewheel("restore", "--from", story.store, "--dir", target, code=1)
    story.report.row("a directory that is not empty is left alone", refused.strip(), "refused", "is not empty" in refused)
    key = os.environ.pop("COREWHEEL_ENCRYPTION_KEY")
    refused = story.corewheel("restore", "--from", story.store, "--dir", story.folder / "locked", code=1)
    os.environ["COREWHEEL_ENCRYPTION_KEY"] = key
    story.report.row("an encrypted log without its key", refused.strip(), "refused", "is encrypted with key 1, and no key was given" in refused)
    late = ("--dir", story.folder / "late", "--to-time", now_ms() + 3_600_000)
    refused = story.corewheel("restore", "--from", story.store, *late, code=1)
    story.report.row("a moment that was not backed up", refused.strip(), "refused", "later than" in refused)
    check_histories(story, marks, target, extra)


def check_histories(story, marks, target, extra):
    """A directory that was restored is backed up into the same store, and both histories stay apart; then old backups go."""
    server = story.serve(target, 2)
    try:
        with server.client() as client:
            client.call("SET", "mark", "another history")
        other = story.create(directory=target)
    finally:
        end(server)
    at, until = marks["time"], marks["end"]
    story.judge("a restored directory's own backup", story.restore("--backup", other), 1, at, at, mark=b"another history")
    story.judge("leaves the other history alone", story.restore("--backup", extra), 3, until, until, mark=b"after",
                entry=b"never backed up")
    before = story.objects.size()
    said = story.corewheel("backup", "prune", "--from", story.store, "--keep", "1")
    after = story.objects.size()
    story.report.row("prune frees what nobody needs", f"{said.count('deleted')} backups, {before} to {after} bytes", "4 backups",
                     said.count("deleted") == 4 and after < before)
    story.corewheel("backup", "verify", "--from", story.store)
    story.judge("what stays is whole", story.restore(), 2, at, at, mark=b"another history")


def trouble_on_the_way(story, relay):
    """What only a store at the end of a wire can do: break off, refuse, not be there, be wanted by two at once."""
    row, original = story.report.row, dict(os.environ)
    before = story.corewheel("backup", "list", "--from", story.store)
    server = story.serve(story.folder / "more", 1)
    try:
        with server.client() as client:
            # A snapshot that is long enough to come in parts.
            for number in range(1_200):
                client.call("SET", f"long:{number}", os.urandom(20_000))
            client.call("SAVE")
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{relay.port}"
        relay.break_after(20_000_000)
        words = ("backup", "create", "--dir", story.folder / "more", "--to", story.store)
        said = story.corewheel(*words, code=1)
        row("a store that breaks off half-way", said.strip()[-200:], "told", relay.is_broken() and "cannot be reached" in said)
        relay.mend()
        said = story.corewheel("backup", "list", "--from", story.store)
        row("what came until then is no backup", len(said.splitlines()), len(before.splitlines()), said == before)
        said = story.corewheel(*words)
        row("the next waits for the lock that was left, and goes on", "waits" if "waiting to see" in said else said, "waits",
            "waiting to see" in said and "files were copied" in said)
        long = max(story.catalog(said.split()[0])["files"], key=lambda file: file["stored_bytes"])
        row("its longest object came in parts", long["stored_bytes"], "three of 8 MiB", long["stored_bytes"] > 2 * (8 << 20))
        story.corewheel("backup", "verify", "--from", story.store, "--backup", said.split()[0])
    finally:
        os.environ.clear()
        os.environ.update(original)
        end(server)
    told = []
    racers = [subprocess.Popen(story.words("backup", "create", "--dir", folder, "--to", story.store), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True) for folder in (story.data, story.folder / "more")]
    for racer in racers:
        out, err = racer.communicate(timeout=SECONDS_MAX)
        told.append((racer.returncode, out, err))
    clean = all(code == 0 or "another is at work" in err for code, _, err in told) and any(code == 0 for code, _, _ in told)
    row("of two at once one goes first", [code for code, _, _ in told], "both through, or one told so", clean, "" if clean else str(told))
    story.corewheel("backup", "verify", "--from", story.store)
    said = story.corewheel("backup", "list", "--from", "s3://no-such-bucket/x", code=1)
    row("a bucket that is not there", said.strip(), "told", "there is no bucket no-such-bucket" in said)
    said = story.corewheel("backup", "create", "--dir", story.data, "--to", "s3://no-such-bucket", code=1)
    row("and none to create in", said.strip(), "told", "there is no bucket no-such-bucket" in said)
    refuse(story)


def refuse(story):
    """A store that knows its users, and one that does not answer at all."""
    with S3(with_users=True) as strict:
        bucket = Bucket(strict, "kept", "x")
        kept = dict(os.environ)
        os.environ.update(environment(strict.port))
        said = story.corewheel("backup", "create", "--dir", story.data, "--to", bucket.address, code=1)
        os.environ.clear()
        os.environ.update(kept)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    story.report.row("wrong credentials", said.strip(), "refused, without the secret", "refuses the credentials" in said and secret not in said)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{strict.port}"
    said = story.corewheel("backup", "list", "--from", story.store, code=1)
    os.environ["AWS_ALLOW_HTTP"] = "false"
    plain = story.corewheel("backup", "list", "--from", story.store, code=1)
    os.environ.update(kept)
    story.report.row("nobody there", said.strip(), "told", "cannot be reached" in said)
    story.report.row("plain http", plain.strip(), "refused until it is allowed", "AWS_ALLOW_HTTP" in plain)


def judge_store(options, folder, report):
    story = Story(options.server, folder, Folder(pathlib.Path(folder) / "store"), report)
    run(story)


def judge_bucket(options, folder, report):
    with S3() as server:
        kept = dict(os.environ)
        os.environ.update(environment(server.port))
        try:
            story = Story(options.server, folder, Bucket(server, "backups", "of/one"), report)
            run(story)
            relay = Relay(server.port)
            trouble_on_the_way(story, relay)
            relay.close()
        finally:
            os.environ.clear()
            os.environ.update(kept)


def run(story):
    marks = first_life(story)
    second_life(story, marks)
    extra = check_store(story, marks)
    check_restores(story, marks, extra)
    check_under_snapshots(story)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program and its subcommand")
    parser.add_argument("--keep", action="store_true", help="leave the directories, to look at them")
    parser.add_argument("--store", choices=["directory", "s3"], action="append", help="only this one")
    options = parser.parse_args()
    report = Report("backup")
    for name, judge in (("directory", judge_store), ("s3", judge_bucket)):
        if options.store and name not in options.store:
            continue
        print(f"-- {name}")
        folder = tempfile.mkdtemp(prefix="corewheel-backup-")
        try:
            judge(options, folder, report)
        finally:
            os.environ.pop("COREWHEEL_ENCRYPTION_KEY", None)
            if options.keep:
                print(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
