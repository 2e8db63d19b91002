#!/usr/bin/env python3
"""A server that archives its log while it is written to, compacted, killed, and while its store is away; then directories made from the
archive, as of moments between two rounds, judged by what clients were told.

    python3 ci/durable/archive.py --server "target/release/corewheel server"
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.backup import SECONDS_MAX, Load, Saves, Story, end, now_ms, settle
from durable.stores import S3, Bucket, Folder, Relay, environment
from judge.report import Report

EVERY_S = 1


def serve(story):
    return story.serve(story.data, 2, "--archive", story.store, "--archive-every-s", str(EVERY_S), segment="64kb")


def archived(client):
    """What the server says of its archive."""
    return {name.decode(): value.decode() for name, value in re.findall(rb"archive_(\w+):([^\r]*)", client.call("INFO", "persistence"))}


def wait_until(client, what, holds):
    until = time.monotonic() + SECONDS_MAX
    while not holds(said := archived(client)):
        if time.monotonic() > until:
            raise SystemExit(f"{what}: {said}")
        time.sleep(0.1)
    return said


def lived(story, server, marks):
    """Load, snapshots that compact the log, and moments that are worth returning to, half a round apart."""
    with Load(story.writers, server.port), Saves(server.port) as saves:
        for _ in range(5):
            time.sleep(0.6)
            marks.append(now_ms())
        time.sleep(0.3)
    return saves.count


def out_of_reach(story, away, server, marks):
    """The store goes away under load: the server goes on, says so, and nothing is missing once it is back."""
    with server.client() as client:
        wait_until(client, "a first round", lambda said: int(said["rounds"]) > 0)
        away(True)
        lived(story, server, marks)
        said = wait_until(client, "the failure is noticed", lambda said: said["last_status"] == "err")
        answered = client.call("SET", "while", "away")
        story.report.row("while the store is away", f"{answered}, {said['kept_bytes']} bytes wait, {said['lag_ms']} ms behind", "goes on",
                         answered == b"OK" and int(said["kept_bytes"]) > 0 and int(said["lag_ms"]) > 1000 * EVERY_S and said["gaps"] == "0")
        away(False)
        written = now_ms()
        said = wait_until(client, "it catches up", lambda said: said["last_status"] == "ok" and int(said["until_ms"]) > written)
        left = [path for path in (story.data / "log").iterdir() if path.name.endswith(".kept")]
        story.report.row("once it is back", f"{len(left)} files wait", "none", not left and said["kept_bytes"] == "0")


def run(story, away):
    marks = []
    server = serve(story)
    try:
        count = lived(story, server, marks)
        story.report.row("snapshots meanwhile", count, "some", count > 3)
        out_of_reach(story, away, server, marks)
        with Load(story.writers, server.port):
            time.sleep(EVERY_S + 0.5)
            marks.append(now_ms() - 1000 * EVERY_S - 400)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
    finally:
        end(server)
    server = serve(story)
    try:
        with server.client() as client:
            settle(story, client)
        lived(story, server, marks)
        with server.client() as client:
            client.call("SET", "the last", "word")
        ended = now_ms()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(SECONDS_MAX)
    finally:
        end(server)
    story.corewheel("backup", "verify", "--from", story.store)
    size, log = story.objects.size(), sum(path.stat().st_size for path in (story.data / "log").iterdir())
    story.report.row("bytes in the archive, and in the log", f"{size}, {log}", "told", None)
    for index, mark in enumerate(marks):
        story.judge(f"back to moment {index + 1} of {len(marks)}", story.restore("--to-time", mark), 1 + index % 3, *story.around(mark))
    story.judge("an orderly end is archived to its last entry", story.restore(), 2, ended, ended, **{"the last": b"word", "while": b"away"})


def judge_folder(options, folder, report):
    store = pathlib.Path(folder) / "store"
    aside = store.with_name("aside")

    def away(is_away):
        if is_away:
            store.rename(aside)
            store.write_bytes(b"a file, where a directory was mounted")
        else:
            store.unlink()
            aside.rename(store)

    run(Story(options.server, folder, Folder(store), report), away)


def judge_bucket(options, folder, report):
    with S3() as server:
        relay = Relay(server.port)
        kept = dict(os.environ)
        os.environ.update(environment(relay.port))
        try:
            run(Story(options.server, folder, Bucket(server, "archive", "of/one"), report),
                lambda is_away: relay.break_after(1) if is_away else relay.mend())
        finally:
            relay.close()
            os.environ.clear()
            os.environ.update(kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program and its subcommand")
    parser.add_argument("--store", choices=["directory", "s3"], action="append", help="only this one")
    parser.add_argument("--keep", action="store_true", help="leave the directories, to look at them")
    options = parser.parse_args()
    report = Report("archive")
    for name, judge in (("directory", judge_folder), ("s3", judge_bucket)):
        if options.store and name not in options.store:
            continue
        print(f"-- {name}")
        folder = tempfile.mkdtemp(prefix="corewheel-archive-")
        try:
            judge(options, folder, report)
        finally:
            if options.keep:
                print(f"kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
