#!/usr/bin/env python3
"""Runs what the documentation shows, so that it cannot go stale.

    python3 ci/conformance/snippets.py

A fenced block that follows a line `<!-- run: server -->` runs with a fresh server's port in `PORT`; one that follows `<!-- run -->` runs
without. `sh` blocks run under `bash -e`, `python` blocks with the clients' interpreter. Blocks without a mark are not run.
"""

import argparse
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge.server import Server

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
MARKED = re.compile(r"^<!-- run(?:: (?P<what>\w+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
SECONDS_MAX = 120


def documents():
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in (".git", "target", "node_modules", "shared")]
        yield from (os.path.join(folder, name) for name in files if name.endswith(".md"))


def run(snippet, port):
    language, text = snippet["language"], snippet["text"]
    python = os.path.join(ROOT, "target", "conformance", "venv", "bin", "python")
    words = {"sh": ["bash", "-euo", "pipefail", "-c", text], "python": [python if os.path.exists(python) else sys.executable, "-c", text]}[language]
    environment = dict(os.environ, PORT=str(port)) if port else dict(os.environ)
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=os.path.join(ROOT, "target", "release", "corewheel") + " server")
    options = parser.parse_args()
    count = failed = 0
    for path in sorted(documents()):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for match in MARKED.finditer(text):
            count += 1
            where = f"{os.path.relpath(path, ROOT)}:{text[:match.start()].count(chr(10)) + 2}"
            if match["what"] == "server":
                with Server(options.server) as server:
                    done = run(match, server.port)
            else:
                done = run(match, None)
            if done.returncode:
                failed += 1
                print(f"FAIL  {where} ended with {done.returncode}\n{match['text']}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            else:
                print(f"pass  {where}")
    print(f"snippets: {count - failed} of {count} run")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
