"""A RESP2 and RESP3 client that keeps what it read byte for byte.

It never interprets more than it must to find the end of a reply, so a difference between two servers is a difference
of bytes and not of a library's taste.
"""

import socket


class Closed(Exception):
    """The server ended the connection."""


def encode(arguments):
    """One command as an array of bulk strings. Arguments are bytes, str or numbers."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if not isinstance(argument, bytes):
            argument = str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


class Error(str):
    """An error reply, its text without the leading sign."""


class Client:
    """One connection. `timeout` bounds every wait in seconds."""

    def __init__(self, port, host="127.0.0.1", path=None, timeout=10.0):
        if path is None:
            self.socket = socket.create_connection((host, port), timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(path)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def raw(self):
        """The bytes of the next whole reply."""
        parts = []
        self._collect(parts)
        return b"".join(parts)

    def _collect(self, parts):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Closed(f"connection closed inside a reply: {b''.join(parts) + line!r}")
        parts.append(line)
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=!" and rest != b"-1":
            length = int(rest) + 2
            body = self.file.read(length)
            if body is None or len(body) < length:
                raise Closed("connection closed inside a bulk")
            parts.append(body)
        elif kind in b"*~>" and rest != b"-1":
            for _ in range(int(rest)):
                self._collect(parts)
        elif kind in b"%|":
            for _ in range(2 * int(rest)):
                self._collect(parts)
            if kind == b"|":
                self._collect(parts)

    def call(self, *arguments):
        """Sends one command and returns its reply decoded: bytes, int, float, None, bool, list, dict or `Error`."""
        self.send(encode(arguments))
        return self.value()

    def value(self):
        reply, rest = decode(self.raw())
        assert rest == b"", rest
        return reply

    def pipeline_raw(self, commands):
        """Sends all commands at once and returns one reply's bytes for each."""
        self.send(b"".join(encode(command) for command in commands))
        return [self.raw() for _ in commands]


def decode(data):
    """The first reply in `data`, and what follows it."""
    line, _, rest = data.partition(b"\r\n")
    kind, body = line[:1], line[1:]
    if kind == b"+":
        return body, rest
    if kind == b"-":
        return Error(body.decode("utf-8", "replace")), rest
    if kind == b":":
        return int(body), rest
    if kind == b",":
        return float(body), rest
    if kind == b"#":
        return body == b"t", rest
    if kind == b"_":
        return None, rest
    if kind == b"(":
        return int(body), rest
    if kind in b"$=!":
        if body == b"-1":
            return None, rest
        length = int(body)
        value = rest[:length]
        if kind == b"=":
            value = value[4:]
        if kind == b"!":
            value = Error(value.decode("utf-8", "replace"))
        return value, rest[length + 2 :]
    if kind in b"*~>":
        if body == b"-1":
            return None, rest
        items = []
        for _ in range(int(body)):
            item, rest = decode(rest)
            items.append(item)
        return items, rest
    if kind in b"%":
        pairs = {}
        for _ in range(int(body)):
            key, rest = decode(rest)
            value, rest = decode(rest)
            pairs[bytes(key) if isinstance(key, (bytes, bytearray)) else key] = value
        return pairs, rest
    raise ValueError(f"not a reply: {data[:80]!r}")


def info(client, section=None):
    """`INFO` as a dict of str."""
    text = client.call(*(["INFO"] if section is None else ["INFO", section]))
    fields = {}
    for line in text.decode().splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[name] = value
    return fields
