"""What clients may say about lists, sets, sorted sets and hashes, in the manner of grammar.py.

Few keys and few members, so that most commands meet something; now and then many at once, so that collections outgrow what is
packed. Commands that pick by chance are asked for all, or for how many: what they pick is not compared.
"""

from conformance.grammar import FLOATS, INTEGERS_ODD, Speaker, mutate

# Hexadecimal is read as a fraction by C alone; since 7.2 a number that has no opposite is refused as a count.
PLAINER = {"0x10": "16", "(0x10": "(16", "-9223372036854775808": "-9223372036854775807"}
# By bytes only members of one score are in order.
LEX_KEY = "lex"
KEYS = ["c0", "c1", "c2", "c3", "c4", "c5", "{t}a", "{t}b", "{t}c", "string"]
SCORES = ["0", "1", "2", "3", "1", "2", "-1", "1.5", "0.1", "inf", "-inf", "+inf", "3e5", "1e17", "-0", "123456789.123456789", "17", "1e-7"]


class Collector(Speaker):
    """Speaks of few keys and members."""

    def key(self):
        return self.pick(KEYS) if self.maybe(0.97) else "missing"

    def member(self):
        kind = self.random.randrange(12)
        if kind == 0:
            return self.value()
        if kind < 4:
            return str(self.random.randint(0, 9))
        return self.pick(["a", "b", "c", "d", "e", "f", "aa", "ab", "z", "hello", "m" * 64, "m" * 65])

    def members(self, most=5):
        if self.maybe(0.04):
            start, count = self.random.randrange(100), self.random.choice([20, 130, 600])
            form = self.pick(["%d", "member:%d"])
            return [form % number for number in range(start, start + count)]
        return [self.member() for _ in range(self.random.randint(1, most))]

    def pairs_of(self, other):
        return [word for member in self.members() for word in (member, other(self))]

    def score(self):
        return self.pick(SCORES) if self.maybe(0.95) else self.pick(INTEGERS_ODD)

    def scored(self):
        return [word for member in self.members() for word in (self.score(), member)]

    def index(self):
        return str(self.random.randint(-8, 8)) if self.maybe(0.9) else self.pick(["100", "-100", "abc", "", "1.5", "9223372036854775807", "-9223372036854775808"])

    def count(self):
        return str(self.random.randint(0, 5)) if self.maybe(0.9) else self.pick(["-1", "100", "abc", "", "-9223372036854775808"])

    def score_bound(self):
        return self.pick(["", "", "("]) + self.score() if self.maybe(0.95) else self.pick(["(", "abc", "((1", "nan", ""])

    def lex_bound(self):
        return self.pick(["-", "+", "[a", "(a", "[c", "(c", "[m", "[", "(", "[zz"]) if self.maybe(0.95) else self.pick(["a", "", "--", "+a"])

    def pattern(self):
        return self.pick(["*", "a*", "?", "[a-c]", "m*", "nothing", "member:1*"])


def limit(s):
    return s.pick([[], [], ["LIMIT", s.index(), s.index()], ["LIMIT", "0", "3"], ["LIMIT", "1"]])


def zadd(s):
    options = [option for option in ("NX", "XX", "GT", "LT", "CH") if s.maybe(0.12)]
    if s.maybe(0.1):
        return ["ZADD", s.key(), *options, "INCR", s.score(), s.member()]
    return ["ZADD", s.key(), *options, *s.scored()]


def zrange(s, name="ZRANGE", head=None):
    how = s.pick(["rank", "score", "lex"])
    key = LEX_KEY if how == "lex" else s.key()
    bounds = {"rank": [s.index(), s.index()], "score": [s.score_bound(), s.score_bound()], "lex": [s.lex_bound(), s.lex_bound()]}[how]
    options = {"rank": [], "score": ["BYSCORE"], "lex": ["BYLEX"]}[how]
    if s.maybe(0.3):
        options.append("REV")
    options += limit(s)
    if name == "ZRANGE" and s.maybe(0.4):
        options.append("WITHSCORES")
    return [name, *(head or []), key, *bounds, *options]


def counted(s, most=3):
    keys = s.keys(most)
    number = str(len(keys)) if s.maybe(0.95) else s.pick(["0", "-1", "abc", "100"])
    return [number, *keys]


def zoperation(name, stores, weighs=True):
    def production(s):
        options = []
        if weighs and s.maybe(0.3):
            options += ["WEIGHTS", *[s.score() for _ in range(s.random.randint(1, 3))]]
        if weighs and s.maybe(0.3):
            options += ["AGGREGATE", s.pick(["SUM", "MIN", "MAX", "max", "AVG"])]
        if not stores and s.maybe(0.5):
            options += ["WITHSCORES"]
        return [name, *([s.key()] if stores else []), *counted(s), *options]
    return production


def simple(name, *arguments):
    def production(s):
        words = [name]
        for argument in arguments:
            word = argument(s) if callable(argument) else argument
            words += word if isinstance(word, list) else [word]
        return words
    return production


def options(*choices):
    return lambda s: [word(s) if callable(word) else word for word in s.pick([[], *choices])]


def scan(name):
    return lambda s: [name, s.key(), "0", "COUNT", "100000", *s.pick([[], ["MATCH", s.pattern()], ["COUNT", "0"], ["NO"]])]


K, M, S, I, C = Collector.key, Collector.member, Collector.score, Collector.index, Collector.count
MS, SIDE = Collector.members, lambda s: s.pick(["LEFT", "RIGHT", "left", "Right"] if s.maybe(0.97) else ["UP"])
KS = lambda s: s.keys(3)
SCORE_BOUND, LEX_BOUND = Collector.score_bound, Collector.lex_bound
WITHSCORES = options(["WITHSCORES"])

# (weight, production), by kind.
LISTS = [
    (6, simple("LPUSH", K, MS)), (6, simple("RPUSH", K, MS)), (1, simple("LPUSHX", K, MS)), (1, simple("RPUSHX", K, MS)),
    (3, simple("LPOP", K, options([C]))), (3, simple("RPOP", K, options([C]))), (2, simple("LLEN", K)), (3, simple("LINDEX", K, I)),
    (3, simple("LSET", K, I, M)), (5, simple("LRANGE", K, I, I)), (3, simple("LREM", K, I, M)), (2, simple("LTRIM", K, I, I)),
    (3, simple("LINSERT", K, lambda s: s.pick(["BEFORE", "AFTER", "after", "IN"]), M, M)),
    (3, simple("LPOS", K, M, options(["RANK", I], ["COUNT", C], ["MAXLEN", C], ["RANK", I, "COUNT", C], ["RANK"]))),
    (3, simple("LMOVE", K, K, SIDE, SIDE)), (2, simple("RPOPLPUSH", K, K)),
    (2, simple("LMPOP", counted, SIDE, options(["COUNT", C]))),
]
SETS = [
    (7, simple("SADD", K, MS)), (3, simple("SREM", K, MS)), (2, simple("SCARD", K)), (3, simple("SISMEMBER", K, M)),
    (2, simple("SMISMEMBER", K, MS)), (3, simple("SMEMBERS", K)), (2, simple("SMOVE", K, K, M)), (1, simple("SPOP", K, "100000")),
    (1, simple("SPOP", K, lambda s: s.pick(["0", "-1", "abc"]))), (1, simple("SRANDMEMBER", K, lambda s: s.pick(["0", "100000", "abc"]))),
    (2, simple("SINTER", KS)), (2, simple("SUNION", KS)), (2, simple("SDIFF", KS)), (2, simple("SINTERSTORE", K, KS)),
    (2, simple("SUNIONSTORE", K, KS)), (2, simple("SDIFFSTORE", K, KS)), (2, simple("SINTERCARD", counted, options(["LIMIT", C]))), (2, scan("SSCAN")),
]
HASHES = [
    (7, lambda s: ["HSET", s.key(), *s.pairs_of(Collector.member)]), (1, lambda s: ["HMSET", s.key(), *s.pairs_of(Collector.member)]),
    (2, simple("HSETNX", K, M, M)), (4, simple("HGET", K, M)), (3, simple("HMGET", K, MS)), (3, simple("HGETALL", K)), (1, simple("HKEYS", K)),
    (1, simple("HVALS", K)), (2, simple("HLEN", K)), (2, simple("HEXISTS", K, M)), (3, simple("HDEL", K, MS)), (1, simple("HSTRLEN", K, M)),
    (3, simple("HINCRBY", K, M, Speaker.integer)), (3, simple("HINCRBYFLOAT", K, M, lambda s: s.pick(FLOATS))), (2, scan("HSCAN")),
    (1, simple("HRANDFIELD", K, lambda s: s.pick(["0", "100000", "abc"]), options(["WITHVALUES"], ["NO"]))),
]
SORTED_SETS = [
    (9, zadd), (4, lambda s: ["ZADD", LEX_KEY, *[word for member in s.members() for word in ("0", member)]]), (3, simple("ZINCRBY", K, S, M)), (3, simple("ZREM", K, MS)), (3, simple("ZSCORE", K, M)), (2, simple("ZMSCORE", K, MS)), (1, simple("ZCARD", K)),
    (2, simple("ZCOUNT", K, SCORE_BOUND, SCORE_BOUND)), (2, simple("ZLEXCOUNT", LEX_KEY, LEX_BOUND, LEX_BOUND)), (2, simple("ZRANK", K, M)), (2, simple("ZREVRANK", K, M)),
    (6, zrange), (2, lambda s: zrange(s, "ZRANGESTORE", [s.key()])), (2, simple("ZREVRANGE", K, I, I, WITHSCORES)),
    (2, lambda s: ["ZRANGEBYSCORE", s.key(), s.score_bound(), s.score_bound(), *s.pick([[], ["WITHSCORES"]]), *limit(s)]),
    (2, lambda s: ["ZREVRANGEBYSCORE", s.key(), s.score_bound(), s.score_bound(), *s.pick([[], ["WITHSCORES"]]), *limit(s)]),
    (1, lambda s: ["ZRANGEBYLEX", LEX_KEY, s.lex_bound(), s.lex_bound(), *limit(s)]), (1, lambda s: ["ZREVRANGEBYLEX", LEX_KEY, s.lex_bound(), s.lex_bound(), *limit(s)]),
    (2, simple("ZPOPMIN", K, options([C]))), (2, simple("ZPOPMAX", K, options([C]))),
    (2, simple("ZMPOP", counted, lambda s: s.pick(["MIN", "MAX", "min", "MID"]), options(["COUNT", C]))),
    (1, simple("ZREMRANGEBYRANK", K, I, I)), (1, simple("ZREMRANGEBYSCORE", K, SCORE_BOUND, SCORE_BOUND)), (1, simple("ZREMRANGEBYLEX", LEX_KEY, LEX_BOUND, LEX_BOUND)),
    (2, zoperation("ZUNION", False)), (2, zoperation("ZINTER", False)), (1, zoperation("ZDIFF", False, False)), (2, zoperation("ZUNIONSTORE", True)),
    (2, zoperation("ZINTERSTORE", True)), (1, zoperation("ZDIFFSTORE", True, False)), (1, simple("ZINTERCARD", counted, options(["LIMIT", C]))), (2, scan("ZSCAN")),
    (1, simple("ZRANDMEMBER", K, lambda s: s.pick(["0", "100000", "abc"]), options(["WITHSCORES"], ["NO"]))),
]
ANY = [
    (2, simple("DEL", KS)), (1, simple("UNLINK", KS)), (2, simple("TYPE", K)), (2, simple("OBJECT", "ENCODING", K)), (2, simple("RENAME", K, K)),
    (2, simple("COPY", K, K, options(["REPLACE"]))), (1, simple("PEXPIREAT", K, lambda s: s.pick(["1", "4100000000000"]))), (1, simple("PERSIST", K)),
    (1, simple("EXISTS", KS)), (1, simple("SET", "string", M)), (1, simple("GET", K)), (1, simple("APPEND", K, "x")), (1, simple("DUMP", lambda s: "nothing")),
    (1, simple("SCAN", "0", "COUNT", "1000", "TYPE", lambda s: s.pick(["list", "set", "zset", "hash", "string"]))),
]
KINDS = {"list": LISTS, "set": SETS, "hash": HASHES, "zset": SORTED_SETS}
QUESTIONS = [["LRANGE", "0", "-1"], ["SMEMBERS"], ["HGETALL"], ["ZRANGE", "0", "-1", "WITHSCORES"]]


def sequence(random, length):
    """`length` commands, mostly on one kind, then questions that show the whole state they left."""
    s = Collector(random)
    mostly = s.pick(list(KINDS.values()))
    everything = [production for productions in KINDS.values() for production in productions] + ANY
    words = [["FLUSHALL"]]
    for _ in range(length):
        productions = mostly if s.maybe(0.6) else everything
        chosen = s.random.choices([production for _, production in productions], [weight for weight, _ in productions])[0](s)
        chosen = mutate(s, chosen) if s.maybe(0.05) and LEX_KEY not in chosen else chosen
        if chosen[0].upper() in ("SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER") and not ({"100000", "0", "-1", "abc"} & set(chosen[2:3])):
            continue
        words.append([PLAINER.get(word, word) if isinstance(word, str) else word for word in chosen])
    words += [["DBSIZE"]]
    words += [[question[0], key, *question[1:]] for key in [*KEYS, LEX_KEY] for question in QUESTIONS] + [["PEXPIRETIME", key] for key in KEYS]
    return [[word if isinstance(word, bytes) else word.encode("latin-1") for word in command] for command in words]
