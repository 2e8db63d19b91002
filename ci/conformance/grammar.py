"""What clients may say: every command of the caching tier, with arguments good and bad, from one seeded generator.

A production is a function of a `Speaker`; its name is the command. What two servers may rightly answer differently
(a random key, the time that passed) is told by the judge, not avoided here, but expiries are either far away or in the
past, so that no reply hangs on which server was asked first.
"""

INTEGERS_ODD = ["0", "-0", "-1", "1", "2", "10", "-9223372036854775808", "9223372036854775807", "9223372036854775808",
                "-9223372036854775809", "18446744073709551615", "2147483648", "4294967296", "1.5", "1e3", "+1", " 1", "1 ",
                "01", "0x10", "", "-", "abc", "nan", "inf", "-inf", "3.0e-5", "99999999999999999999999999"]

FLOATS = ["1", "0", "-1", "0.1", "3.14", "-2.5", "1e5", "1e-5", "1e17", "123456789.123456789", "0.30000000000000004", "1e300",
          "-1e300", "5.0e3", "1e21", "100000000000000000000", "0.000001", "3.0", "1.0e-17", "999999999999999.9", "2e1"]

# What a mutation may put anywhere. Offsets in the hundreds of millions are left out: they are allowed, and cost a
# gigabyte of zeros each time.
JUNK = [word for word in INTEGERS_ODD if word not in ("2147483648", "4294967296")] + [
    "NX", "xx", "GET", "EX", "10", "*", "k1", "\r\n", "%s", "\x00", "'quoted'", "a" * 200]

# A relative time of one unit would make the answer hang on the clock.
SOON = {"1", "2", "10", "01"}


class Speaker:
    """Draws words from one seeded generator."""

    def __init__(self, random):
        self.random = random

    def maybe(self, chance):
        return self.random.random() < chance

    def pick(self, items):
        return self.random.choice(items)

    def key(self):
        return self.pick(["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "{t}a", "{t}b", "number", "bits", ""]
                         if self.maybe(0.95) else ["missing", "k\x00", "\xff\xfe", "x" * 300])

    def keys(self, most=4):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def value(self):
        kind = self.random.randrange(8)
        if kind == 0:
            return self.integer()
        if kind == 1:
            return self.pick(FLOATS)
        if kind == 2:
            return ""
        if kind == 3:
            return "".join(chr(self.random.randrange(256)) for _ in range(self.random.randrange(24))).encode("latin-1")
        if kind == 4:
            return self.pick(["a", "b", "ab"]) * self.random.randint(1, 60)
        if kind == 5:
            return "v" * self.pick([43, 44, 45, 63, 64, 65, 100, 1000, 5000])
        return self.pick(["hello", "world", "foobar", "ohmytext", "mynewtext", "0", "1", "10", "\xff\xf0\x00"])

    def integer(self):
        return self.pick(INTEGERS_ODD) if self.maybe(0.3) else str(self.random.randint(-1000, 1000))

    def offset(self):
        return str(self.random.randint(-30, 60)) if self.maybe(0.9) else self.pick(["-1", "abc", "", "1.5", "-9223372036854775808", "9223372036854775807"])

    def bit_offset(self):
        return str(self.random.randint(0, 300)) if self.maybe(0.9) else self.pick(["-1", "abc", "", "4294967296", "9223372036854775808"])

    def seconds(self):
        return str(self.random.randint(100, 100000)) if self.maybe(0.85) else self.pick(["0", "-1", "-100", "abc", "", "9223372036854775807", "9223372036854775", "1.5"])

    def milliseconds(self):
        return str(self.random.randint(100000, 100000000)) if self.maybe(0.85) else self.pick(["0", "-1", "-100000", "abc", "9223372036854775807", "9223372036854775806"])

    def unix_seconds(self, past=True):
        odd = ["0", "-1", "abc", "9223372036854775807"] + (["1", "1000000000"] if past else [])
        return str(self.random.randint(4000000000, 5000000000)) if self.maybe(0.8) else self.pick(odd)

    def unix_milliseconds(self, past=True):
        odd = ["0", "-1", "abc", "9223372036854775807"] + (["1", "1000000000000"] if past else [])
        return str(self.random.randint(4000000000000, 5000000000000)) if self.maybe(0.8) else self.pick(odd)

    def pattern(self):
        return self.pick(["*", "k*", "k?", "k[0-3]", "k[^0-3]", "{t}*", "[", "k[", "\\k1", "*1", "", "**", "k[3-0]", "?*", "[k]1", "nothing", "k[\\0]", "*[b-a]"])

    def case(self, word):
        return "".join(self.pick((char.lower(), char.upper())) for char in word)


def expiry_options(s):
    """What SET and GETEX take about time. A moment in the past is left to EXPIREAT: what SET stored with one is gone for
    every reader, but Redis counts it in DBSIZE until it looks."""
    return s.pick([["EX", s.seconds()], ["PX", s.milliseconds()], ["EXAT", s.unix_seconds(past=False)], ["PXAT", s.unix_milliseconds(past=False)]])


def set_(s):
    options = []
    if s.maybe(0.3):
        options += expiry_options(s)
    if s.maybe(0.25):
        options += [s.pick(["NX", "XX", "nx", "xX"])]
    if s.maybe(0.2):
        options += ["GET"]
    if s.maybe(0.15):
        options += ["KEEPTTL"]
    if s.maybe(0.05):
        options += [s.pick(["NX", "XX", "PERSIST", "EX", "WHAT"])]
    s.random.shuffle(options) if s.maybe(0.05) else None
    return ["SET", s.key(), s.value(), *options]


def getex(s):
    options = s.pick([[], expiry_options(s), ["PERSIST"], ["PERSIST", "EX", "100"], expiry_options(s) + ["PERSIST"], ["EX"]])
    return ["GETEX", s.key(), *options]


def lcs(s):
    options = []
    if s.maybe(0.4):
        options += ["IDX"]
    if s.maybe(0.3):
        options += ["LEN"]
    if s.maybe(0.3):
        options += ["MINMATCHLEN", s.pick(["0", "2", "4", "-1", "abc"])]
    if s.maybe(0.3):
        options += ["WITHMATCHLEN"]
    return ["LCS", s.key(), s.key(), *options]


def bit_range(s):
    if s.maybe(0.3):
        return []
    words = [s.offset(), s.offset()]
    if s.maybe(0.5):
        words += [s.pick(["BIT", "BYTE", "bit", "BITE"])]
    return words if s.maybe(0.95) else words[:1]


def bitfield_operation(s, writes=True):
    kind = s.pick(["u1", "u8", "i8", "u4", "i16", "u32", "i64", "u63", "i5"]) if s.maybe(0.93) else s.pick(["u64", "i65", "u0", "x8", "8", ""])
    offset = s.pick([str(s.random.randint(0, 100)), "#" + str(s.random.randint(0, 10))]) if s.maybe(0.95) else s.pick(["-1", "abc", "#", "#-1"])
    what = s.pick(["GET", "SET", "INCRBY", "OVERFLOW"]) if writes else "GET"
    if what == "GET":
        return ["GET", kind, offset]
    if what == "OVERFLOW":
        return ["OVERFLOW", s.pick(["WRAP", "SAT", "FAIL", "wrap", "NOPE"] if s.maybe(0.3) else ["WRAP", "SAT", "FAIL"])]
    return [what, kind, offset, str(s.random.randint(-300, 300)) if s.maybe(0.9) else s.integer()]


def bitfield(s):
    return ["BITFIELD", s.key()] + [word for _ in range(s.random.randrange(5)) for word in bitfield_operation(s)]


def bitfield_ro(s):
    return ["BITFIELD_RO", s.key()] + [word for _ in range(s.random.randrange(4)) for word in bitfield_operation(s, writes=s.maybe(0.1))]


def expire_like(name, time):
    def production(s):
        options = [] if s.maybe(0.6) else [s.pick(["NX", "XX", "GT", "LT", "nx", "NO"]) for _ in range(1 if s.maybe(0.85) else 2)]
        return [name, s.key(), time(s), *options]
    return production


def copy(s):
    options = s.pick([[], [], ["REPLACE"], ["DB", s.pick(["0", "1", "99", "abc"])], ["DB", "1", "REPLACE"], ["WHAT"]])
    return ["COPY", s.key(), s.key(), *options]


def restore(s):
    payload = s.pick([b"", b"garbage", b"\x00\x05hello\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00"])
    return ["RESTORE", s.key(), s.pick(["0", "100000", "-1", "abc"]), payload, *s.pick([[], ["REPLACE"], ["ABSTTL"], ["IDLETIME", "-1"], ["FREQ", "256"], ["NO"]])]


def nonsense(s):
    word = s.pick(["NOSUCHCOMMAND", "get'", "SETT", "", "\xff", "a b", "x" * 150, "%d", "HELP"])
    return [word, *[s.value() for _ in range(s.random.randrange(4))]]


def nonsense_subcommand(s):
    return [s.pick(["OBJECT", "CLIENT", "CONFIG", "MEMORY", "COMMAND", "SLOWLOG", "LATENCY", "CLUSTER"]), s.pick(["NOPE", "no such", ""]), *s.pick([[], ["x"]])]


def simple(name, *arguments):
    return lambda s: [name, *[argument(s) if callable(argument) else argument for argument in arguments]]


def many(name, most=4):
    return lambda s: [name, *s.keys(most)]


def pairs(name):
    return lambda s: [name] + [word for _ in range(s.random.randint(1, 4)) for word in (s.key(), s.value())]


KEY, VALUE, INTEGER = Speaker.key, Speaker.value, Speaker.integer

# (weight, production). One line for each command.
PRODUCTIONS = [
    (10, set_), (2, simple("SETNX", KEY, VALUE)), (2, simple("SETEX", KEY, Speaker.seconds, VALUE)),
    (2, simple("PSETEX", KEY, Speaker.milliseconds, VALUE)), (6, simple("GET", KEY)), (3, getex), (2, simple("GETDEL", KEY)),
    (2, simple("GETSET", KEY, VALUE)), (3, many("MGET", 5)), (3, pairs("MSET")), (2, pairs("MSETNX")), (4, simple("APPEND", KEY, VALUE)),
    (2, simple("STRLEN", KEY)), (4, simple("SETRANGE", KEY, Speaker.offset, VALUE)),
    (4, simple("GETRANGE", KEY, Speaker.offset, Speaker.offset)), (1, simple("SUBSTR", KEY, Speaker.offset, Speaker.offset)), (4, lcs),
    (3, simple("INCR", KEY)), (3, simple("DECR", KEY)), (3, simple("INCRBY", KEY, INTEGER)), (3, simple("DECRBY", KEY, INTEGER)),
    (5, lambda s: ["INCRBYFLOAT", s.key(), s.pick(FLOATS) if s.maybe(0.8) else s.integer()]),
    (4, simple("SETBIT", KEY, Speaker.bit_offset, lambda s: s.pick(["0", "1", "2", "x"] if s.maybe(0.2) else ["0", "1"]))),
    (3, simple("GETBIT", KEY, Speaker.bit_offset)), (4, lambda s: ["BITCOUNT", s.key(), *bit_range(s)]),
    (4, lambda s: ["BITPOS", s.key(), s.pick(["0", "1", "0", "1", "2", "x"]), *bit_range(s)]),
    (4, lambda s: ["BITOP", s.pick(["AND", "OR", "XOR", "NOT", "not", "NAND"]), s.key(), *s.keys(3)]),
    (5, bitfield), (2, bitfield_ro),
    (3, many("DEL")), (2, many("UNLINK")), (3, many("EXISTS")), (1, many("TOUCH")), (2, simple("TYPE", KEY)),
    (3, simple("RENAME", KEY, KEY)), (2, simple("RENAMENX", KEY, KEY)), (3, copy), (1, simple("MOVE", KEY, lambda s: s.pick(["0", "1", "99", "x"]))),
    (1, simple("DBSIZE")), (2, simple("KEYS", Speaker.pattern)), (1, simple("RANDOMKEY")),
    (2, lambda s: ["SCAN", s.pick(["0", "0", "0", "abc", "-1"]), *s.pick([[], ["MATCH", s.pattern()], ["COUNT", "1000"], ["TYPE", "string"], ["TYPE", "list"], ["COUNT", "0"], ["COUNT", "x"], ["NO"]])]),
    (4, expire_like("EXPIRE", Speaker.seconds)), (3, expire_like("PEXPIRE", Speaker.milliseconds)),
    (3, expire_like("EXPIREAT", Speaker.unix_seconds)), (3, expire_like("PEXPIREAT", Speaker.unix_milliseconds)),
    (2, simple("PERSIST", KEY)), (3, simple("TTL", KEY)), (3, simple("PTTL", KEY)), (2, simple("EXPIRETIME", KEY)), (2, simple("PEXPIRETIME", KEY)),
    (2, lambda s: ["OBJECT", s.pick(["ENCODING", "encoding"]), s.key()]), (1, restore), (1, simple("DUMP", lambda s: "missing")),
    (1, lambda s: ["PING", *s.pick([[], ["hello"], ["a", "b"]])]), (1, simple("ECHO", VALUE)),
    (1, lambda s: [s.pick(["FLUSHDB", "FLUSHALL"]), *s.pick([[], ["ASYNC"], ["SYNC"], ["NOW"]])] if s.maybe(0.3) else ["DBSIZE"]),
    (1, lambda s: ["SELECT", s.pick(["0", "1", "99", "-1", "x"])]),
    (2, nonsense), (1, nonsense_subcommand),
]

WEIGHTS = [weight for weight, _ in PRODUCTIONS]
FUNCTIONS = [production for _, production in PRODUCTIONS]

# Commands whose arguments say how much memory to use: mutation leaves their numbers alone.
SIZED = {"SETRANGE", "SETBIT", "BITFIELD"}
TIMED = {"EXPIRE", "PEXPIRE", "SETEX", "PSETEX", "SET", "GETEX", "RESTORE"}


def mutate(s, words):
    """The same command with one thing wrong: too few or too many words, or junk for one of them."""
    kind = s.random.randrange(3)
    if kind == 0 and len(words) > 1:
        del words[s.random.randrange(1, len(words))]
    elif kind == 1:
        words.insert(s.random.randint(1, len(words)), s.pick(JUNK[-10:]))
    elif len(words) > 1 and words[0].upper() not in SIZED:
        junk = s.pick(JUNK)
        if not (words[0].upper() in TIMED and junk in SOON):
            words[s.random.randrange(1, len(words))] = junk
    return words


def command(s):
    words = list(s.random.choices(FUNCTIONS, WEIGHTS)[0](s))
    if s.maybe(0.08):
        words = mutate(s, words)
    if words[0].upper() in TIMED and any(word in SOON for word in words[2:]):
        # A mutation shifted a small number to where the time stands.
        words = [word if index < 2 or word not in SOON else "4100000000000" for index, word in enumerate(words)]
    if s.maybe(0.1) and isinstance(words[0], str) and words[0].isascii():
        words[0] = s.case(words[0])
    return [word if isinstance(word, bytes) else word.encode("latin-1") for word in words]


def sequence(random, length):
    """`length` commands, then questions that show the whole state they left."""
    s = Speaker(random)
    words = [[b"FLUSHALL"], [b"SELECT", b"0"]] + [command(s) for _ in range(length)]
    words += [[b"SELECT", b"0"], [b"DBSIZE"], [b"KEYS", b"*"]]
    for key in ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "{t}a", "{t}b", "number", "bits", ""]:
        words += [[b"GET", key.encode()], [b"PEXPIRETIME", key.encode()]]
    return words
