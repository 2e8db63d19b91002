#!/usr/bin/env python3
"""A server whose disk fills up while clients write, on a small file system of its own.

    python3 ci/durable/full.py --server "target/release/corewheel server"

Writes must be refused in so many words before anything is lost, reads must go on, writes must go on when there is room again, and
nothing that was acknowledged may be gone after SIGKILL. Needs root for mounting; where that is refused it says so and passes.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable.witness import wait_loaded
from judge import resp
from judge.report import Report
from judge.server import Server

IMAGE_BYTES = 96 << 20
BALLAST_BYTES = 24 << 20
VALUE_BYTES = 4000
PIPELINE = 50
ROOM_AGAIN_SECONDS_MAX = 15.0


class SmallDisk:
    """An ext4 in a file, mounted; `reason` says why there is none."""

    def __init__(self, scratch):
        self.image, self.place, self.reason = os.path.join(scratch, "image"), os.path.join(scratch, "disk"), None

    def __enter__(self):
        os.mkdir(self.place)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        for words in (["mkfs.ext4", "-q", "-m", "0", self.image], ["mount", "-o", "loop", self.image, self.place]):
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                reason = done.stderr.strip() if done.returncode else None
            except OSError as error:
                reason = str(error)
            if reason:
                self.reason = f"{' '.join(words[:2])}: {reason}"
                break
        return self

    def __exit__(self, *_):
        if self.reason is None:
            subprocess.run(["umount", self.place], check=True)


def value_of(number):
    return b"%d;" % number + b"v" * VALUE_BYTES


class Writer:
    """Sets one key after the other; `acked` of them for certain, up to `sent` perhaps."""

    def __init__(self):
        self.acked, self.sent = set(), 0

    def fill(self, client, count_max):
        """Until a write is refused; returns the refusal, or None if none came."""
        refusal = None
        for _ in range(0, count_max, PIPELINE):
            numbers = range(self.sent, self.sent + PIPELINE)
            self.sent += PIPELINE
            client.send(b"".join(resp.encode(("SET", b"key:%d" % number, value_of(number))) for number in numbers))
            for number in numbers:
                reply = client.value()
                if isinstance(reply, resp.Error):
                    refusal = refusal or reply
                else:
                    self.acked.add(number)
            if refusal:
                return refusal
        return None

    def missing(self, client):
        wrong = [number for number in sorted(self.acked) if client.call("GET", b"key:%d" % number) != value_of(number)]
        return f"{len(wrong)} of {len(self.acked)}", not wrong


def run(chosen, disk, report):
    ballast = os.path.join(disk.place, "ballast")
    with open(ballast, "wb") as file:
        file.write(b"b" * BALLAST_BYTES)
    folder = os.path.join(disk.place, "data")
    os.mkdir(folder)
    flags = ["--dir", folder, "--durability", "batch", "--log-segment-bytes", "4mb", "--cores", chosen.cores]
    writer, most = Writer(), 2 * IMAGE_BYTES // VALUE_BYTES
    with Server(chosen.server, extra=flags) as server:
        wait_loaded(server.port, server)
        with server.client(timeout=60) as client:
            refusal = writer.fill(client, most)
            report.row("a full disk refuses writes", refusal, "-MISCONF", refusal is not None and refusal.startswith("MISCONF"))
            report.row("writes before that", len(writer.acked), "some", len(writer.acked) > 1000)
            report.row("the server lives", server.alive(), "yes", server.alive())
            report.row("INFO says so", resp.info(client, "persistence").get("log_refuses_writes"), "1",
                       resp.info(client, "persistence").get("log_refuses_writes") == "1")
            value, passed = writer.missing(client)
            report.row("acknowledged writes not readable while full", value, "0", passed)
            os.remove(ballast)
            began = time.monotonic()
            while isinstance(client.call("SET", "again", "x"), resp.Error) and time.monotonic() - began < ROOM_AGAIN_SECONDS_MAX:
                time.sleep(0.05)
            took = time.monotonic() - began
            report.row("writes go on when there is room", f"{took:.2f} s", f"< {ROOM_AGAIN_SECONDS_MAX:.0f} s", took < ROOM_AGAIN_SECONDS_MAX)
            # A reserve that a snapshot or an administrator would free later.
            with open(ballast, "wb") as file:
                file.write(b"b" * (BALLAST_BYTES // 3))
            refusal = writer.fill(client, most)
            report.row("and are refused again", refusal, "-MISCONF", refusal is not None and refusal.startswith("MISCONF"))
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        os.remove(ballast)
        server.start()
        took = wait_loaded(server.port, server)
        with server.client(timeout=60) as client:
            value, passed = writer.missing(client)
            report.row("acknowledged writes gone after SIGKILL", value, "0", passed, f"loaded in {took:.2f} s")
            report.row("what was acknowledged last", client.call("GET", "again"), "x", client.call("GET", "again") == b"x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/corewheel server", help="the program that is started")
    parser.add_argument("--cores", default="0-1", help="processors of the server")
    parser.add_argument("--json", help="write the rows to this file too")
    chosen = parser.parse_args()
    report = Report("full disk")
    with tempfile.TemporaryDirectory(prefix="corewheel-full-") as scratch, SmallDisk(scratch) as disk:
        if disk.reason:
            print(f"full disk: SKIPPED, no small file system can be made here: {disk.reason}")
            return 0
        run(chosen, disk, report)
    return report.finish(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
