#!/usr/bin/env python3
"""A server that is killed again and again in the middle of its work, on one directory.

    python3 ci/durable/kill9.py --server "target/release/corewheel server" --level batch --rounds 20
    python3 ci/durable/kill9.py --server redis-server --level batch --flags "--appendonly no"    (must fail)

Witnesses in this process write, read and remember; the server gets SIGKILL after 50 to 500 ms, every fifth time SIGTERM, and is
started again on what it left, with another number of cores each time. What it then holds is judged against what was acknowledged.
"""

import argparse
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from durable import lives
from judge.report import Report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    lives.add_options(parser)
    parser.add_argument("--keep", help="a directory that stays, to look at what was left")
    chosen = parser.parse_args()
    report = Report("kill -9")
    for level in chosen.level or ["batch", "every:100", "periodic:200"]:
        folder = tempfile.mkdtemp(prefix="corewheel-kill9-", dir=chosen.keep)
        try:
            lives.run(chosen, level, folder, report, "kill -9")
        finally:
            if chosen.keep is None:
                shutil.rmtree(folder)
    return report.finish(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
