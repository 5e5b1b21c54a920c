"""What a history consists of, drawn from its seed alone: which writes when, and which faults meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MODULES = ("m0", "m1", "m2")
SUBJECTS = ("a", "b", "c", "d")
#: For how long writes and faults begin.
WINDOW_SECONDS = 1.2

#: Each fault, and how often it is drawn among the others.
KINDS = {
    "redis.kill": 3,  # kill -9; it comes back with what its file holds
    "redis.wipe": 2,  # kill -9, and it comes back empty
    "redis.cut": 2,  # kill -9, and the end of its file is lost
    "redis.freeze": 2,  # SIGSTOP, SIGCONT
    "redis.flush": 3,  # FLUSHALL
    "redis.full": 2,  # no memory
    "redis.disk": 2,  # its file cannot grow any more, as on a full disk
    "redis.scripts": 1,  # SCRIPT FLUSH
    "redis.clients": 2,  # every connection is closed by the server
    "stream.delete": 3,  # DEL of one stream
    "stream.trim": 3,  # XTRIM behind everyone's back
    "generation.delete": 1,  # DEL of the key that says whose streams these are
    "postgres.kill": 2,  # kill -9 of the postmaster
    "postgres.freeze": 1,  # SIGSTOP of all its processes
    "postgres.backends": 3,  # every session is ended, in mid-commit too
    "postgres.crowd": 1,  # no connection is left
    "postgres.restore": 1,  # its folder is set back to a copy of some moments ago
    "way.redis.cut": 2,  # refused and closed
    "way.redis.reset": 2,  # broken off as soon as something is said
    "way.redis.blackhole": 2,  # nothing comes through and nothing is said
    "way.redis.slow": 2,
    "way.postgres.cut": 2,
    "way.postgres.reset": 2,
    "way.postgres.blackhole": 1,
    "way.postgres.slow": 2,
    "cos.kill": 2,  # the process with the API, the relay and its share of the groups
    "cos.freeze": 2,
    "worker.kill": 4,  # a process with a standby relay and its share of the groups
    "worker.freeze": 3,
    "worker.stop": 2,  # in good order
    "clock.jump": 2,  # a process believes that it is another day
    "horizon": 2,  # a transaction that writes and stays open
    "reader.leave": 2,  # the reader of the live feed hangs up and comes back
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: when it begins and how long it lasts, in seconds from the beginning of the history."""

    at: float
    kind: str
    seconds: float
    which: int
    amount: float

    def __str__(self) -> str:
        return (
            f"{self.at:5.2f} s  {self.kind} for {self.seconds:.2f} s (which={self.which}, {self.amount:.2f})"
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """One event that a producer means to record."""

    token: str
    module: str
    subject: str
    poison: bool
    flaky: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Some events of a transaction; in a savepoint, which is kept or rolled back."""

    wishes: tuple[Wish, ...]
    savepoint: bool = False
    kept: bool = True
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Write:
    """One act of a producer, all or nothing but for its savepoints.

    Attributes:
        at: when it begins, in seconds.
        via: who does it: the recorder, a session, or HTTP.
        steps: what is written.
        commits: whether the session commits in the end.
        again: whether all of it is done a second time, with the same idempotency keys, after it was acknowledged.
        shares: whether the session works on a snapshot, and changes a row that others change too: it may be told that
            it cannot be serialized.
    """

    at: float
    via: str
    steps: tuple[Step, ...]
    commits: bool = True
    again: bool = False
    shares: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Everything that is done in one history."""

    number: int
    seed: int
    strikes: tuple[Strike, ...]
    writes: tuple[Write, ...]


def draw(seed: int, number: int, *, kinds: Sequence[str] = (), writes: int = 40) -> History:
    """Draw a history; the same seed and number give the same one.

    Args:
        seed: of the run.
        number: of the history in it.
        kinds: which faults there may be; all when none is named.
        writes: how many.
    """
    source = random.Random(f"{seed}:{number}")  # noqa: S311  (to be repeated, not to be secret)
    known = {kind: weight for kind, weight in KINDS.items() if not kinds or kind in kinds}
    strikes = sorted(
        (_strike(source, known) for _ in range(source.choice((1, 2, 2, 3, 3, 4)))), key=lambda one: one.at
    )
    tokens = iter(range(10_000))
    acts = sorted((_write(source, number, tokens) for _ in range(writes)), key=lambda one: one.at)
    return History(number, seed, tuple(strikes), tuple(acts))


def _strike(source: random.Random, known: dict[str, int]) -> Strike:
    kind = source.choices(list(known), weights=list(known.values()))[0]
    return Strike(
        at=round(source.uniform(0.0, WINDOW_SECONDS), 3),
        kind=kind,
        seconds=round(source.choice((0.05, 0.2, 0.5, 1.0)) * source.uniform(0.5, 1.5), 3),
        which=source.randrange(1000),
        amount=round(source.random(), 3),
    )


def _write(source: random.Random, number: int, tokens: object) -> Write:
    at = round(source.uniform(0.0, WINDOW_SECONDS), 3)
    via = source.choice(("recorder", "session", "session", "http"))
    again, shares = source.random() < 0.15, source.random() < 0.3
    if via != "session":
        step = Step(_wishes(source, number, tokens, source.choice((1, 1, 1, 3, 8))))
        return Write(at, via, (step,), again=again)
    steps = []
    for _ in range(source.choice((1, 1, 2, 4))):
        savepoint = source.random() < 0.4
        steps.append(
            Step(
                _wishes(source, number, tokens, source.choice((1, 1, 2, 3))),
                savepoint=savepoint,
                kept=not savepoint or source.random() < 0.5,
                pause=round(source.uniform(0.0, 0.3), 3) if source.random() < 0.15 else 0.0,
            )
        )
    commits = source.random() < 0.85
    return Write(at, via, tuple(steps), commits=commits, again=again and commits, shares=shares)


def _wishes(source: random.Random, number: int, tokens: object, count: int) -> tuple[Wish, ...]:
    module = source.choice(MODULES)
    return tuple(
        Wish(
            token=f"{number}.{next(tokens)}",  # type: ignore[call-overload]
            module=module if source.random() < 0.8 else source.choice(MODULES),
            subject=source.choice(SUBJECTS),
            poison=source.random() < 0.03,
            flaky=source.random() < 0.05,
        )
        for _ in range(count)
    )
