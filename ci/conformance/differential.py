#!/usr/bin/env python3
"""The same commands to the reference server and to ours; replies compared byte for byte.

    python3 ci/conformance/differential.py --server "target/release/corewheel server" --seed 1 --sequences 200

Every sequence starts from an empty server and ends by asking for its whole state. A sequence that is answered differently
is shrunk to the fewest commands that still are, and printed as something to type. Replies that may rightly differ are
listed in `ALLOWED`, each with its reason; nothing else may.
"""

import argparse
import collections
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from judge import resp
from judge.server import Server
from conformance import grammar, grammar_collections

TIME_TOLERANCE_MS = 3_000
REPORTS_MAX = 25


def same_members(command, reference, ours):
    """A set in any order."""
    return isinstance(reference, list) and isinstance(ours, list) and sorted(reference) == sorted(ours)


def same_scan(command, reference, ours):
    """Redis promises the elements of a whole pass, not its pages: what begins in the middle is compared by shape only."""
    if command[1:2] != [b"0"]:
        return type(reference) is type(ours)
    if not (isinstance(reference, list) and isinstance(ours, list)):
        return False
    whole = reference[0] == ours[0] == b"0"
    return not whole or sorted(reference[1]) == sorted(ours[1])


def any_key(command, reference, ours):
    """A random key is any key."""
    return (reference is None) == (ours is None)


def near(command, reference, ours):
    """Time passed between the two."""
    unit = 1_000 if command[0].upper() in (b"TTL", b"EXPIRETIME") else 1
    return (isinstance(reference, int) and isinstance(ours, int) and reference > 0 and ours > 0
            and abs(reference - ours) * unit <= TIME_TOLERANCE_MS)


def lists(command, reference, ours):
    """Each server lists its own commands, in its own order; what a description must hold is asked in handshakes.py."""
    return isinstance(reference, list) and isinstance(ours, list)


def same_dump(command, reference, ours):
    """The footer holds a format version that rose between releases; long strings may be compressed or not."""
    if not (isinstance(reference, bytes) and isinstance(ours, bytes)):
        return False
    return reference[:-10] == ours[:-10] or b"\xc3" in (reference[1:2], ours[1:2])


def same_kind_of_string(command, reference, ours):
    """Redis remembers how a string was made: appended to (`raw`), counted in floats (`embstr`). We look at the bytes it has now."""
    small = {b"listpack", b"intset"}
    # Since 7.2 small sets and lists are packed, where 7.0 has a table or a list of nodes.
    return {reference, ours} <= {b"embstr", b"raw", b"int"} or (reference in (b"hashtable", b"quicklist") and ours in small)


def number_of(reply):
    """A score, whichever protocol it came in."""
    try:
        return float(reply)
    except (TypeError, ValueError):
        return reply


def numbers(reply):
    return [numbers(each) for each in reply] if isinstance(reply, list) else number_of(reply)


def same_scores(command, reference, ours):
    """Since 7.2 the shortest digits that read back are written; 7.0 writes seventeen."""
    return numbers(reference) == numbers(ours)


def same_scored(command, reference, ours):
    """The same, in any order."""
    def pairs(reply):
        flat = len(command) > 3 and reply and not isinstance(reply[0], list)
        return sorted(map(repr, zip(numbers(reply[::2]), numbers(reply[1::2])) if flat else numbers(reply)))
    return isinstance(reference, list) and isinstance(ours, list) and pairs(reference) == pairs(ours)


def same_collection(command, reference, ours):
    """Members, or fields with their values, in any order."""
    if isinstance(reference, dict) or isinstance(ours, dict):
        return reference == ours
    if not (isinstance(reference, list) and isinstance(ours, list)):
        return False
    flat = command[0].upper() in (b"HGETALL", b"HRANDFIELD") and not any(isinstance(each, list) for each in reference)
    paired = flat and (command[0].upper() == b"HGETALL" or len(command) > 3)
    parts = [list(zip(each[::2], each[1::2])) if paired else each for each in (reference, ours)]
    return sorted(map(repr, parts[0])) == sorted(map(repr, parts[1]))


def same_page(command, reference, ours):
    """All elements of a collection in one page."""
    def elements(reply):
        pairs = command[0].upper() != b"SSCAN"
        return sorted(map(repr, zip(reply[1][::2], numbers(reply[1][1::2])))) if pairs else sorted(reply[1])
    if not (isinstance(reference, list) and isinstance(ours, list)) or command[2:3] != [b"0"]:
        return type(reference) is type(ours)
    return reference[0] == ours[0] == b"0" and elements(reference) == elements(ours)


ALLOWED = {
    **{name: same_collection for name in (b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HGETALL", b"HKEYS", b"HVALS", b"HRANDFIELD", b"SRANDMEMBER", b"SPOP")},
    **{name: same_page for name in (b"SSCAN", b"HSCAN", b"ZSCAN")},
    **{name: same_scores for name in (b"ZADD", b"ZINCRBY", b"ZSCORE", b"ZMSCORE", b"ZRANGE", b"ZREVRANGE", b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE", b"ZUNION", b"ZINTER",
                                      b"ZDIFF", b"ZPOPMIN", b"ZPOPMAX", b"ZMPOP")},
    b"ZRANDMEMBER": same_scored,
    b"KEYS": same_members,
    b"SCAN": same_scan,
    b"RANDOMKEY": any_key,
    b"DUMP": same_dump,
    b"COMMAND": lists,
    b"TTL": near,
    b"PTTL": near,
    b"EXPIRETIME": near,
    b"PEXPIRETIME": near,
    b"OBJECT": same_kind_of_string,
}

# (command, beginning of the reference's reply, beginning of ours, why). 7.0.15 is the reference we can run; the interface is 7.4's.
ALLOWED_TEXTS = [
    (b"BITCOUNT", b":0", b"-ERR", "since 7.2 the arguments are checked before the key is looked up"),
    (b"BITCOUNT", b"-ERR", b"-ERR", "since 7.2 the unit is checked before the numbers"),
    (b"BITPOS", b":", b"-ERR", "since 7.2 the arguments are checked before the key is looked up"),
    (b"BITPOS", b"-ERR", b"-ERR", "since 7.2 the unit is checked before the numbers"),
    (b"ZRANK", b"-ERR wrong number", b"-ERR syntax", "since 7.2 there may be a WITHSCORE"),
    (b"ZREVRANK", b"-ERR wrong number", b"-ERR syntax", "since 7.2 there may be a WITHSCORE"),
    *((name, b"", b"-ERR invalid cursor", "a negative cursor, or one with a NUL, is refused; 7.0 takes it for a number") for name in (b"SSCAN", b"HSCAN", b"ZSCAN")),
    (b"SCAN", b"", b"-ERR invalid cursor", "a negative cursor is refused; 7.0 wraps it around"),
    (b"SCAN", b"-ERR", b"-ERR unknown type name", "the same, before the rest of the line is read"),
    (b"SCAN", b"*2", b"-ERR unknown type name", "a type that does not exist is a mistake; 7.0 finds no keys of it"),
]


def equal(command, reference, ours):
    if reference == ours:
        return True
    if reference[:1] == ours[:1] == b"-" and shown(reference) == shown(ours):
        return True
    name = command[0].upper() if command else b""
    if any(name == allowed and reference.startswith(theirs) and ours.startswith(mine) for allowed, theirs, mine, _ in ALLOWED_TEXTS):
        return True
    rule = ALLOWED.get(name)
    if rule is None or reference[:1] == b"-" or ours[:1] == b"-":
        return False
    return rule(command, resp.decode(reference)[0], resp.decode(ours)[0])


def shown(error):
    """An error up to where it quotes a byte that ends strings in C or lines in the protocol."""
    return min((error.split(byte)[0].rstrip() for byte in (b"\x00", b"\r", b"\n", b"  ")), key=len)


GRAMMARS = {"strings": grammar, "collections": grammar_collections}


class Pair:
    """A connection to each server, opened again when one was closed."""

    def __init__(self, reference, ours, protocol):
        self.servers = (reference, ours)
        self.protocol = protocol
        self.clients = []
        self.connect()

    def connect(self):
        for client in self.clients:
            client.close()
        self.clients = [server.client() for server in self.servers]
        if self.protocol == 3:
            for client in self.clients:
                client.call("HELLO", "3")

    def first_difference(self, commands):
        """Index of the first command answered differently, with both replies; None where all are the same."""
        try:
            replies = [client.pipeline_raw(commands) for client in self.clients]
        except (resp.Closed, OSError):
            replies = self.one_by_one(commands)
            self.connect()
        for index, (command, reference, ours) in enumerate(zip(commands, *replies)):
            if not equal(command, reference, ours):
                return index, reference, ours
        return None

    def one_by_one(self, commands):
        """Slow, but says which command made a server hang up."""
        self.connect()
        replies = []
        for client in self.clients:
            mine = []
            for command in commands:
                try:
                    mine.append(client.pipeline_raw([command])[0])
                except (resp.Closed, OSError) as cause:
                    mine.append(b"connection lost: " + str(cause).encode())
                    break
            replies.append(mine)
        return replies


def shrink(pair, commands, signature):
    """Drops whatever is not needed for the same command to be answered differently."""
    commands = list(commands)
    chunk = max(1, len(commands) // 2)
    while chunk:
        start = 0
        while start < len(commands):
            attempt = commands[:start] + commands[start + chunk:]
            difference = pair.first_difference([[b"FLUSHALL"]] + attempt) if attempt else None
            if difference is not None and difference[0] > 0 and signature_of(attempt[difference[0] - 1], *difference[1:]) == signature:
                commands = attempt[:difference[0]]
            else:
                start += chunk
        chunk //= 2
    return commands


def signature_of(command, reference, ours):
    """What makes two differences the same one: the command and the shapes of the replies."""
    def shape(reply):
        return reply[:60] if reply[:1] in b"-c" else reply[:1]
    return command[0].upper(), shape(reference), shape(ours)


def show(command):
    return " ".join(quote(word) for word in command)


def quote(word):
    if word and all(33 <= byte <= 126 and byte not in b"\"'\\" for byte in word):
        return word.decode()
    return '"' + "".join(chr(byte) if 32 <= byte <= 126 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word) + '"'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="target/release/corewheel server", help="command that starts the server under test")
    parser.add_argument("--reference", default="redis-server", help="command that starts the reference")
    parser.add_argument("--cores", default=None, help="cores for the server under test, such as 0,1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--length", type=int, default=60, help="commands in a sequence")
    parser.add_argument("--without", nargs="*", default=[], help="leave these commands out, while they are being built")
    parser.add_argument("--resp2", action="store_true", help="RESP2 only")
    parser.add_argument("--grammar", default="strings", choices=["strings", "collections"])
    parser.add_argument("--io", default=None, choices=["uring", "epoll"])
    options = parser.parse_args()

    without = {name.upper().encode() for name in options.without}
    differences = collections.OrderedDict()
    commands_run = 0
    with Server(options.reference) as reference, Server(options.server, cores=options.cores, io=options.io) as ours:
        pairs = {protocol: Pair(reference, ours, protocol) for protocol in ((2,) if options.resp2 else (2, 3))}
        for number in range(options.sequences):
            seed = options.seed + number
            commands = GRAMMARS[options.grammar].sequence(random.Random(seed), options.length)
            commands = [command for command in commands if command[0].upper() not in without]
            protocol = 2 if options.resp2 else 2 + seed % 2
            pair = pairs[protocol]
            try:
                difference = pair.first_difference(commands)
            except OSError:
                differences["ended"] = [seed, protocol, commands[:-1], commands[-1], b"answered", b"the server ended; its log:\n" + ours.log()[-1500:].encode(), 1]
                break
            commands_run += len(commands)
            if difference is None:
                continue
            index, theirs, mine = difference
            signature = signature_of(commands[index], theirs, mine)
            if signature not in differences:
                script = shrink(pair, commands[:index + 1], signature)
                differences[signature] = [seed, protocol, script, commands[index], theirs, mine, 0]
                if len(differences) >= REPORTS_MAX:
                    print(f"stopping after {REPORTS_MAX} kinds of differences")
                    break
            differences[signature][-1] += 1

    for seed, protocol, script, command, theirs, mine, count in differences.values():
        print(f"\nseed {seed}, RESP{protocol}, {count} sequences:")
        for line in script:
            print(f"    {show(line)}")
        print(f"  > {show(command)}\n    reference {theirs[:300]!r}\n    ours      {mine[:300]!r}")
    print(f"\ndifferential: {commands_run} commands in {options.sequences} sequences from seed {options.seed}, "
          f"{len(differences)} kinds of differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
