#!/usr/bin/env python3
"""A server whose machine loses its power again and again: SIGKILL, and every byte that was not synced is gone.

    python3 ci/durable/powerloss.py --server "target/release/corewheel server" --rounds 20

The directory lies on LazyFS, a FUSE file system that keeps what is written to itself until it is synced, and forgets it when told. It
does not forget names: whether directories are synced, the simulator shows. Needs root, /dev/fuse, and LazyFS built from its sources;
where one of them is missing it says so and passes.
"""

import argparse
import glob
import os
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable import lives
from judge.report import Report

SOURCE = "https://github.com/dsrhaslab/lazyfs"
COMMIT = "a47a5baea559020f29902662de77764b0cbd62ce"
LIBRARIES = ["fuse3", "spdlog", "fmt", "pthread"]
PACKAGES = "g++ libfuse3-dev fuse3 libtoml11-dev libspdlog-dev"
MOUNT_SECONDS_MAX = 30.0
MOUNT_TRIES = 5
FORGET_SECONDS_MAX = 30.0

CONFIG = """
[faults]
fifo_path="{fifo}"
fifo_path_completed="{fifo}.completed"
[cache]
apply_eviction=false
[cache.simple]
custom_size="256MB"
blocks_per_page=1
[filesystem]
log_all_operations=false
logfile="{fifo}.log"
"""


class Impossible(Exception):
    """Why there is no such file system here."""


def run(words, **kinds):
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, **kinds)
    except OSError as error:
        raise Impossible(f"{words[0]}: {error}") from None
    if done.returncode:
        raise Impossible(f"{' '.join(words[:3])}: {done.stderr.strip()[-300:]}")


def build(source, place):
    """The program, built as its own scripts do but against the distribution's libraries. Kept for the next time."""
    program = os.path.join(place, "lazyfs")
    if os.path.exists(program):
        return program
    os.makedirs(place, exist_ok=True)
    sources = os.path.join(place, "sources")
    if not os.path.isdir(sources):
        run(["git", "clone", "--quiet", "--no-checkout", source, sources], timeout=120)
    run(["git", "-C", sources, "checkout", "--quiet", COMMIT, "--", "lazyfs", "libs"])
    files = [file for folder in ("lazyfs", "libs") for file in glob.glob(f"{sources}/{folder}/**/*.cpp", recursive=True) if "/unit/" not in file]
    includes = [f"-I{sources}/lazyfs/include", f"-I{sources}/libs/libpcache/include", "-I/usr/include/fuse3"]
    flags = ["-std=c++17", "-O1", "-D_FILE_OFFSET_BITS=64", "-DSPDLOG_FMT_EXTERNAL"]
    try:
        run(["g++", *flags, *includes, *files, "-o", program, *[f"-l{library}" for library in LIBRARIES]])
    except Impossible as reason:
        raise Impossible(f"{reason}\nIt needs the packages {PACKAGES}.") from None
    return program


class LazyDisk:
    """A mounted LazyFS; `forget` drops all that was not synced."""

    def __init__(self, program, scratch):
        self.program, self.place, self.root = program, os.path.join(scratch, "disk"), os.path.join(scratch, "root")
        self.fifo, self.config = os.path.join(scratch, "faults"), os.path.join(scratch, "config.toml")
        self.process, self.told = None, None

    def __enter__(self):
        for folder in (self.place, self.root):
            os.mkdir(folder)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(fifo=self.fifo))
        # Now and then it overlooks where its configuration is, and ends at once.
        for _ in range(MOUNT_TRIES):
            reason = self._mount()
            if reason is None:
                # Held open, both ways: who writes to it may not find it without a reader.
                self.told = os.open(self.fifo + ".completed", os.O_RDWR)
                return self
        raise Impossible(f"LazyFS does not mount: {reason}")

    def _mount(self):
        """Why it is not mounted, if it is not."""
        with open(self.fifo + ".out", "wb") as out:
            words = [self.program, self.place, "--config-path", self.config, "-o", "allow_other", "-o", "modules=subdir",
                     "-o", f"subdir={self.root}", "-f"]
            self.process = subprocess.Popen(words, stdout=out, stderr=out)
        end = time.monotonic() + MOUNT_SECONDS_MAX
        while not os.path.ismount(self.place) or not os.path.exists(self.fifo + ".completed"):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                with open(self.fifo + ".out", encoding="utf-8", errors="replace") as file:
                    return file.read()[-300:]
            time.sleep(0.05)
        return None

    def __exit__(self, *_):
        os.close(self.told)
        subprocess.run(["umount", self.place], check=True)
        self.process.wait(20)

    def forget(self):
        with open(self.fifo, "w", encoding="ascii") as file:
            file.write("lazyfs::clear-cache\n")
        ready, _, _ = select.select([self.told], [], [], FORGET_SECONDS_MAX)
        said = os.read(self.told, 4096) if ready else b"nothing"
        if b"clear-cache" not in said:
            raise SystemExit(f"LazyFS did not forget, it said {said!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    lives.add_options(parser)
    parser.add_argument("--source", default=SOURCE, help="where LazyFS is cloned from")
    parser.add_argument("--place", default="target/lazyfs", help="where it is built")
    chosen = parser.parse_args()
    report = Report("power loss")
    try:
        program = os.path.abspath(build(chosen.source, chosen.place))
        for level in chosen.level or ["batch", "periodic:200"]:
            with tempfile.TemporaryDirectory(prefix="corewheel-power-") as scratch, LazyDisk(program, scratch) as disk:
                folder = os.path.join(disk.place, "data")
                os.mkdir(folder)
                lives.run(chosen, level, folder, report, "power loss", disk.forget)
    except Impossible as reason:
        print(f"power loss: SKIPPED, no file system that forgets can be had here: {reason}")
        return 0
    return report.finish(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
