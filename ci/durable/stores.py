"""Where backups are put: a directory, and a bucket of an S3 server on this machine, seen from outside the program that is judged.

The S3 server is moto (https://github.com/getmoto/moto, Apache-2.0), installed from PyPI into target/s3-server the first time. It keeps
what it is given in memory, so what is broken is the way to it: a relay that stops passing bytes.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from judge.server import free_port

MOTO = "moto[server]==5.2.5"
HOME = pathlib.Path(__file__).resolve().parents[2] / "target" / "s3-server"
START_SECONDS_MAX = 60


class Folder:
    """A store that is a directory."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.address = str(path)

    def names(self):
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file() and path.name != "lock")

    def get(self, name):
        return (self.path / name).read_bytes()

    def put(self, name, data):
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(data)

    def delete(self, name):
        (self.path / name).unlink()

    def size(self):
        return sum((self.path / name).stat().st_size for name in self.names())


class Bucket:
    """A store that is a prefix of a bucket. The server wants a name with each request, and does not look at the signature."""

    def __init__(self, server, bucket, prefix):
        self.url, self.prefix = f"http://127.0.0.1:{server.port}/{bucket}", prefix
        self.address = f"s3://{bucket}/{prefix}"
        self.call("PUT", "")

    def call(self, method, path, data=None):
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def listed(self):
        """Names below the prefix, with their sizes."""
        found, token = {}, ""
        while True:
            more = f"&continuation-token={urllib.parse.quote(token)}" if token else ""
            text = self.call("GET", f"?list-type=2&prefix={self.prefix}/{more}").decode()
            for entry in text.split("<Contents>")[1:]:
                name = entry.split("<Key>")[1].split("</Key>")[0]
                found[name.removeprefix(f"{self.prefix}/")] = int(entry.split("<Size>")[1].split("</Size>")[0])
            if "<NextContinuationToken>" not in text:
                return found
            token = text.split("<NextContinuationToken>")[1].split("</NextContinuationToken>")[0]

    def names(self):
        return sorted(name for name in self.listed() if name != "lock")

    def get(self, name):
        return self.call("GET", f"/{self.prefix}/{name}")

    def put(self, name, data):
        self.call("PUT", f"/{self.prefix}/{name}", data)

    def delete(self, name):
        self.call("DELETE", f"/{self.prefix}/{name}")

    def size(self):
        return sum(self.listed().values())


class S3:
    """The server. `with_users`: it wants to know who asks, and everybody it does not know is refused."""

    def __init__(self, with_users=False):
        words = [str(program()), "-H", "127.0.0.1", "-p"]
        self.port = free_port()
        env = dict(os.environ, INITIAL_NO_AUTH_ACTION_COUNT="1") if with_users else None
        self.log = open(HOME / "log", "ab")
        self.process = subprocess.Popen([*words, str(self.port)], stdout=self.log, stderr=self.log, env=env)

    def __enter__(self):
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise SystemExit(f"the S3 server does not start: see {self.log.name}") from None
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()


def program():
    """Installs the server where it is not."""
    found, wanted = HOME / "bin" / "moto_server", HOME / "installed"
    if not wanted.exists() or wanted.read_text(encoding="ascii") != MOTO:
        print(f"installing {MOTO} from PyPI into {os.path.relpath(HOME)}", flush=True)
        shutil.rmtree(HOME, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        subprocess.run([str(HOME / "bin" / "pip"), "install", "--quiet", MOTO], check=True)
        wanted.write_text(MOTO, encoding="ascii")
    return found


def environment(port):
    """What a client of the server on a port is told."""
    return {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-never-to-be-seen", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}


class Relay:
    """Passes bytes on to a port, until it has passed so many of a client's; then nobody gets through until it is mended."""

    def __init__(self, port):
        self.target, self.left, self.open = port, None, []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def break_after(self, count):
        with self.lock:
            self.left = count

    def mend(self):
        with self.lock:
            self.left = None

    def is_broken(self):
        with self.lock:
            return self.left is not None and self.left <= 0

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.is_broken():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 10)
            except OSError:
                client.close()
                continue
            for source, sink, counts in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pass_on, args=(source, sink, counts), daemon=True).start()

    def pass_on(self, source, sink, counts):
        try:
            while data := source.recv(65536):
                with self.lock:
                    if counts and self.left is not None:
                        data, self.left = data[:max(self.left, 0)], self.left - len(data)
                sink.sendall(data)
                if self.is_broken():
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
