#!/usr/bin/env python3
"""Starts a server, runs a command with `PORT` in its environment, stops the server.

    python3 ci/judge/with_server.py --server "target/release/corewheel server" --cores 0,1 -- redis-cli -p '$PORT' ping

The exit code is the command's, or 1 where the server did not live through it. `--cluster` turns the reference into a
one-node cluster, so that cluster clients can be tried on it.
"""

import argparse
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge.server import Server


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="target/release/corewheel server")
    parser.add_argument("--cores")
    parser.add_argument("--io", choices=["uring", "epoll"])
    parser.add_argument("--password")
    parser.add_argument("--unixsocket")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("a command is wanted after --")

    server = Server(options.server, cores=options.cores, io=options.io, password=options.password, unixsocket=options.unixsocket)
    if options.cluster and server.flavour == "redis":
        server.words += ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]
    with server:
        if options.cluster and server.flavour == "redis":
            with server.client() as client:
                client.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
                while b"cluster_state:ok" not in client.call("CLUSTER", "INFO"):
                    pass
        environment = dict(os.environ, PORT=str(server.port))
        code = subprocess.run([word.replace("$PORT", str(server.port)) for word in command], env=environment, check=False).returncode
        if not server.alive():
            print(f"the server ended with {server.process.returncode}:\n{server.log()}", file=sys.stderr)
            code = code or 1
        elif code:
            print(f"the server's log:\n{server.log()}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
