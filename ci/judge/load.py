"""Fills a server with many small pairs, as fast as one Python process can write them."""

import socket
import threading

CHUNK_PAIRS = 5_000


def fill(port, first, last, value_bytes=16, expire_at_ms=None, value_of=None):
    """Stores `key:%012d` for every number from `first` up to `last`, with a value of so many bytes.

    `expire_at_ms(number)` gives each pair an absolute expiry, `value_of(number)` its value instead of the number itself. Replies are counted by their bytes, so nothing but `+OK` is expected.
    """
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(120.0)
    wanted = 5 * (last - first)
    failure = []

    def drain():
        got = 0
        while got < wanted:
            data = client.recv(1 << 18)
            if not data:
                failure.append("the server closed the connection")
                return
            if b"-" in data:
                failure.append(data[data.index(b"-"):][:100].decode("utf-8", "replace"))
                return
            got += len(data)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    body = b"$%d\r\n%%0%dd\r\n" % (value_bytes, value_bytes)
    if expire_at_ms is None:
        pattern = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n" + body
    else:
        pattern = b"*5\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n" + body + b"$4\r\nPXAT\r\n$13\r\n%013d\r\n"
    for start in range(first, last, CHUNK_PAIRS):
        numbers = range(start, min(start + CHUNK_PAIRS, last))
        if value_of is not None:
            values = [value_of(number) for number in numbers]
            data = b"".join([b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (number, len(value), value) for number, value in zip(numbers, values)])
        elif expire_at_ms is None:
            data = b"".join([pattern % (number, number) for number in numbers])
        else:
            data = b"".join([pattern % (number, number, expire_at_ms(number)) for number in numbers])
        if failure:
            break
        client.sendall(data)
    reader.join(120.0)
    client.close()
    if failure or reader.is_alive():
        raise SystemExit(f"filling stopped: {failure or 'replies are missing'}")
