"""What is said to the server about one request: ask, check, ask again for what came out bad, split."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvec.models import Model

from . import answers
from .cache import Cache
from .clients import explain
from .errors import EmbeddingError, Matrix, Usage, shown
from .job import Job
from .texts import Batch

if TYPE_CHECKING:
    import openai

Step = list[str] | float  # texts to send, or seconds to wait
Talk = Generator[Step, bytes, None]

_log = logging.getLogger("fastvec.openai")
_PAUSE_S = 0.1  # before a malformed answer is asked for again, doubled each time
_SPARE_BYTES = 1 << 20  # of an answer, around its numbers
_NUMBER_BYTES = 40  # of a number as text, on an indented line of its own; in base64 it takes 5.4
_WIDEST = 1 << 15  # of a model whose width is not known
_UNKNOWN_BYTES = 1 << 29  # of its answers at most
_SHORTEST_SECRET = 6  # shorter keys are dummies for servers without keys ("none"), and parts of many words
_ABOUT_SIZE = re.compile(
    r"batch|too (many|large|long|big)|at most|maximum|exceed|limit|no more than|larger than|longer than", re.I
)


class Server:
    """What is known about a server and its model; learned from its answers, shared by all calls."""

    def __init__(
        self,
        model: Model,
        dims: int | None,
        where: str,
        name: str,
        key: str,
        max_retries: int,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.model = model
        self.where = where
        self.usage = Usage()
        self.most_texts = model.max_texts_per_request
        self._dims, self._native = dims, model.dims
        self._doubted = 0  # a width that seemed too small to be true
        self._key = key
        self._max_retries = max_retries
        self._lock = threading.Lock()
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

    def talk(self, job: Job, batch: Batch) -> Talk:
        """Bring the rows of a batch: yields what to do, is sent bodies, is thrown the client's exceptions."""
        import openai

        parts = [(batch, 0)]
        largest = 0  # of the parts that the server took
        halved = False
        while parts and not job.stopped:
            part, attempt = parts.pop()
            try:
                body = yield part.texts
            except openai.OpenAIError as error:
                if len(part) == 1 or not _about_size(error):
                    raise self._refused(job, part, error) from self._cause(error)
                _log.warning("%s; asking for half as many texts", self._clean(explain(error, self.where)))
                halved = True
                middle = len(part) // 2
                parts.append((part.part(range(middle, len(part))), attempt))
                parts.append((part.part(range(middle)), attempt))
                continue
            largest = max(largest, len(part))
            bad, fault = self._accept(job, part, body)
            if not bad:
                continue
            part = part.part(bad)
            if attempt == self._max_retries:
                raise self._malformed(job, part, fault)
            _log.warning("asking %s again for %d texts: %s", self.where, len(part), self._clean(fault))
            yield _PAUSE_S * 2**attempt
            parts.append((part, attempt + 1))
        if halved and not job.stopped:
            self.most_texts = min(self.most_texts, largest)

    def _accept(self, job: Job, part: Batch, body: bytes) -> tuple[list[int], str]:
        """Place the good rows of an answer; return the numbers of the others, and what is wrong."""
        self._count(requests=1)
        most = self.most_bytes(len(part))
        try:
            if len(body) > most:
                hint = "" if self._native else "; if it may be so wide, see fastvec.models.register"
                raise answers.MalformedAnswer(f"more than {most:,} bytes for {len(part)} texts{hint}")
            answer = answers.parse(body)
            self._count(tokens=answers.tokens(answer))
            vectors, fault = answers.decode(answers.in_order(answer, len(part)), self._widths())
            rows = self._learn([vector for vector in vectors if vector is not None])
        except answers.MalformedAnswer as malformed:
            return list(range(len(part))), str(malformed)
        good = [number for number, vector in enumerate(vectors) if vector is not None]
        job.place([part.rows[number] for number in good], rows)
        if self.cache is not None:
            self.cache.keep([part.digests[number] for number in good], rows)
        self._count(texts=len(good))
        return [number for number, vector in enumerate(vectors) if vector is None], fault

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

    def _count(self, *, requests: int = 0, texts: int = 0, tokens: int = 0) -> None:
        with self._lock:
            used = self.usage
            self.usage = Usage(used.requests + requests, used.texts + texts, used.tokens + tokens)

    def _clean(self, message: str) -> str:
        return message.replace(self._key, "[API key]") if len(self._key) >= _SHORTEST_SECRET else message

    def _refused(self, job: Job, part: Batch, error: openai.OpenAIError) -> EmbeddingError:
        positions = job.positions(part.rows)
        message = self._clean(f"{explain(error, self.where)} (texts at {shown(positions)})")
        return EmbeddingError(message, positions)

    def _cause(self, error: openai.OpenAIError) -> openai.OpenAIError | None:
        """The exception, unless it quotes the key, which a traceback would show."""
        return error if self._clean(str(error)) == str(error) else None

    def _malformed(self, job: Job, part: Batch, fault: str) -> EmbeddingError:
        self._native = self.model.dims  # what was learned may have been wrong itself
        positions = job.positions(part.rows)
        asked = f", also when asked {self._max_retries + 1} times" if self._max_retries else ""
        message = self._clean(f"{self.where} answered {fault}{asked} (texts at {shown(positions)})")
        return EmbeddingError(message, positions)


def _about_size(error: openai.OpenAIError) -> bool:
    """Whether a server refuses because a request holds too much: less of it may be taken."""
    status, said = getattr(error, "status_code", None), str(error)
    return status == 413 or (
        status in (400, 422) and bool(_ABOUT_SIZE.search(said)) and "dimension" not in said.lower()
    )
