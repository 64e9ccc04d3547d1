"""What targets of fuzzing share: randomness, damage to bytes and JSON, and which errors are right.

A case is a function of a ``random.Random`` alone. So a seed says all about it, and a fuzzer that chooses
bytes (``FromBytes``) chooses every branch that the case takes.
"""

import copy
import dis
import json
import os
import random
import re
import struct
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastvec

PACKAGE = os.path.dirname(os.path.realpath(fastvec.__file__)) + os.sep
KERNELS = os.path.realpath(os.path.join(PACKAGE, "kernels")) + os.sep
_RAISES = {dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]}
_LONGEST_MESSAGE = 2_000


class Target(NamedTuple):
    """Something that reads bytes or arguments."""

    prepare: Callable[[Path], Any]
    """Makes valid input in an empty folder; what it returns is passed to every case."""
    case: Callable[[Any, random.Random], None]
    """Checks one case; raises AssertionError, or any other exception, for a fault."""
    cases: int
    """Cases in the suite."""


class FromBytes(random.Random):
    """Randomness that bytes determine: each choice takes the next of them."""

    def __new__(cls, data: bytes) -> "FromBytes":
        return super().__new__(cls)

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        super().__init__(0)

    def getrandbits(self, k: int) -> int:
        count = -(-k // 8)
        taken = self._data[self._at : self._at + count]
        self._at += count
        if not taken:
            return super().getrandbits(k)
        return int.from_bytes(taken, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / 65536


@contextmanager
def documented(*kinds: type[BaseException], naming: object = None):
    """In the ``with`` block, only errors of these kinds may be raised, and as fastvec raises its own.

    An error has one line, names what it is asked to name, and is raised by a ``raise`` of fastvec: an error
    that NumPy or Python happens to raise, because a value was not checked, is a fault. Exempt are errors of
    the system about files, and those of missing memory.
    """
    try:
        yield
    except kinds as error:
        if problem := _problem(error, naming):
            raise AssertionError(f"{problem}: {type(error).__name__}: {str(error)[:300]!r}") from error


def _problem(error: BaseException, naming: object) -> str:
    """What is wrong with an error of a right kind; empty if nothing is."""
    message = str(error)
    if type(error) is ZeroDivisionError:
        return ""  # of an object of a caller
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return ""
    if not message.strip() or "\n" in message or len(message) > _LONGEST_MESSAGE:
        return f"not one line that says something, but {len(message)} characters"
    if naming is not None and str(naming) not in message:
        return f"{naming} is not named"
    return "" if _raised_here(error) else "raised by accident"


def _raised_here(error: BaseException) -> bool:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    code, home = place.tb_frame.f_code, os.path.realpath(place.tb_frame.f_code.co_filename)
    here = home.startswith((PACKAGE, KERNELS))
    return here and code.co_code[place.tb_lasti] in _RAISES


def matrix(rng: random.Random, rows: int, dims: int) -> Any:
    """float32 rows with ties, zeros, equal rows, and values from tiny to huge."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    made = numbers.standard_normal((rows, dims)).astype(np.float32)
    kind = rng.randrange(6)
    if kind == 0:
        made = np.rint(made)
    elif kind == 1:
        made *= np.float32(2.0) ** numbers.integers(-100, 60, (rows, 1)).astype(np.float32)
    elif kind == 2 and rows:
        made[numbers.integers(0, rows, rows)] = made[0]
    elif kind == 3:
        made[numbers.random((rows, dims)) < 0.7] = 0
    return np.ascontiguousarray(made, np.float32)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays have the same shape, dtype and bits."""
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


_NUMBERS = (
    *(0, 1, 2, 3, 7, 63, 64, 65, 127, 128, 255, 256, 4095, 1 << 15, 1 << 16, 131_072, 131_073, 1 << 24),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 53) + 1, (1 << 63) - 1, 1 << 63),
    *((1 << 64) - 1, -1, -2, -(1 << 31), -(1 << 63)),
)
_TEXTS = (
    *("nan", "inf", "-inf", "1e999", "-0", "+1", ".5", "5.", "1e", "1e-400", "0x10", "1_0", "--1", "1e5e5"),
    *("9" * 18, "9" * 19, "9" * 40, "9" * 5000, "0" * 60 + "1", "1." + "0" * 60, "1" * 45 + "e-45", "٣"),
    *("", " ", "\t", "\r", "\n", "\r\n", "\n\n", "\0", "\ufeff", "\u00a0", "\u2028", "猫", "\x1a", '"', "\\"),
)


def hostile_bytes(rng: random.Random) -> bytes:
    """A few bytes that formats stumble over."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(_TEXTS).encode()
    if kind == 1:
        return str(rng.choice(_NUMBERS)).encode()
    if kind == 2:
        width = rng.choice((1, 2, 4, 8))
        return (rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, rng.choice(("little", "big")))
    if kind == 3:
        value = rng.choice((np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4e38, 1.0))
        return struct.pack("<f", value)
    return rng.randbytes(rng.randrange(1, 9))


def damaged(rng: random.Random, data: bytes, others: tuple[bytes, ...] = (), most: int = 1 << 18) -> bytes:
    """Bytes that are nearly valid: a few bits, numbers or passages are other ones."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        _DAMAGES[rng.randrange(len(_DAMAGES))](rng, made, others)
        del made[most:]
    return bytes(made)


def _span(rng: random.Random, made: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(made) + 1)
    length = rng.choice((1, 2, 4, 8, 16, 64, 500, len(made)))
    return start, min(len(made), start + length)


def _flip(rng, made, _):
    if made:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def _flip_early(rng, made, _):
    """Headers come first."""
    if made:
        made[rng.randrange(min(len(made), 160))] ^= 1 << rng.randrange(8)


def _flip_late(rng, made, _):
    """And directories last."""
    if made:
        made[-1 - rng.randrange(min(len(made), 400))] ^= 1 << rng.randrange(8)


def _cut(rng, made, _):
    del made[rng.randrange(len(made) + 1) :]


def _drop(rng, made, _):
    start, stop = _span(rng, made)
    del made[start:stop]


def _insert(rng, made, _):
    at = rng.randrange(len(made) + 1)
    made[at:at] = hostile_bytes(rng)


def _overwrite(rng, made, _):
    at, new = rng.randrange(len(made) + 1), hostile_bytes(rng)
    made[at : at + len(new)] = new


def _overwrite_early(rng, made, _):
    at, new = 4 * rng.randrange(min(len(made) // 4, 40) + 1), hostile_bytes(rng)
    made[at : at + len(new)] = new


def _repeat(rng, made, _):
    start, stop = _span(rng, made)
    piece = made[start:stop]
    made[stop:stop] = piece * min(rng.choice((1, 1, 2, 50, 5000)), (1 << 17) // max(1, len(piece)))


def _move(rng, made, _):
    start, stop = _span(rng, made)
    piece = bytes(made[start:stop])
    del made[start:stop]
    at = rng.randrange(len(made) + 1)
    made[at:at] = piece


def _splice(rng, made, others):
    if others:
        other = rng.choice(others)
        start, stop = _span(rng, bytearray(other))
        at, end = _span(rng, made)
        made[at : end if rng.random() < 0.5 else at] = other[start:stop]


def _number(rng, made, _):
    """Another number in digits."""
    places = [match.span() for match in re.finditer(rb"\d+", bytes(made[:65_536]))]
    if places:
        start, stop = rng.choice(places[:8] if rng.random() < 0.5 else places)
        made[start:stop] = rng.choice(_TEXTS[:22] + tuple(map(str, _NUMBERS))).encode()


_DAMAGES = (
    *(_flip, _flip_early, _flip_late, _cut, _drop, _insert, _overwrite, _overwrite_early),
    *(_repeat, _move, _splice, _number),
)

_NESTED = 990
_VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2.5,
        1e308,
        float("inf"),
        float("nan"),
        "",
        "a",
        "\ud800",
        "a\nb",
        "9" * 40,
    ),
    *([], {}, [[]], [None], {"a": 1}, *_NUMBERS, 10**30, 10**400, "x" * 5000, ["a"] * 500),
)


def hostile_value(rng: random.Random) -> Any:
    """A value that a reader of JSON may not expect."""
    if rng.random() < 0.05:
        nested: Any = 0
        for _ in range(rng.choice((50, 200, _NESTED - rng.randrange(200)))):
            nested = [nested] if rng.random() < 0.9 else {"a": nested}
        return nested
    return copy.deepcopy(rng.choice(_VALUES))


def damaged_json(rng: random.Random, value: Any) -> Any:
    """JSON, some of whose values are others, gone, or in another place."""
    value = _copy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return hostile_value(rng)
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, _copy(holder[key]))
        elif kind == 1:
            holder[rng.choice(("", "a", "sha256", key + "x"))] = holder[key]
        elif kind == 2:
            other, place = rng.choice(places)
            holder[key] = _copy(other[place]) if _has(other, place) else None
        elif kind == 3 and type(holder[key]) in (int, float):
            holder[key] += rng.choice((-1, 1, 64, -64))
        elif kind == 4 and isinstance(holder, list):
            rng.shuffle(holder)
        else:
            holder[key] = hostile_value(rng)
    return value


def _copy(value):
    try:
        return copy.deepcopy(value)
    except RecursionError:  # of a value that is nested as deeply as readers allow
        return None


def _has(holder, key):
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value, depth=0):
    """All (holder, key) in JSON, large lists only in part."""
    if depth > 12:
        return
    if isinstance(value, dict):
        items = list(value.items())[:60]
    elif isinstance(value, list):
        items = list(enumerate(value))[:12]
    else:
        return
    for key, one in items:
        yield value, key
        yield from _places(one, depth + 1)


def json_bytes(rng: random.Random, value: Any) -> bytes:
    """JSON as bytes, as different programs write it."""
    plain, indent = rng.random() < 0.7, rng.choice((None, None, 1))
    try:
        text = json.dumps(value, ensure_ascii=plain, indent=indent)
    except RecursionError:
        return b"[" * 5000
    return text.encode("utf-8", "surrogatepass")
