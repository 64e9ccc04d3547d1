"""Reads the body of an answer: one vector for each text, or what is wrong with it."""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import shown
from ..labels import enumerated
from .errors import Matrix, counted
from .output_types import FLOAT, OutputType
from .refusals import reason_in

_MOST_TOKENS = 1 << 40
"""Of a request, which no server can mean seriously."""


class MalformedAnswer(Exception):
    """An answer none of whose rows can be trusted.

    ``readable``: it is JSON at least. ``of_server``: fewer texts in a request cannot help.
    """

    readable, of_server = True, False


class Unreadable(MalformedAnswer):
    """A body that is not JSON."""

    readable = False


class WrongModel(MalformedAnswer):
    """An answer that is too long, or whose rows differ in width."""

    of_server = True


def parse(body: bytes, clean: Callable[[str], str] = str) -> dict[str, Any]:
    """The JSON object of an answer with embeddings; raises ``MalformedAnswer`` for any other body.

    ``clean`` removes secrets from the server's words.
    """
    try:
        # The client's own parser: several times faster than json on lists of numbers.
        from jiter import from_json as read
    except ImportError:
        from json import loads as read
    try:
        answer = read(body)
    except (ValueError, RecursionError):
        if body.lstrip()[:1] == b"<":
            raise Unreadable("a web page: is base_url right? It usually ends in /v1") from None
        raise Unreadable(f"JSON that is damaged or cut short, after {len(body)} bytes") from None
    if isinstance(answer, dict) and isinstance(answer.get("data"), list):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if error:
        reason = reason_in(body, clean) or shown(error)
        raise MalformedAnswer(f"with status 200 and an error: {reason}")
    raise MalformedAnswer("JSON that holds no list of embeddings: is base_url right? It usually ends in /v1")


def tokens(answer: dict[str, Any]) -> int:
    """The number of tokens that the server reports, 0 if it reports none that there could be."""
    usage = answer.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and 0 < count < _MOST_TOKENS else 0


def in_order(answer: dict[str, Any], count: int) -> list[Any]:
    """The embeddings, undecoded, in the order of the texts; raises if the order is in doubt.

    A wrong count puts every index in doubt: a server that drops a text may renumber the others.
    """
    data: list[Any] = answer["data"]
    if len(data) != count:
        raise MalformedAnswer(f"{len(data)} embeddings for {counted(count)}")
    if not all(isinstance(item, dict) for item in data):
        raise MalformedAnswer("JSON whose data are not objects")
    ordered: list[Any] = [None] * count
    seen = [False] * count
    for index, item in zip(_indices(data), data, strict=True):
        if type(index) is not int or not 0 <= index < count:
            raise MalformedAnswer(f"an embedding with index {shown(index)}, to {counted(count)}")
        if seen[index]:
            raise MalformedAnswer(f"two embeddings with index {index}")
        seen[index] = True
        ordered[index] = item.get("embedding")
    return ordered


def _indices(data: list[Any]) -> list[Any]:
    """The index of each embedding; a missing one (some servers leave out 0) or null is filled in.

    A single missing index is the one that is free. If several are missing, the embeddings must be in order,
    as far as the other indices show.
    """
    indices = [item.get("index") for item in data]
    missing = [place for place, index in enumerate(indices) if index is None]
    if len(missing) == 1:
        free = set(range(len(data))).difference(index for index in indices if type(index) is int)
        if len(free) == 1:
            indices[missing[0]] = free.pop()
            return indices
    if any(index is not None and index != place for place, index in enumerate(indices)):
        if missing:
            raise MalformedAnswer(f"{len(missing)} embeddings without an index, and others out of order")
        return indices
    return [place if index is None else index for place, index in enumerate(indices)]


def decode(
    embeddings: list[Any], widths: frozenset[int], kind: OutputType = FLOAT
) -> tuple[list[Matrix | None], str]:
    """A vector for each embedding, all of one width, or None if it is bad; and the first fault.

    ``widths`` are those allowed; while none is known, all vectors must have the same width.
    """
    vectors: list[Matrix | None] = [_vector(embedding, kind) for embedding in embeddings]
    sizes = {vector.size for vector in vectors if vector is not None}
    if not widths and len(sizes) > 1:
        some = enumerated(map(str, sorted(sizes)), len(sizes))
        raise WrongModel(f"embeddings of different widths: {some}")
    width = max(sizes & widths, default=0) if widths else max(sizes, default=0)
    fault = ""
    for number, vector in enumerate(vectors):
        problem = _problem(vector, width, widths, kind)
        if problem:
            vectors[number] = None
            fault = fault or problem
    return vectors, fault


def _problem(vector: Matrix | None, width: int, widths: frozenset[int], kind: OutputType) -> str:
    if vector is None or not vector.size:
        return f"an embedding that is {kind.described()}"
    if vector.size != width:
        return f"an embedding of width {vector.size}, not {' or '.join(map(str, sorted(widths)))}"
    if not np.isfinite(vector).all():
        return "an embedding that holds NaN or infinity"
    if not vector.any():
        return "an embedding that is all zero"
    return ""


def _vector(embedding: Any, kind: OutputType) -> Matrix | None:
    try:
        if isinstance(embedding, str):
            return kind.row(np.frombuffer(binascii.a2b_base64(embedding, strict_mode=True), kind.sent))
        # Types are checked, because array would take True and False for 1 and 0.
        numbers = {float, int} if kind.is_float else {int}
        if isinstance(embedding, list) and set(map(type, embedding)) <= numbers:
            return kind.row(np.frombuffer(array(kind.code, embedding), kind.sent.newbyteorder("=")))
    except (ValueError, TypeError, OverflowError):
        return None  # ``_problem`` says what is wrong
    return None
