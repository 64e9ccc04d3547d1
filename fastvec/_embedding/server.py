"""What is known about a server and its model; its answers are checked against it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvec._forks import ProcessLock
from fastvec.models import Model

from . import answers
from .cache import Cache
from .clients import Encoding
from .errors import Matrix, Usage, counted
from .job import Job
from .output_types import FLOAT, OutputType
from .pace import Pace
from .sizes import Size, Sizes
from .texts import Batch

_SPARE_BYTES = 1 << 20  # for the rest of an answer, besides its numbers
_NUMBER_BYTES = 40  # for a number as text on a separate indented line; in base64 it takes 5.4
_WIDEST = 1 << 15  # assumed for a model whose width is not known
_UNKNOWN_BYTES = 1 << 29  # limit for answers of such a model
# Single texts refused in a row after which a server is taken to refuse all: if it has never accepted a
# text; if it has; the number added for each row received; and the limit of the sum.
_NEVER, _IN_ROW, _IN_ROW_PER_ROW, _MOST_IN_ROW = 8, 64, 1 / 4, 512


@dataclass(frozen=True)
class Limits:
    """Limits that the caller sets."""

    max_retries: int = 2
    passing_retries: int = 2  # 0 for a client that retries by itself
    patience: float = 120.0
    batch_size: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    encoding: Encoding | None = None
    kind: OutputType = FLOAT


class Server:
    """What is known about a server and its model; learned from its answers, shared by all calls."""

    def __init__(
        self,
        model: Model,
        dims: int | None,
        where: str,
        name: str,
        secrets: Mapping[str, str],
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
        self.kind = limits.kind
        # Lists show whether a server heeds the type; base64 of another one would be read as other numbers.
        self.encoding: Encoding = limits.encoding or ("base64" if self.kind.is_float else "float")
        self._encoding_settled = limits.encoding is not None or not self.kind.is_float
        self.taken, self.taken_at = 0, 0.0  # number of answers, and when the last one came
        self.busy = 0  # refusals because the server was busy
        self._refused_in_row = 0
        # Of the texts answered, their tokens at most, and as the server reports them.
        self._most_tokens, self._reported = 0, 0
        self._dims, self._native = dims, model.dims
        self._doubted = 0  # a width that one answer had and that seems too small
        self.secrets = secrets
        self._lock = ProcessLock()
        self.check_dims()
        asked = dims is not None and model.takes_dimensions and dims != model.dims
        self.extra: dict[str, Any] = {"dimensions": dims} if asked else {}
        if self.kind.fields:
            self.extra["extra_body"] = self.kind.fields
        shorter = dims if dims != model.dims else None
        space = (name, model.name + self.kind.marked, shorter)
        self.cache = None if cache is None else Cache(cache, *space, self.kind.dtype)

    @property
    def width(self) -> int | None:
        """The width of the rows that are returned; None while it is unknown."""
        return self._dims or self._native

    def check_dims(self) -> None:
        """Raise if ``dims`` is larger than the width of the model."""
        if self._dims is not None and self._native is not None and self._dims > self._native:
            raise ValueError(
                f"dims={self._dims} is larger than the width {self._native} of model {self.model.name!r}"
            )

    def most_bytes(self, texts: int) -> int:
        """The largest size in bytes that a valid answer to a request of ``texts`` texts can have."""
        widths = self._widths()
        if self._native is None:
            numbers = min(texts * _WIDEST * _NUMBER_BYTES, _UNKNOWN_BYTES)
        else:
            numbers = texts * max(widths) * _NUMBER_BYTES
        return numbers + _SPARE_BYTES

    def stored(self, digests: Sequence[bytes]) -> dict[bytes, Matrix]:
        """The rows that the cache holds; none if there is no cache."""
        if self.cache is None:
            return {}
        rows = self.cache.stored(digests, self.width)
        if rows and self.width is None:
            with self._lock.here:
                self._native = self._native or next(iter(rows.values())).size
        return {digest: row for digest, row in rows.items() if row.size == self.width}

    def accept(self, job: Job, part: Batch, body: bytes, encoding: Encoding) -> tuple[list[int], str]:
        """Place the good rows of an answer; return the numbers of the bad ones, and a message about them.

        Raises ``MalformedAnswer`` if no row can be trusted.
        """
        self._count(requests=1)
        most = self.most_bytes(len(part))
        if len(body) > most:
            hint = "" if self._native else "; if it may be so wide, see fastvec.models.register"
            raise answers.WrongModel(f"more than {most:,} bytes for {counted(len(part))}{hint}")
        answer = answers.parse(body, self.clean)
        reported = answers.tokens(answer)
        self._count(tokens=reported)
        vectors, fault = answers.decode(answers.in_order(answer, len(part)), self._widths(), self.kind)
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
        with self._lock.here:
            self.taken += 1
            self.taken_at = time.monotonic()
            self._refused_in_row = 0
            if not self._encoding_settled:
                self.encoding, self._encoding_settled = encoding, True
            if reported:
                self._most_tokens += part.tokens
                self._reported += reported

    @property
    def tokens_per_byte(self) -> float:
        """The tokens that the server reports, for each byte of the texts (their upper limit)."""
        return min(1.0, self._reported / self._most_tokens) if self._most_tokens else 1.0

    def was_busy(self) -> None:
        """Count a refusal of a busy server."""
        with self._lock.here:
            self.busy += 1

    def doubt(self, asked_in: Encoding, worth_it: bool) -> bool:
        """Whether to ask for refused texts again in "float": if others needed it, or if ``worth_it``."""
        with self._lock.here:
            if asked_in == "float" or self._encoding_settled:
                return asked_in != self.encoding == "float"  # another request has settled it
            return worth_it and self._refused_in_row < _NEVER // 2

    def text_refused(self, count: int) -> int:
        """Count single texts that were refused; return how many were refused in a row."""
        with self._lock.here:
            self._refused_in_row += count
            return self._refused_in_row if count else 0

    def most_refused(self, brought: int, stored: int, *, by_content: bool) -> int:
        """How many texts may be refused in a row before the job ends, given the rows received and cached.

        If the server refuses the content each time (``by_content``), as many as there are rows: when a job is
        continued, the texts that were refused before may be the only ones left.
        """
        if not (self.taken or stored):
            return _NEVER
        if by_content:
            return _IN_ROW + brought + stored
        return min(_MOST_IN_ROW, _IN_ROW + int(brought * _IN_ROW_PER_ROW))

    def _widths(self) -> frozenset[int]:
        """The widths that an answer may have; empty while the native width is unknown.

        A server that ignores ``dimensions`` answers with the native width, which is truncated here.
        """
        return frozenset(width for width in (self.extra.get("dimensions"), self._native) if width is not None)

    def _learn(self, vectors: list[Matrix]) -> list[Matrix]:
        """Vectors as rows of the requested width; the native width is learned from the first answer."""
        if not vectors:
            return vectors
        size = vectors[0].size
        with self._lock.here:
            if self._native is None:
                self._doubt_narrow(size)
                self._native = size
        self.check_dims()
        if size not in self._widths():  # another answer came first
            raise answers.MalformedAnswer(f"embeddings of width {size}, not {self._native}")
        if size == self.width:
            return vectors
        assert self.width is not None
        if not self.kind.is_float:  # no integers have unit length
            return [vector[: self.width] for vector in vectors]
        from fastvec.similarity import truncate

        return list(truncate(np.stack(vectors), self.width))

    def _doubt_narrow(self, size: int) -> None:
        """Raise if an answer is narrower than ``dims``, unless an earlier answer had the same width."""
        if self._dims is not None and size < self._dims and self._doubted != size:
            self._doubted = size
            raise answers.MalformedAnswer(f"embeddings of width {size}, less than dims={self._dims}")

    def forget_width(self) -> None:
        """Forget the learned width, which may be wrong."""
        self._native = self.model.dims

    def _count(self, *, requests: int = 0, texts: int = 0, tokens: int = 0) -> None:
        with self._lock.here:
            used = self.usage
            self.usage = Usage(used.requests + requests, used.texts + texts, used.tokens + tokens)

    def clean(self, message: str) -> str:
        """The message without the secrets of its client."""
        for secret, name in self.secrets.items():
            message = message.replace(secret, name)
        return message
