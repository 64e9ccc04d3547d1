"""Fill float32 matrices from the OpenAI embeddings API or any compatible server.

The ``openai`` client does HTTP, retries and back-off. This module plans the requests, checks every answer
and places its rows: ``embed`` -> ``_plan`` -> ``_batches`` -> ``_fill`` (``_ask`` -> ``_parse`` ->
``_in_order`` -> ``_decode`` -> ``_place``).
"""

from __future__ import annotations

import binascii
import logging
import operator
import os
import threading
import time
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from fastvec.models import Model, describe

if TYPE_CHECKING:
    import openai

__all__ = ["EmbeddingError", "OpenAIEmbedder", "Usage"]

Matrix = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1  # before a malformed answer is asked for again, doubled each time
_SHORTEST_SECRET = 6  # shorter keys are dummies for servers without keys ("none"), and parts of many words


class EmbeddingError(RuntimeError):
    """An embedding server could not be used, or did not answer what was asked.

    The message says what went wrong; the client's own exception, if there was one, is ``__cause__``.

    Attributes:
        positions: positions in ``texts`` whose rows the failed request was to bring; empty when the embedder
            could not be made.
        received: bool (n,), True where a checked row arrived before the failure; None before any request.
        vectors: float32 (n, dims), the matrix filled so far (``out`` itself if it was given, with the other
            rows as they were; else the other rows are NaN); None while no row has arrived and no ``out``
            was given.

    Example:
        >>> from fastvec.openai import EmbeddingError
        >>> EmbeddingError("the server answered a web page").positions
        []
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = list(positions)
        self.received: npt.NDArray[np.bool_] | None = None
        self.vectors: Matrix | None = None


@dataclass(frozen=True)
class Usage:
    """What an embedder has used since it was made.

    ``requests`` counts answers (not the client's own retries), ``texts`` the checked rows received, and
    ``tokens`` sums what the server reported; an answer that reports none adds nothing.

    Example:
        >>> from fastvec.openai import Usage
        >>> Usage().tokens
        0
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0


@dataclass
class _Job:
    """One call of ``embed``: what to ask for, and what has arrived."""

    texts: list[str]  # each distinct text once
    rows: npt.NDArray[np.int64]  # the first position of each distinct text
    source: npt.NDArray[np.int64]  # (n,), the number of the distinct text at each position
    received: npt.NDArray[np.bool_]  # for each distinct text
    out: Matrix | None


class _MalformedAnswer(Exception):
    """An answer none of whose rows can be trusted."""


class OpenAIEmbedder:
    """Turn texts into rows of a float32 matrix through the OpenAI embeddings API.

    Args:
        model: the name sent to the server. Known models are listed in ``fastvec.models.MODELS``; the width
            of any other is learned from its first answer.
        client: an ``openai.OpenAI`` or ``openai.AzureOpenAI`` client, used as it is, its own settings for
            retries included. Without one, a client is made from the next arguments.
        base_url: the server's address, usually ending in ``/v1``; default: ``OPENAI_BASE_URL``, else OpenAI.
        api_key: default: ``OPENAI_API_KEY``. A server without keys accepts any text.
        dims: width of the rows. It is asked of the server where the model takes ``dimensions``; otherwise
            rows are truncated and renormalized here. Default: the model's native width.
        max_retries: how often the client asks again after 408, 409, 429, 5xx and connection errors, and how
            often a malformed answer (cut short, not JSON, rows missing, NaN ...) is asked for again.
        timeout: seconds for one request; default: the client's.

    Raises:
        ImportError: the ``openai`` package is not installed.
        EmbeddingError: there is no API key.
        ValueError: ``dims`` is larger than the model's native width, or an argument is out of range.

    Example:
        >>> from fastvec.openai import OpenAIEmbedder
        >>> OpenAIEmbedder("my-model", base_url="http://localhost:8000/v1", api_key="none", dims=256)
        OpenAIEmbedder('my-model', dims=256, base_url='http://localhost:8000/v1')
    """

    def __init__(
        self,
        model: str,
        *,
        client: openai.OpenAI | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        dims: int | None = None,
        max_retries: int = 2,
        timeout: float | None = None,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ValueError(f"model must be the name of a model, not {model!r}")
        self._model = describe(model)
        self._native = self._model.dims
        self._dims = None if dims is None else _whole("dims", dims, 1)
        self._max_retries = _whole("max_retries", max_retries, 0)
        self._check_dims()
        if client is None:
            self._client = _make_client(base_url, api_key, self._max_retries, timeout)
            # Sockets close with the embedder, not whenever the garbage collector finds them.
            weakref.finalize(self, self._client.close)
        elif (base_url, api_key, timeout) != (None, None, None):
            raise ValueError(
                "client is used as it is: set base_url, api_key and timeout on the client itself"
            )
        else:
            self._client = _checked_client(client)
        shorter = self._model.takes_dimensions and self._dims != self._native
        self._extra: dict[str, Any] = {"dimensions": self._dims} if shorter and self._dims else {}
        self._usage = Usage()
        self._lock = threading.Lock()

    def embed(self, texts: Iterable[str], *, out: Matrix | None = None) -> Matrix:
        """Return one row for each text, in order.

        All texts are checked before anything is sent, and identical texts are sent once. A request holds at
        most as many texts and tokens as the model's server takes; without a tokenizer, a text is counted as
        its number of UTF-8 bytes, which its tokens cannot exceed.

        Args:
            texts: a list (or any ordered iterable) of n texts. No text may be empty or whitespace only.
            out: float32 (n, dims), C-contiguous, filled and returned; a memory-mapped array is fine.

        Returns:
            float32 (n, dims). No texts give (0, dims), without a request.

        Raises:
            TypeError: ``texts`` is a single text, or holds something that is not a str.
            ValueError: a text is blank or not valid Unicode; ``out`` does not fit; ``dims`` is larger than
                the width that the model turns out to have; no texts, and the width is not known yet.
            EmbeddingError: the server failed; its attributes hold what was received.

        Example:
            >>> embedder = OpenAIEmbedder("text-embedding-3-small", dims=256)  # doctest: +SKIP
            >>> embedder.embed(["king", "queen"]).shape  # doctest: +SKIP
            (2, 256)
        """
        checked = _check_texts(texts)
        self._check_dims()
        _check_out(out, len(checked), self._width)
        if not checked:
            return self._no_rows(out)
        job = _plan(checked, out, self._width)
        try:
            for batch in _batches(job.texts, self._model):
                self._fill(job, np.arange(batch.start, batch.stop))
        except EmbeddingError as error:
            error.received = _repeat_duplicates(job)
            error.vectors = job.out if error.received.any() else out
            if out is None and error.vectors is not None:
                error.vectors[~error.received] = np.nan
            raise
        _repeat_duplicates(job)
        assert job.out is not None
        return job.out

    @property
    def usage(self) -> Usage:
        """Requests, texts and tokens used so far, over all calls."""
        return self._usage

    def __repr__(self) -> str:
        dims = "" if self._dims is None else f", dims={self._dims}"
        return f"OpenAIEmbedder({self._model.name!r}{dims}, base_url={self._where!r})"

    @property
    def _width(self) -> int | None:
        """The width of the rows returned, None while it is unknown."""
        return self._dims or self._native

    @property
    def _where(self) -> str:
        """The server's address without anything that may be secret."""
        url = urlsplit(str(self._client.base_url))
        host = url.netloc.rpartition("@")[2]
        return f"{url.scheme}://{host}{url.path.rstrip('/')}"

    def _check_dims(self) -> None:
        if self._dims is not None and self._native is not None and self._dims > self._native:
            raise ValueError(
                f"dims={self._dims} is larger than the width {self._native} of model {self._model.name!r}"
            )

    def _no_rows(self, out: Matrix | None) -> Matrix:
        if out is not None:
            return out
        if self._width is None:
            raise ValueError(
                f"no texts, and the width of model {self._model.name!r} is not known yet: pass dims"
            )
        return np.empty((0, self._width), np.float32)

    def _fill(self, job: _Job, pending: npt.NDArray[np.int64]) -> None:
        """Bring the rows of the texts numbered ``pending``; ask again for those that come out bad."""
        fault = ""
        for attempt in range(self._max_retries + 1):
            if attempt:
                _log.warning(
                    "asking %s again for %d texts: %s", self._where, len(pending), self._without_key(fault)
                )
                time.sleep(_PAUSE_S * 2 ** (attempt - 1))
            body = self._ask(job, pending)
            self._count(requests=1)
            try:
                answer = _parse(body)
                self._count(tokens=_tokens(answer))
                vectors, fault = _decode(_in_order(answer, len(pending)), self._widths())
            except _MalformedAnswer as malformed:
                fault = str(malformed)
                continue
            good = np.array([vector is not None for vector in vectors])
            self._place(job, pending[good], [vector for vector in vectors if vector is not None])
            pending = pending[~good]
            if not len(pending):
                return
        positions = _positions(job, pending)
        asked = "" if not self._max_retries else f", also when asked {self._max_retries + 1} times"
        raise EmbeddingError(
            self._without_key(f"{self._where} answered {fault}{asked} (texts at {_shown(positions)})"),
            positions,
        )

    def _ask(self, job: _Job, pending: npt.NDArray[np.int64]) -> bytes:
        """Send one request and return the body of its answer.

        The raw body is taken because the client's own model building is many times slower than the transfer
        and fails without naming the cause when the body is not what it expects.
        """
        import openai

        texts = [job.texts[number] for number in pending]
        try:
            answer = self._client.embeddings.with_raw_response.create(
                model=self._model.name, input=texts, encoding_format="base64", **self._extra
            )
        except openai.OpenAIError as error:
            positions = _positions(job, pending)
            message = f"{_explain(error, self._where)} (texts at {_shown(positions)})"
            # A server may quote the key, and a traceback would show the original: leave it out then.
            clean = self._without_key(str(error)) == str(error)
            raise EmbeddingError(self._without_key(message), positions) from (error if clean else None)
        return answer.http_response.content

    def _without_key(self, message: str) -> str:
        key = self._client.api_key or ""
        return message.replace(key, "[API key]") if len(key) >= _SHORTEST_SECRET else message

    def _count(self, *, requests: int = 0, texts: int = 0, tokens: int = 0) -> None:
        with self._lock:
            used = self._usage
            self._usage = Usage(used.requests + requests, used.texts + texts, used.tokens + tokens)

    def _widths(self) -> frozenset[int]:
        """The widths that an answer may have; empty while the native one is unknown.

        A server that leaves ``dimensions`` unheeded answers the native width, which is truncated here.
        """
        return frozenset(
            width for width in (self._extra.get("dimensions"), self._native) if width is not None
        )

    def _place(self, job: _Job, numbers: npt.NDArray[np.int64], vectors: list[Matrix]) -> None:
        """Write checked rows of one width to the places of their texts."""
        if not vectors:
            return
        if self._native is None:
            self._native = vectors[0].size
            self._check_dims()
        width = self._width
        assert width is not None
        if job.out is None:
            job.out = np.empty((len(job.source), width), np.float32)
        elif job.out.shape[1] != width:
            raise ValueError(
                f"out has {job.out.shape[1]} columns, model {self._model.name!r} answers {width}"
            )
        if vectors[0].size == width:
            for row, vector in zip(job.rows[numbers], vectors, strict=True):
                job.out[row] = vector
        else:
            from fastvec.similarity import truncate

            job.out[job.rows[numbers]] = truncate(np.stack(vectors), width)
        job.received[numbers] = True
        self._count(texts=len(vectors))


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def _import_client() -> ModuleType:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ImportError(
            "OpenAIEmbedder needs the openai package: pip install 'fastvec[openai]'", name="openai"
        ) from error
    return openai


def _make_client(
    base_url: str | None, api_key: str | None, max_retries: int, timeout: float | None
) -> openai.OpenAI:
    package = _import_client()
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url must start with http:// or https://, not {base_url[:8]!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
    # A key read from a file often ends in a line break, which no HTTP header can carry.
    key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
    if not key:
        raise EmbeddingError(
            "no API key: set OPENAI_API_KEY or pass api_key= (any text will do for a server without keys)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EmbeddingError(
            "the API key (OPENAI_API_KEY or api_key=) holds spaces or characters other than ASCII"
        )
    settings: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    settings.update(api_key=key, base_url=base_url, max_retries=max_retries)
    client: openai.OpenAI = package.OpenAI(**settings)
    return client


def _checked_client(client: openai.OpenAI) -> openai.OpenAI:
    fits: bool = isinstance(client, _import_client().OpenAI)
    if not fits:
        raise TypeError(
            f"client must be an openai.OpenAI or openai.AzureOpenAI client, not {type(client).__name__}"
        )
    return client


def _check_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a list of texts, not a single {type(texts).__name__}: pass [text]")
    if isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a list (or an ordered iterable) of str, not {type(texts).__name__}")
    checked = list(texts)
    for position, text in enumerate(checked):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] is of type {type(text).__name__}, not str")
    blank = [position for position, text in enumerate(checked) if not text or text.isspace()]
    if blank:
        raise ValueError(f"texts must not be empty or whitespace only: see {_shown(blank)}")
    for position, text in enumerate(checked):
        try:
            _byte_count(text)
        except UnicodeEncodeError:
            raise ValueError(f"texts[{position}] holds a lone surrogate: it is not valid Unicode") from None
    return checked


def _check_out(out: Matrix | None, rows: int, width: int | None) -> None:
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out must be a NumPy array, not {type(out).__name__}")
    fits = out.ndim == 2 and out.shape[0] == rows and (out.shape[1] == width if width else out.shape[1] > 0)
    if out.dtype != np.float32 or not fits:
        raise ValueError(
            f"out must be float32 of shape ({rows}, {width or 'dims'}), not {out.dtype} of shape {out.shape}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be C-contiguous and writeable")


def _plan(texts: list[str], out: Matrix | None, width: int | None) -> _Job:
    numbers: dict[str, int] = {}
    source = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    rows = np.unique(source, return_index=True)[1].astype(np.int64)
    if out is None and width is not None:
        out = np.empty((len(texts), width), np.float32)
    return _Job(list(numbers), rows, source, np.zeros(len(numbers), np.bool_), out)


def _batches(texts: list[str], model: Model) -> Iterator[range]:
    """Split the texts into the fewest runs that a request of ``model`` may hold.

    A token of these models covers at least one byte, so the bytes of a text bound its tokens.
    """
    start = 0
    tokens = 0
    for number, text in enumerate(texts):
        bound = _byte_count(text)
        if model.max_tokens_per_text is not None:
            bound = min(bound, model.max_tokens_per_text)
        full = number - start == model.max_texts_per_request or tokens + bound > model.max_tokens_per_request
        if full and number > start:
            yield range(start, number)
            start, tokens = number, 0
        tokens += bound
    yield range(start, len(texts))


def _byte_count(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _repeat_duplicates(job: _Job) -> npt.NDArray[np.bool_]:
    """Copy received rows to the other positions of their texts; return which positions are filled."""
    received = job.received[job.source]
    repeated = np.flatnonzero(received & (job.rows[job.source] != np.arange(len(job.source))))
    for start in range(0, len(repeated), 4096):  # blocks, so that the copy in between stays small
        block = repeated[start : start + 4096]
        assert job.out is not None
        job.out[block] = job.out[job.rows[job.source[block]]]
    return received


def _positions(job: _Job, numbers: npt.NDArray[np.int64]) -> list[int]:
    """All positions in ``texts`` of the distinct texts ``numbers``."""
    positions: list[int] = np.flatnonzero(np.isin(job.source, numbers)).tolist()
    return positions


def _shown(positions: Sequence[int]) -> str:
    first, last, count = positions[0], positions[-1], len(positions)
    if count == 1:
        return f"position {first}"
    if count > 5 and last - first == count - 1:
        return f"positions {first} to {last}"
    more = f" and {count - 5} more" if count > 5 else ""
    return f"positions {', '.join(map(str, positions[:5]))}{more}"


def _parse(body: bytes) -> dict[str, Any]:
    try:
        # The client's own parser: several times faster than json on lists of numbers.
        from jiter import from_json as read
    except ImportError:
        from json import loads as read
    try:
        answer = read(body)
    except (ValueError, RecursionError):
        if body.lstrip()[:1] == b"<":
            raise _MalformedAnswer("a web page: is base_url right? It usually ends in /v1") from None
        raise _MalformedAnswer(f"JSON that is damaged or cut short, after {len(body)} bytes") from None
    if isinstance(answer, dict) and isinstance(answer.get("data"), list):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if error:
        raise _MalformedAnswer(f"with status 200 and an error: {str(error)[:300]}")
    raise _MalformedAnswer("JSON that holds no list of embeddings: is base_url right? It usually ends in /v1")


def _tokens(answer: dict[str, Any]) -> int:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else 0


def _in_order(answer: dict[str, Any], count: int) -> list[Any]:
    """Return the embeddings as sent, text by text, or raise if their places are in doubt.

    A wrong count puts every place in doubt: a server that drops a text may number the others anew.
    """
    data: list[Any] = answer["data"]
    if len(data) != count:
        raise _MalformedAnswer(f"{len(data)} embeddings for {count} texts")
    if not all(isinstance(item, dict) for item in data):
        raise _MalformedAnswer("JSON whose data are not objects")
    indices = [item.get("index") for item in data]
    if indices == [None] * count:
        return [item.get("embedding") for item in data]
    ordered: list[Any] = [None] * count
    seen = [False] * count
    for index, item in zip(indices, data, strict=True):
        if type(index) is not int or not 0 <= index < count:
            raise _MalformedAnswer(f"an embedding with index {index!r}, to {count} texts")
        if seen[index]:
            raise _MalformedAnswer(f"two embeddings with index {index}")
        seen[index] = True
        ordered[index] = item.get("embedding")
    return ordered


def _decode(embeddings: list[Any], widths: frozenset[int]) -> tuple[list[Matrix | None], str]:
    """Return one vector for each embedding, or None where it is bad, and the first fault."""
    vectors: list[Matrix | None] = [_vector(embedding) for embedding in embeddings]
    sizes = {vector.size for vector in vectors if vector is not None}
    if not widths and len(sizes) > 1:
        raise _MalformedAnswer(f"embeddings of different widths: {', '.join(map(str, sorted(sizes)))}")
    width = max(sizes & widths, default=0) if widths else max(sizes, default=0)
    fault = ""
    for number, vector in enumerate(vectors):
        problem = _problem(vector, width, widths)
        if problem:
            vectors[number] = None
            fault = fault or problem
    return vectors, fault


def _problem(vector: Matrix | None, width: int, widths: frozenset[int]) -> str:
    if vector is None or not vector.size:
        return "an embedding that is neither base64 of float32 nor a list of numbers"
    if vector.size != width:
        return f"an embedding of width {vector.size}, not {' or '.join(map(str, sorted(widths)))}"
    if not np.isfinite(vector).all():
        return "an embedding that holds NaN or infinity"
    if not vector.any():
        return "an embedding that is all zero"
    return ""


def _vector(embedding: Any) -> Matrix | None:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(binascii.a2b_base64(embedding, strict_mode=True), "<f4")
        if isinstance(embedding, list):
            return np.frombuffer(array("f", embedding), np.float32)
    except (ValueError, TypeError, OverflowError):
        pass  # the caller names what is wrong
    return None


_HINTS = {
    400: "does the model take these texts and this width?",
    401: "is OPENAI_API_KEY (or api_key=) right?",
    403: "may this key use the model?",
    404: "are the name of the model and base_url (it usually ends in /v1) right?",
    413: "are the texts too long?",
    422: "does the model take these texts and this width?",
    429: "the rate limit held after all retries; wait, or raise max_retries",
}


def _explain(error: openai.OpenAIError, where: str) -> str:
    """Say what an exception of the client means and what to try."""
    status = getattr(error, "status_code", None)
    if status is None:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        return f"{where} could not be reached: {str(error).rstrip('.')}{cause}"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    hint = _HINTS.get(status, "the server failed after all retries" if status >= 500 else "")
    if getattr(error, "code", None) == "insufficient_quota":
        hint = "the account has no quota left; see its plan and billing"
    return f"{where} refused with status {status}: {str(said or error)[:300]}" + (
        f" ({hint})" if hint else ""
    )
