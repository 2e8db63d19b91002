"""Clients that remember what a server said to them, and what it may have forgotten after a crash.

Every key has a history that is a pure function of a number: what it holds after its n-th write. So a witness keeps two numbers
a key, how many writes were sent and how many acknowledged, and whatever is found later must be the state after a number between
what the level of durability promises and what was sent. Values seen by readers bind as much as acknowledgements do.
"""

import collections
import random
import threading
import time
import zlib

from judge import resp

# Clocks of one machine; a deadline this near says nothing.
CLOCK_SLACK_S = 0.2
# Acknowledgements older than this are told apart no longer than a period needs.
ACKS_KEPT_S = 10.0


class Level:
    """A rung of the ladder, as `--durability` takes it."""

    def __init__(self, text):
        self.text = text
        name, _, number = text.partition(":")
        self.name, self.number = name, int(number) if number else 0
        if name not in ("batch", "every", "periodic"):
            raise SystemExit(f"a witness cannot judge {text!r}: batch, every:N or periodic:MS")

    def surely(self, acks, seen, killed_at):
        """The number of a key's writes that must be there, of its acknowledgements and of what readers saw."""
        if self.name == "batch":
            return max(acks[-1][1] if acks else 0, seen)
        if self.name == "every":
            # Judged over all keys, see `Witness.judge`.
            return 0
        older = [number for at, number in acks if at < killed_at - self.number / 1000]
        return max(older, default=0)


class History:
    """One key's. Subclasses say what its n-th write is and what it holds then."""

    def __init__(self, key):
        self.key = key
        self.sent = 0
        self.acks = collections.deque()
        self.base = 0
        self.seen = 0

    def acknowledged(self, number, now):
        self.acks.append((now, number))
        # The newest of the old ones is still a lower bound.
        while len(self.acks) > 1 and self.acks[1][0] < now - ACKS_KEPT_S:
            self.acks.popleft()

    def acked(self):
        return self.acks[-1][1] if self.acks else self.base

    def question(self):
        """What to ask for all that it holds."""
        return ("GET", self.key)

    def possible(self, found, low, high):
        """The numbers of writes after which the key holds what was found, largest first."""
        return [number for number in range(high, low - 1, -1) if self.state(number) == found]

    def settle(self, number):
        """What was found is where the history goes on."""
        self.sent = self.base = number
        self.seen = min(self.seen, number)
        self.acks.clear()


class Overwritten(History):
    """SET, with values from a few bytes to more than a frame."""

    def command(self, number):
        return ("SET", self.key, self.state(number))

    def state(self, number):
        if number == 0:
            return None
        stamp = b"%d;" % number
        mixed = zlib.crc32(self.key + stamp)
        size = 400_000 if mixed % 997 == 0 else 20_000 if mixed % 61 == 0 else mixed % 600
        return stamp + bytes([97 + mixed % 26]) * size


class Counted(History):
    """INCR: replayed twice or not at all, it shows."""

    def command(self, _number):
        return ("INCR", self.key)

    def state(self, number):
        return b"%d" % number if number else None


class Appended(History):
    """APPEND, begun anew by SET now and then."""

    EVERY = 40

    def command(self, number):
        stamp = b"%d;" % number
        return ("APPEND", self.key, stamp) if number % self.EVERY else ("SET", self.key, stamp)

    def state(self, number):
        if number == 0:
            return None
        first = max(number - number % self.EVERY, 1)
        return b"".join(b"%d;" % each for each in range(first, number + 1))


class Flickering(History):
    """SET and DEL in turn."""

    def command(self, number):
        return ("SET", self.key, self.state(number)) if number % 2 else ("DEL", self.key)

    def state(self, number):
        return b"%d;here" % number if number % 2 else None


class Collected(History):
    """A collection that outgrows its record. What it holds names one write, or none of few."""

    def possible(self, found, low, high):
        return [number for number in self.candidates(found, high) if low <= number <= high and self.state(number) == self.read(found)]


class Pushed(Collected):
    """RPUSH, begun anew by DEL now and then."""

    EVERY = 1500

    def command(self, number):
        return ("RPUSH", self.key, b"%d;" % number * 4) if number % self.EVERY else ("DEL", self.key)

    def question(self):
        return ("LRANGE", self.key, 0, -1)

    def read(self, found):
        return found

    def candidates(self, found, high):
        return [int(found[-1].split(b";")[0])] if found else range(high - high % self.EVERY, -1, -self.EVERY)

    def state(self, number):
        return [b"%d;" % each * 4 for each in range(number - number % self.EVERY + 1, number + 1)]


class Fielded(Collected):
    """HSET, one field after the other and round again."""

    FIELDS = 700

    def command(self, number):
        return ("HSET", self.key, b"%d" % (number % self.FIELDS), b"%d" % number)

    def question(self):
        return ("HGETALL", self.key)

    def read(self, found):
        return {field: int(value) for field, value in zip(found[::2], found[1::2])}

    def candidates(self, found, _high):
        return [max(self.read(found).values(), default=0)]

    def state(self, number):
        return {b"%d" % (each % self.FIELDS): each for each in range(max(1, number - self.FIELDS + 1), number + 1)}


class Ranked(Fielded):
    """ZADD, the same."""

    def command(self, number):
        return ("ZADD", self.key, b"%d" % number, b"%d" % (number % self.FIELDS))

    def question(self):
        return ("ZRANGE", self.key, 0, -1, "WITHSCORES")


class Together:
    """Keys on every core that are always written at once, and a value that moves between two names."""

    COUNT = 6

    def __init__(self, name):
        self.keys = [b"together:%s:%d" % (name, index) for index in range(self.COUNT)]
        self.names = [b"moves:%s:%s" % (name, end) for end in (b"from", b"to")]
        self.written = Overwritten(b"together:" + name)
        self.moved = History(b"moves:" + name)
        self.moved.state = lambda number: None if number == 0 else (number + 1) % 2

    def write_command(self, number):
        value = b"%d;together" % number
        return ("MSET", *[part for key in self.keys for part in (key, value)])

    def move_command(self, number):
        if number == 1:
            return ("SET", self.names[0], b"traveller")
        return ("RENAME", self.names[number % 2], self.names[(number + 1) % 2])


class Sentinel:
    """A key with a deadline: gone after it, whatever happened between, and there before it."""

    def __init__(self, key, lives_s, asked_at):
        self.key, self.lives_s, self.asked_at, self.acked_at = key, lives_s, asked_at, None
        # A crash may take it back where the level allows that; then it is only looked for so that it does not come back.
        self.lost = False


class Witness:
    """All clients of one server over all its lives. `begin` and `end` enclose one life; `judge` comes first in the next."""

    def __init__(self, seed, level, writers=4, keys=24, collections=False):
        self.level = level
        self.chance = random.Random(seed)
        kinds = (Overwritten, Counted, Appended, Flickering) + ((Pushed, Fielded, Ranked) if collections else ())
        self.own = [[kinds[index % len(kinds)](b"own:%d:%d" % (writer, index)) for index in range(keys)] for writer in range(writers)]
        self.groups = [Together(b"%d" % index) for index in range(2)]
        self.sentinels = []
        self.complaints = []
        self.lost = 0
        self.acknowledged = 0
        self.threads = []
        self.over = threading.Event()
        self.sentinel_count = 0

    # One life.

    def begin(self, port):
        self.over.clear()
        work = [(self._write, histories) for histories in self.own] + [(self._write_together, group) for group in self.groups]
        work += [(self._set_sentinels, None), (self._read, None)]
        for target, argument in work:
            seed = self.chance.random()
            thread = threading.Thread(target=self._run, args=(target, port, argument, random.Random(seed)), daemon=True)
            thread.start()
            self.threads.append(thread)

    def end(self):
        """Call when the server is gone, or before it is asked to go."""
        self.over.set()
        for thread in self.threads:
            thread.join(20)
            if thread.is_alive():
                self.complaints.append("a client waits for a server that is gone")
        self.threads = []

    def _run(self, target, port, argument, chance):
        try:
            with resp.Client(port, timeout=15) as client:
                while not self.over.is_set():
                    target(client, argument, chance)
        except (OSError, resp.Closed):
            # The server went. What was sent may have happened; what was not acknowledged may not.
            pass

    def _write(self, client, histories, chance):
        batch = []
        for _ in range(chance.choice((1, 1, 4, 16, 32))):
            history = chance.choice(histories)
            history.sent += 1
            batch.append((history, history.sent, history.command(history.sent)))
        client.send(b"".join(resp.encode(command) for _, _, command in batch))
        for history, number, command in batch:
            self._acknowledge(client, history, number, command)

    def _acknowledge(self, client, history, number, command):
        reply = client.value()
        if isinstance(reply, resp.Error):
            self.complaints.append(f"{command[0]} was refused: {reply}")
            self.over.set()
            return
        history.acknowledged(number, time.monotonic())
        self.acknowledged += 1

    def _write_together(self, client, group, chance):
        history, command = (group.written, group.write_command) if chance.random() < 0.6 else (group.moved, group.move_command)
        history.sent += 1
        client.send(resp.encode(command(history.sent)))
        self._acknowledge(client, history, history.sent, command(history.sent))

    def _set_sentinels(self, client, _argument, chance):
        self.sentinel_count += 1
        lives_s = chance.choice((0.05, 0.3, 1.5, 1000.0))
        sentinel = Sentinel(b"sentinel:%d" % self.sentinel_count, lives_s, time.time())
        self.sentinels.append(sentinel)
        client.call("SET", sentinel.key, b"x", "PX", int(lives_s * 1000))
        sentinel.acked_at = time.time()
        time.sleep(0.005)

    def _read(self, client, _argument, chance):
        history = chance.choice(chance.choice(self.own))
        if isinstance(history, Collected):
            return
        found = client.call("GET", history.key)
        if not found:
            return
        # What it holds tells the number, for the kinds that count in it.
        if isinstance(history, (Overwritten, Appended)):
            history.seen = max(history.seen, int(found.rstrip(b";").split(b";")[-1] if isinstance(history, Appended) else found.split(b";")[0]))
        elif isinstance(history, Counted):
            history.seen = max(history.seen, int(found))

    # What is left.

    def judge(self, port, killed_at, cores, orderly=False):
        """Looks at everything; complains about what cannot be. Histories go on from what was found."""
        killed_at = min(killed_at, self._heard_until())
        with resp.Client(port, timeout=15) as client:
            lost = sum(self._judge_key(client, history, killed_at, orderly) for histories in self.own for history in histories)
            lost += sum(self._judge_group(client, group, killed_at, orderly) for group in self.groups)
            self._judge_sentinels(client, orderly)
            self._judge_strangers(client)
        allowed = (self.level.number - 1) * cores if self.level.name == "every" else None
        if allowed is not None and lost > allowed and not orderly:
            self.complaints.append(f"{lost} acknowledged writes are gone, where {self.level.text} on {cores} cores allows {allowed}")
        self.lost += lost

    def _heard_until(self):
        """Until when every writer was answered. A core whose disk stalls, or that has no turn, acknowledges for no more than the
        period and then lets its clients wait: what a crash takes back was acknowledged within a period of that moment, however
        much later the crash comes. Usually it is the crash, give or take a request."""
        writers = [*self.own, *([group.written, group.moved] for group in self.groups)]
        return min(max((history.acks[-1][0] for history in histories if history.acks), default=0.0) for histories in writers)

    def _judge_key(self, client, history, killed_at, orderly):
        return self._judge_found(history, client.call(*history.question()), killed_at, orderly)

    def _judge_found(self, history, found, killed_at, orderly):
        acked, sent = history.acked(), history.sent
        surely = max(history.base, acked if orderly else self.level.surely(history.acks, history.seen, killed_at))
        possible = history.possible(found, 0, sent)
        within = [number for number in possible if surely <= number]
        if not within:
            where = f"after write {possible[0]}" if possible else "after no write"
            shown = found[:60] if isinstance(found, (bytes, list)) else found
            self.complaints.append(
                f"{history.key.decode()} holds {shown!r}, its state {where}; {sent} were sent, {acked} acknowledged, {surely} sure"
            )
        number = (within or possible or [sent])[0]
        history.settle(number)
        return max(0, acked - number)

    def _judge_group(self, client, group, killed_at, orderly):
        values = client.call("MGET", *group.keys)
        if len(set(values)) != 1:
            self.complaints.append(f"half of an MSET: {values!r}")
        number = 0 if values[0] is None else int(values[0].split(b";")[0])
        lost = self._judge_found(group.written, group.written.state(number), killed_at, orderly)
        ends = [index for index, value in enumerate(client.call("MGET", *group.names)) if value is not None]
        if len(ends) > 1 or (group.moved.base > 0 and not ends):
            self.complaints.append(f"{group.moved.key.decode()} is at {len(ends)} names after RENAME")
        return lost + self._judge_found(group.moved, ends[0] if ends else None, killed_at, orderly)

    def _judge_sentinels(self, client, orderly):
        kept = []
        for sentinel in self.sentinels:
            before = time.time()
            found = client.call("PEXPIRETIME", sentinel.key)
            if sentinel.acked_at is not None and before > sentinel.acked_at + sentinel.lives_s + CLOCK_SLACK_S and found != -2:
                self.complaints.append(f"{sentinel.key.decode()} is there {before - sentinel.acked_at - sentinel.lives_s:.3f} s after its deadline")
            certain = sentinel.acked_at is not None and not sentinel.lost and (orderly or self.level.name == "batch")
            if certain and time.time() < sentinel.asked_at + sentinel.lives_s - CLOCK_SLACK_S and found == -2:
                self.complaints.append(f"{sentinel.key.decode()} is gone before its deadline")
            if found > 0 and sentinel.acked_at is not None:
                deadline = found / 1000
                if not sentinel.asked_at - CLOCK_SLACK_S <= deadline - sentinel.lives_s <= sentinel.acked_at + CLOCK_SLACK_S:
                    self.complaints.append(f"{sentinel.key.decode()} has another deadline than it was given")
            sentinel.lost = sentinel.lost or found == -2
            if found != -2 or sentinel.lives_s < 1000:
                kept.append(sentinel)
        self.sentinels = kept[-400:]

    def _judge_strangers(self, client):
        known = {history.key for histories in self.own for history in histories}
        known.update(key for group in self.groups for key in group.keys + group.names)
        strangers = [key for key in client.call("KEYS", "*") if key not in known and not key.startswith(b"sentinel:")]
        if strangers:
            self.complaints.append(f"keys that nobody wrote: {strangers[:5]!r}")


def wait_loaded(port, server, seconds_max=60.0):
    """Until the server has its data in memory. Returns how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds_max:
        if not server.alive():
            raise SystemExit(f"the server ended with {server.process.returncode} while loading:\n{server.log()}")
        with resp.Client(port) as client:
            if resp.info(client, "persistence").get("loading") == "0":
                return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit(f"the server still loads after {seconds_max:.0f} s:\n{server.log()}")
