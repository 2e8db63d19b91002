"""redis-py against a server on $PORT: every command of the caching tier, on RESP2 and RESP3, text and bytes, pipelined.

    PORT=6379 python ci/conformance/clients/redis_py.py

Written as an application would use the client: what matters is what the library makes of the replies.
"""

import asyncio
import os
import sys
import threading
import time
import warnings

import redis
import redis.asyncio

PORT = int(os.environ["PORT"])
CHECKS = []
warnings.simplefilter("ignore", DeprecationWarning)


def check(function):
    CHECKS.append(function)
    return function


@check
def strings(r):
    assert r.set("s", "hello") is True
    assert r.get("s") == b"hello"
    assert r.get("nothing") is None
    assert r.set("s", "x", nx=True) is None
    assert r.set("n", "x", xx=True) is None
    assert r.set("s", "world", get=True) == b"hello"
    assert r.set("s", "x", ex=100, get=True) == b"world" and 95 <= r.ttl("s") <= 100
    assert r.set("s", "y", keepttl=True) and r.ttl("s") > 0
    assert r.set("s", "z") and r.ttl("s") == -1
    assert r.setex("s", 50, "a") and r.psetex("s", 50_000, "b") and 45_000 < r.pttl("s") <= 50_000
    assert r.setnx("s", "c") is False or r.setnx("s", "c") == 0
    assert r.getset("s", "d") == b"b"
    assert r.getdel("s") == b"d" and r.exists("s") == 0
    assert r.append("s", "abc") == 3 and r.append("s", "def") == 6 and r.strlen("s") == 6
    assert r.setrange("s", 2, "ZZ") == 6 and r.getrange("s", 0, -1) == b"abZZef" and r.substr("s", 1, 2) == b"bZ"
    assert r.mset({"a": 1, "b": 2}) is True and r.mget("a", "b", "nothing") == [b"1", b"2", None]
    assert not r.msetnx({"b": 3, "c": 4}) and r.exists("c") == 0
    assert r.getex("a", ex=10) == b"1" and r.ttl("a") > 5
    assert r.getex("a", persist=True) == b"1" and r.ttl("a") == -1
    r.mset({"x": "ohmytext", "y": "mynewtext"})
    assert r.lcs("x", "y") == b"mytext" and r.lcs("x", "y", len=True) == 6
    found = r.lcs("x", "y", idx=True, withmatchlen=True)
    found = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2]))
    assert found[b"len"] == 6 and found[b"matches"][0] == [[4, 7], [5, 8], 4], found


@check
def large_and_binary_values(r):
    value = bytes(range(256)) * 4096 * 8
    r.set("large", value)
    assert r.get("large") == value and r.strlen("large") == len(value)
    assert r.getrange("large", 1_000_000, 1_000_009) == value[1_000_000:1_000_010]
    key = bytes(range(256))
    r.set(key, b"")
    assert r.get(key) == b"" and r.exists(key) == 1
    r.set("", "empty key")
    assert r.get("") == b"empty key"


@check
def counters(r):
    assert r.incr("n") == 1 and r.incrby("n", 10) == 11 and r.decr("n") == 10 and r.decrby("n", 3) == 7
    assert abs(float(r.incrbyfloat("n", 0.5)) - 7.5) < 1e-9 and r.get("n") == b"7.5"
    assert r.get("n") == b"7.5"
    r.set("n", 9223372036854775807)
    refused(r.incr, "n", text="increment or decrement would overflow")
    r.set("n", "abc")
    refused(r.incr, "n", text="value is not an integer or out of range")
    refused(r.incrbyfloat, "n", 1, text="value is not a valid float")


@check
def bitmaps(r):
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1 and r.get("b") == b"\x01"
    r.set("b", "foobar")
    assert r.bitcount("b") == 26 and r.bitcount("b", 0, 0) == 4 and r.bitcount("b", 5, 30, "BIT") == 17
    r.set("p", b"\x00\xff\xf0")
    assert r.bitpos("p", 1) == 8 and r.bitpos("p", 1, 2) == 16 and r.bitpos("p", 1, 7, 15, "BIT") == 8
    r.mset({"{t}1": "abc", "{t}2": "abd"})
    assert r.bitop("AND", "{t}d", "{t}1", "{t}2") == 3 and r.get("{t}d") == b"ab`"
    assert r.bitop("NOT", "{t}d", "{t}1") == 3
    assert r.bitfield("f").set("u8", 0, 255).get("u8", 0).incrby("u8", 0, 1).execute() == [0, 255, 0]
    assert r.bitfield("f", default_overflow="FAIL").set("u8", 0, 255).incrby("u8", 0, 1).execute() == [0, None]
    assert r.bitfield_ro("f", "u8", 0) == [255]


@check
def keys_and_expiry(r):
    r.mset({f"k{number}": number for number in range(10)})
    assert r.dbsize() == 10 and sorted(r.keys("k[0-4]")) == [b"k%d" % number for number in range(5)]
    assert r.exists("k0", "k1", "nothing", "k0") == 3 and r.touch("k0", "k1", "nothing") == 2
    assert r.delete("k0", "nothing") == 1 and r.unlink("k1", "k2") == 2
    assert r.type("k3") == b"string" and r.type("k0") == b"none"
    assert r.rename("k3", "moved") and r.get("moved") == b"3"
    refused(r.rename, "nothing", "x", text="no such key")
    assert r.renamenx("k4", "k5") in (False, 0)
    assert r.copy("k5", "copied") and r.get("copied") == b"5" and not r.copy("k5", "copied") and r.copy("k6", "copied", replace=True)
    assert r.randomkey() in set(r.keys())
    assert set(r.scan_iter(match="k*", count=3)) == set(r.keys("k*")) and set(r.scan_iter(_type="string")) == set(r.keys())
    assert r.expire("k5", 100) and 95 < r.ttl("k5") <= 100 and r.persist("k5") and r.ttl("k5") == -1 and r.ttl("nothing") == -2
    assert r.pexpire("k5", 100_000) and r.expireat("k5", int(time.time()) + 200) and 195 < r.ttl("k5") <= 200
    assert r.pexpireat("k5", 4_000_000_000_123) and r.pexpiretime("k5") == 4_000_000_000_123 and r.expiretime("k5") == 4_000_000_000
    assert not r.expire("k5", 5, nx=True) and not r.expire("k5", 9_000_000_000, lt=True) and r.expire("k5", 5, lt=True)
    assert r.expire("k5", -1) and r.exists("k5") == 0
    assert r.object("encoding", "k6") == b"int" and r.object("refcount", "k6") >= 1
    assert r.flushdb() and r.dbsize() == 0 and r.flushall(asynchronous=True)


@check
def expired_is_never_served(r):
    """Polled until it is gone: it must be there before its time, and never after."""
    for number in range(50):
        r.set(f"e{number}", "v", px=30 + number)
    start = time.monotonic()
    r.set("edge", "v", px=200)
    while r.get("edge") is not None:
        assert time.monotonic() - start < 2.0, "still served two seconds after its time"
    assert time.monotonic() - start >= 0.195, "gone before its time"
    assert r.pttl("edge") == -2 and r.exists("edge") == 0 and not any(r.mget([f"e{number}" for number in range(50)]))


@check
def dump_and_restore(r):
    for value in (b"", b"hello", b"12345", b"-1", b"x" * 5000, bytes(range(256)) * 20):
        r.set("d", value)
        payload = r.dump("d")
        assert r.restore("d2", 0, payload, replace=True) and r.get("d2") == value
    r.delete("d2")
    assert r.restore("d2", 100_000, payload) and r.pttl("d2") > 90_000
    refused(r.restore, "d2", 0, payload, text="BUSYKEY Target key name already exists.")
    broken = payload[:5] + bytes([payload[5] ^ 1]) + payload[6:]
    refused(r.restore, "d3", 0, broken, text="DUMP payload version or checksum are wrong")


@check
def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for number in range(2000):
        pipe.set(f"p{number}", number)
        pipe.get(f"p{number}")
    replies = pipe.execute()
    assert replies == [each for number in range(2000) for each in (True, b"%d" % number)]
    pipe = r.pipeline(transaction=False)
    pipe.set("a", "x").incr("a").get("a")
    replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == b"x"


@check
def databases(r):
    other = redis.Redis(port=PORT, db=1, protocol=r.connection_pool.connection_kwargs["protocol"])
    other.set("only here", 1)
    assert r.get("only here") is None and other.get("only here") == b"1"
    other.flushdb()
    other.close()


@check
def connection_commands(r):
    assert r.ping() and r.echo("x") == b"x"
    assert r.client_id() > 0 and r.client_setname("tester") and r.client_getname() in ("tester", b"tester")
    mine = [client for client in r.client_list() if client["name"] == "tester"]
    assert len(mine) == 1 and mine[0]["addr"].startswith("127.0.0.1:") and "cmd" in mine[0], mine
    information = r.client_info()
    assert int(information["id"]) == r.client_id()
    assert isinstance(r.time()[0], int) and r.dbsize() == 0
    assert r.client_no_evict("ON") in (b"OK", "OK", True)
    assert r.client_pause(1) and r.client_unpause()
    # RESET falls back to RESP2, which the library does not know; so on a connection of its own.
    with redis.Redis(port=PORT, single_connection_client=True) as other:
        assert other.execute_command("RESET") in (b"RESET", "RESET")


@check
def server_commands(r):
    information = r.info()
    for name in ("redis_version", "run_id", "tcp_port", "process_id", "uptime_in_seconds", "redis_mode", "connected_clients", "used_memory", "used_memory_rss",
                 "maxmemory", "maxmemory_policy", "total_connections_received", "total_commands_processed", "keyspace_hits", "keyspace_misses",
                 "expired_keys", "evicted_keys", "role", "connected_slaves", "used_cpu_sys", "loading"):
        assert name in information, f"INFO lacks {name}"
    assert information["role"] == "master" and information["loading"] == 0
    assert "redis_version" in r.info("server") and "used_memory" not in r.info("server")
    assert r.config_get("maxmemory-policy")["maxmemory-policy"] and "databases" in r.config_get("databases")
    before = r.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    assert r.config_set("slowlog-log-slower-than", 10000) and r.config_set("slowlog-log-slower-than", before)
    assert r.config_resetstat()
    refused(r.config_set, "no-such-setting", 1, text="Unknown")
    commands = r.command()
    assert commands["get"]["arity"] == 2 and "readonly" in commands["get"]["flags"] and r.command_count() >= 90
    assert [text(key) for key in r.command_getkeys("MSET", "a", 1, "b", 2)] == ["a", "b"]
    assert "get" in [text(name) for name in r.command_list()]
    assert r.slowlog_len() >= 0 and isinstance(r.slowlog_get(10), list) and r.slowlog_reset()
    assert r.latency_latest() == [] or isinstance(r.latency_latest(), list)
    r.set("m", "x" * 1000)
    assert 1000 <= r.memory_usage("m") <= 3000 and r.memory_usage("nothing") is None
    assert isinstance(r.memory_stats(), dict)
    assert r.module_list() == []
    assert r.lastsave() is not None or True
    assert r.wait(0, 10) == 0
    histogram = r.execute_command("LATENCY", "HISTOGRAM", "set")
    assert histogram is not None


@check
def monitor_sees_commands(r):
    ready, seen = threading.Event(), []

    def watch():
        with redis.Redis(port=PORT).monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                seen.append(command["command"])
                if "watched" in command["command"]:
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert ready.wait(5.0)
    r.set("watched", "1")
    watcher.join(5.0)
    assert any("SET watched 1" in command for command in seen), seen


@check
def errors(r):
    refused(r.execute_command, "NOSUCH", "a", "b", text="unknown command 'NOSUCH', with args beginning with: 'a' 'b'")
    refused(r.execute_command, "GET", text="wrong number of arguments for 'get' command")
    refused(r.execute_command, "CLIENT", "NOPE", text="unknown subcommand 'NOPE'. Try CLIENT HELP.")
    refused(r.execute_command, "SET", "a", "b", "EX", "0", text="invalid expire time in 'set' command")
    refused(r.execute_command, "SET", "a", "b", "NX", "XX", text="syntax error")
    refused(r.execute_command, "SELECT", "9999", text="DB index is out of range")


@check
def asynchronous(r):
    async def talk():
        client = redis.asyncio.Redis(port=PORT, protocol=r.connection_pool.connection_kwargs["protocol"], max_connections=500)
        await asyncio.gather(*[client.set(f"async{number}", number) for number in range(200)])
        values = await asyncio.gather(*[client.get(f"async{number}") for number in range(200)])
        await client.aclose()
        return values

    assert asyncio.run(talk()) == [b"%d" % number for number in range(200)]


@check
def many_threads(r):
    """A hundred threads count to the same number through a pool."""
    def count():
        for _ in range(50):
            r.incr("together")

    threads = [threading.Thread(target=count) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("together") == b"2000"


def text(word):
    return word.decode() if isinstance(word, bytes) else word


def refused(function, *arguments, text):
    try:
        reply = function(*arguments)
    except redis.RedisError as cause:
        # The library takes `ERR` off, and maps some prefixes to exceptions of their own.
        assert text.split(" ", 1)[-1] in str(cause), f"refused with {cause!r}, wanted {text!r}"
        return
    raise AssertionError(f"not refused: {reply!r}, wanted {text!r}")


def main():
    skipped = set(os.environ.get("SKIP", "").split(","))
    failed = 0
    for protocol in (2, 3):
        r = redis.Redis(port=PORT, protocol=protocol)
        for function in CHECKS:
            if function.__name__ in skipped:
                continue
            r.flushall()
            try:
                function(r)
            except Exception as cause:  # Whatever the library makes of a reply it does not understand.
                failed += 1
                line = cause.__traceback__.tb_next
                print(f"FAIL  redis-py RESP{protocol} {function.__name__}, line {line.tb_lineno if line else '?'}: {type(cause).__name__} {cause}")
                r.close()
                r = redis.Redis(port=PORT, protocol=protocol)
        r.close()
    print(f"redis-py {redis.__version__}: {2 * len(CHECKS) - failed} of {2 * len(CHECKS)} checks hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
