"""What is known about a server and its model, and what its answers are checked against."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvec._forks import ProcessLock
from fastvec.models import Model

from . import answers
from .cache import Cache
from .clients import SHORTEST_SECRET, Encoding
from .errors import Matrix, Usage, counted
from .job import Job
from .pace import Pace
from .sizes import Size, Sizes
from .texts import Batch

_SPARE_BYTES = 1 << 20  # of an answer, around its numbers
_NUMBER_BYTES = 40  # of a number as text, on an indented line of its own; in base64 it takes 5.4
_WIDEST = 1 << 15  # of a model whose width is not known
_UNKNOWN_BYTES = 1 << 29  # of its answers at most
# Texts refused in a row, each by itself, until a server is believed to refuse all: one that has never
# accepted any; any other; and what is added for each row received, up to a limit.
_NEVER, _IN_ROW, _IN_ROW_PER_ROW, _MOST_IN_ROW = 8, 64, 1 / 4, 512


@dataclass(frozen=True)
class Limits:
    """What the caller wants to be kept to."""

    max_retries: int = 2
    passing_retries: int = 2  # fewer for a client that asks again by itself
    patience: float = 120.0
    batch_size: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    encoding: Encoding | None = None


class Server:
    """What is known about a server and its model; learned from its answers, shared by all calls."""

    def __init__(
        self,
        model: Model,
        dims: int | None,
        where: str,
        name: str,
        key: str,
        limits: Limits,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.model = model
        self.where = where
        self.usage = Usage()
        self.max_retries, self.passing_retries = limits.max_retries, limits.passing_retries
        self.patience = limits.patience
        texts, tokens = model.max_texts_per_request, model.max_tokens_per_request
        texts = min(texts, limits.batch_size or texts)
        self.sizes = Sizes(Size(texts, min(tokens, int(limits.tokens_per_minute or tokens))))
        self.pace = Pace(limits.requests_per_minute, limits.tokens_per_minute)
        self.encoding: Encoding = limits.encoding or "base64"
        self._encoding_settled = limits.encoding is not None
        self.taken, self.busy, self.taken_at = (
            0,
            0,
            0.0,
        )  # answers, refusals of a busy server, the last answer
        self._refused_in_row = 0
        self._bounds, self._reported = 0, 0  # of answered texts: the bound of their tokens, and the tokens
        self._dims, self._native = dims, model.dims
        self._doubted = 0  # a width that seemed too small to be true
        self._key = key
        self._lock = ProcessLock()
        self.check_dims()
        asked = dims is not None and model.takes_dimensions and dims != model.dims
        self.extra: dict[str, Any] = {"dimensions": dims} if asked else {}
        shorter = dims if dims != model.dims else None
        self.cache = None if cache is None else Cache(cache, name, model.name, shorter)

    @property
    def width(self) -> int | None:
        """The width of the rows returned, None while it is unknown."""
        return self._dims or self._native

    def check_dims(self) -> None:
        """Raise if the model cannot give the width asked for."""
        if self._dims is not None and self._native is not None and self._dims > self._native:
            raise ValueError(
                f"dims={self._dims} is larger than the width {self._native} of model {self.model.name!r}"
            )

    def most_bytes(self, texts: int) -> int:
        """The longest answer to a request of so many texts: what is longer is not one."""
        widths = self._widths()
        if self._native is None:
            numbers = min(texts * _WIDEST * _NUMBER_BYTES, _UNKNOWN_BYTES)
        else:
            numbers = texts * max(widths) * _NUMBER_BYTES
        return numbers + _SPARE_BYTES

    def stored(self, digests: Sequence[bytes]) -> dict[bytes, Matrix]:
        """The rows that the cache has, if there is one."""
        if self.cache is None:
            return {}
        rows = self.cache.stored(digests, self.width)
        if rows and self.width is None:
            with self._lock:
                self._native = self._native or next(iter(rows.values())).size
        return {digest: row for digest, row in rows.items() if row.size == self.width}

    def accept(self, job: Job, part: Batch, body: bytes, encoding: Encoding) -> tuple[list[int], str]:
        """Place the good rows of an answer; return the numbers of the others, and what is wrong.

        Raises ``MalformedAnswer`` if none can be trusted.
        """
        self._count(requests=1)
        most = self.most_bytes(len(part))
        if len(body) > most:
            hint = "" if self._native else "; if it may be so wide, see fastvec.models.register"
            raise answers.WrongModel(f"more than {most:,} bytes for {counted(len(part))}{hint}")
        answer = answers.parse(body)
        reported = answers.tokens(answer)
        self._count(tokens=reported)
        vectors, fault = answers.decode(answers.in_order(answer, len(part)), self._widths())
        rows = self._learn([vector for vector in vectors if vector is not None])
        good = [number for number, vector in enumerate(vectors) if vector is not None]
        job.place([part.rows[number] for number in good], rows)
        if self.cache is not None:
            self.cache.keep([part.digests[number] for number in good], rows)
        if good:
            self._took(part, len(good), reported, encoding)
        return [number for number, vector in enumerate(vectors) if vector is None], fault

    def _took(self, part: Batch, good: int, reported: int, encoding: Encoding) -> None:
        self._count(texts=good)
        self.sizes.taken(Size(len(part), part.tokens))
        with self._lock:
            self.taken += 1
            self.taken_at = time.monotonic()
            self._refused_in_row = 0
            if not self._encoding_settled:
                self.encoding, self._encoding_settled = encoding, True
            if reported:
                self._bounds += part.tokens
                self._reported += reported

    @property
    def tokens_in_bound(self) -> float:
        """The tokens that the server counts, to one of the bound that is known before."""
        return min(1.0, self._reported / self._bounds) if self._bounds else 1.0

    def was_busy(self) -> None:
        """Count a refusal of a busy server."""
        with self._lock:
            self.busy += 1

    def doubt(self, asked_in: Encoding, worth_it: bool) -> bool:
        """Whether to ask again in "float" for what was refused; if nothing is known yet, if ``worth_it``."""
        with self._lock:
            if asked_in == "float" or self._encoding_settled:
                return asked_in != self.encoding == "float"  # another request has found out
            return worth_it and self._refused_in_row < _NEVER // 2

    def text_refused(self, count: int) -> int:
        """Count texts refused by themselves; return how many were in a row."""
        with self._lock:
            self._refused_in_row += count
            return self._refused_in_row if count else 0

    def most_refused(self, brought: int, stored: int, *, by_content: bool) -> int:
        """How many texts may be refused in a row, where so many others have rows, of now or of before.

        Where the server says each time that it is the request, as many as the others: when a job goes on,
        those that were refused before may be all that are left.
        """
        if not (self.taken or stored):
            return _NEVER
        if by_content:
            return _IN_ROW + brought + stored
        return min(_MOST_IN_ROW, _IN_ROW + int(brought * _IN_ROW_PER_ROW))

    def _widths(self) -> frozenset[int]:
        """The widths that an answer may have; empty while the native one is unknown.

        A server that leaves ``dimensions`` unheeded answers the native width, which is truncated here.
        """
        return frozenset(width for width in (self.extra.get("dimensions"), self._native) if width is not None)

    def _learn(self, vectors: list[Matrix]) -> list[Matrix]:
        """Vectors of one width as rows of the width asked for; the first answer tells the native one."""
        if not vectors:
            return vectors
        size = vectors[0].size
        with self._lock:
            if self._native is None:
                self._doubt_narrow(size)
                self._native = size
        self.check_dims()
        if size not in self._widths():  # another answer was first
            raise answers.MalformedAnswer(f"embeddings of width {size}, not {self._native}")
        if size == self.width:
            return vectors
        from fastvec.similarity import truncate

        assert self.width is not None
        return list(truncate(np.stack(vectors), self.width))

    def _doubt_narrow(self, size: int) -> None:
        """Believe that a model is narrower than the width asked for when two answers say so."""
        if self._dims is not None and size < self._dims and self._doubted != size:
            self._doubted = size
            raise answers.MalformedAnswer(f"embeddings of width {size}, fewer than dims={self._dims}")

    def forget_width(self) -> None:
        """What was learned may have been wrong itself."""
        self._native = self.model.dims

    def _count(self, *, requests: int = 0, texts: int = 0, tokens: int = 0) -> None:
        with self._lock:
            used = self.usage
            self.usage = Usage(used.requests + requests, used.texts + texts, used.tokens + tokens)

    def clean(self, message: str) -> str:
        """The message without the key."""
        return message.replace(self._key, "[API key]") if len(self._key) >= SHORTEST_SECRET else message
