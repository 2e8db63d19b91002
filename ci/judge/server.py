"""A server process: started on a free port, waited for, measured through /proc, stopped.

The flavour is told by the program's name, so that the same judge runs against the reference (`redis-server`), its
relatives and ours. A server is always given the loopback address and, where it has one, an empty place for its files.
"""

import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import resp

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 20.0


def free_port(count=1):
    """A port below the kernel's range of outgoing ones, free now, with the `count - 1` after it and the cores' ports."""
    start = 20000 + (os.getpid() * 37) % 8000
    for port in range(start, 32000, 211):
        try:
            for each in [port + offset for offset in range(count)] + [port + 100, port + 10000]:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", each))
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


def flavour(words):
    """Which family of flags a command line wants."""
    joined = " ".join(os.path.basename(word) for word in words)
    for name in ("redis-server", "valkey-server", "memcached", "pogocache", "floor", "corewheel"):
        if name in joined:
            return "redis" if name in ("redis-server", "valkey-server") else name
    raise SystemExit(f"do not know how to start {joined!r}")


class Server:
    """`with Server("redis-server") as server:` `server.port` is where it listens."""

    def __init__(self, command, *, cores=None, pin=None, maxmemory=None, policy=None, io=None, extra=(), files_max=None,
                 password=None, unixsocket=None, port=None, env=None):
        self.words = shlex.split(command) if isinstance(command, str) else list(command)
        self.flavour = flavour(self.words)
        self.port = port or free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="corewheel-judge-")
        self.password = password
        self.pin = pin
        self.files_max = files_max
        self.env = env
        self.log_path = os.path.join(self.folder.name, "log")
        self.words += self._flags(cores, pin, maxmemory, policy, io, unixsocket)
        self.words += list(extra)
        self.process = None

    def _flags(self, cores, pin, maxmemory, policy, io, unixsocket):
        port = str(self.port)
        if self.flavour == "redis":
            flags = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
                     "--dir", self.folder.name, "--enable-debug-command", "yes"]
            flags += ["--maxmemory", str(maxmemory)] if maxmemory else []
            flags += ["--maxmemory-policy", policy] if policy else []
            flags += ["--requirepass", self.password] if self.password else []
            flags += ["--unixsocket", unixsocket] if unixsocket else []
            return flags
        if self.flavour == "corewheel":
            flags = ["--port", port, "--bind", "127.0.0.1"]
            if cores is None and pin is not None:
                cores = str(pin)
            flags += ["--cores", cores] if cores is not None else []
            flags += ["--maxmemory", str(maxmemory)] if maxmemory else []
            flags += ["--maxmemory-policy", policy] if policy else []
            flags += ["--io", io] if io else []
            flags += ["--unixsocket", unixsocket] if unixsocket else []
            if self.password:
                path = os.path.join(self.folder.name, "password")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(self.password + "\n")
                os.chmod(path, 0o600)
                flags += ["--requirepass-file", path]
            return flags
        if self.flavour == "memcached":
            return ["-p", port, "-l", "127.0.0.1", "-t", "1", "-u", "root", "-m", str((maxmemory or 4 << 30) >> 20), "-c", "20000"]
        if self.flavour == "pogocache":
            return ["-h", "127.0.0.1", "-p", port, "--threads", "1", "--maxconns", "20000"]
        return ["--port", port, "--core", str(pin if pin is not None else 0)] + (["--io", io] if io else [])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()

    def start(self):
        def prepare():
            # A judge keeps to its own processors; a server that is not pinned has them all.
            os.sched_setaffinity(0, {self.pin} if self.pin is not None else set(range(os.cpu_count())))
            if self.files_max is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.files_max, self.files_max))

        environment = dict(os.environ, **(self.env or {}))
        # Killed with us, whatever happens to the judge.
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=prepare, env=environment)
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{shlex.join(self.words)} ended with {self.process.returncode} at start:\n{self.log()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                    break
            except OSError:
                if time.monotonic() > end:
                    self.kill()
                    raise SystemExit(f"{shlex.join(self.words)} does not listen on {self.port}:\n{self.log()}") from None
                time.sleep(0.02)

    def stop(self):
        """Asks politely, then not. Returns the exit code, negative for a signal."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                print(f"warning: {self.words[0]} ignored SIGTERM for {STOP_SECONDS_MAX} s", file=sys.stderr)
                self.kill()
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-4000:]

    def client(self, **options):
        """A connection, authenticated where the server wants it."""
        client = resp.Client(self.port, **options)
        if self.password is not None:
            client.call("AUTH", self.password)
        return client

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        return status_bytes(self.pid, "VmRSS")

    def rss_peak_bytes(self):
        return status_bytes(self.pid, "VmHWM")

    def rss_peak_reset(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")


def status_bytes(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(name)
