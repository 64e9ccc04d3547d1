"""Fill float32 matrices from the OpenAI embeddings API or any compatible server.

The ``openai`` client does HTTP. What is done here: texts are checked, requests planned, kept in flight, sent
again and halved, every answer checked, its rows placed (see ``fastvec._embedding``).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastvec._embedding import clients, roles, surroundings, window
from fastvec._embedding.connections import Given, Own
from fastvec._embedding.conversation import Ask, Talk, talk
from fastvec._embedding.errors import EmbeddingError, Matrix, Usage
from fastvec._embedding.job import Job
from fastvec._embedding.plan import Plan, plan
from fastvec._embedding.progress import reporting
from fastvec._embedding.server import Limits, Server
from fastvec.models import MODELS, Model, describe, register

if TYPE_CHECKING:
    import openai

__all__ = ["EmbeddingError", "OpenAIEmbedder", "Usage"]


class OpenAIEmbedder(roles.Embedder):
    """Turn texts into rows of a float32 matrix through the OpenAI embeddings API.

    Args:
        model: the name sent to the server. Known models are listed in ``fastvec.models.MODELS``; the width
            of any other is learned from its first answer.
        client: an ``OpenAI``, ``AzureOpenAI``, ``AsyncOpenAI`` or ``AsyncAzureOpenAI`` client, used as it is,
            its own settings for retries included. Without one, clients are made from the next arguments.
        base_url: the server's address, usually ending in ``/v1``; default: ``OPENAI_BASE_URL``, else OpenAI.
        api_key: default: ``OPENAI_API_KEY``. A server without keys accepts any text.
        dims: width of the rows. It is asked of the server where the model takes ``dimensions``; otherwise
            rows are truncated and renormalized here. Default: the model's native width.
        cache: path of an SQLite file, made if it is not there (readable by its owner only), that keeps every
            row received, by server, model, ``dims`` and text; rows found in it are not asked for again. A
            killed job goes on where it was, and several processes may share the file. It holds neither texts
            nor keys, and a checksum of each row: a damaged one is asked for again. Addresses that differ in
            their user or query are different servers.
        max_retries: how often a request is sent again after 408, 409, 5xx and connection errors, and how
            often a malformed answer (cut short, not JSON, rows missing, NaN ...) is asked for again; a given
            ``client`` does the former by itself. An account without quota (``insufficient_quota``) is not
            asked again, nor is a refused key.
        timeout: seconds for one request, from its start to the end of its answer; default: the client's.
        concurrency: the most requests in flight at a time.
        batch_size: the most texts in a request; default: what the model's server is documented to take.
        patience: seconds for which a busy server (429, 503, 529, or any with ``Retry-After``) is asked again
            while it answers nothing, ``max_retries`` times at least. ``Retry-After`` is kept to, by all
            requests; where it is longer than what is left of ``patience``, the call fails at once.
        requests_per_minute, tokens_per_minute: limits to keep to, for servers that have them; requests are
            spread evenly. Tokens are counted from the number of UTF-8 bytes, which they cannot exceed, and
            from what the server has reported so far.
        encoding_format: "base64" or "float" (lists of numbers, several times longer); default: base64, and
            float for a server that refuses it.
        prefixes: what ``embed_documents`` and ``embed_query`` write before a text, by "document" and "query";
            None: what the model expects according to ``fastvec.models``. ``embed`` writes nothing.

    Any threads may share an embedder. A child process makes connections of its own, and so does each call of
    ``aembed``; a given ``client`` is used by the process that gave it, and an asynchronous one on the event
    loop of its first use. An embedder can be pickled, for worker processes, where they find its key by
    themselves: in ``OPENAI_API_KEY``. The copy begins with no ``usage``.

    Requests go to the server of ``base_url`` only: a redirect to another one is an error that names it. Of
    an answer no more is read than the texts of its request can need. Neither holds for a given ``client``.

    A request that the server refuses or fails to answer is halved and sent again, down to single texts: later
    ones are kept as small as those that were taken, and a text that is refused by itself is named in the
    ``EmbeddingError`` at the end, when all others have their rows. What is about the key, the address or the
    model (401, 403, 404 ...) ends the call at once, and so does a server that refuses text after text.

    Raises:
        ImportError: the ``openai`` package is not installed.
        EmbeddingError: there is no API key, or a setting outside the program is wrong (a proxy, certificates,
            headers), which it names.
        TypeError: an argument is of a wrong type.
        ValueError: ``dims`` is larger than the model's native width, ``cache`` is not a cache of fastvec,
            ``model`` or ``base_url`` holds what no request can carry, or an argument is out of range.

    Example:
        >>> from fastvec.openai import OpenAIEmbedder
        >>> OpenAIEmbedder("my-model", base_url="http://localhost:8000/v1", api_key="none", dims=256)
        OpenAIEmbedder('my-model', dims=256, base_url='http://localhost:8000/v1')
    """

    def __init__(
        self,
        model: str,
        *,
        client: openai.OpenAI | openai.AsyncOpenAI | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        dims: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        max_retries: int = 2,
        timeout: float | None = None,
        concurrency: int = 4,
        batch_size: int | None = None,
        patience: float = 120.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        encoding_format: Literal["base64", "float"] | None = None,
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "model", "client")}
        if not isinstance(model, str) or not model.strip():
            raise ValueError(f"model must be the name of a model, not {model!r}")
        if not model.isprintable():  # no request, log or file can carry half of a surrogate pair
            raise ValueError(f"model must be a name of characters that can be printed, not {model!r}")
        self._dims = None if dims is None else _whole("dims", dims, 1)
        max_retries = _whole("max_retries", max_retries, 0)
        self._concurrency = _whole("concurrency", concurrency, 1)
        limits = Limits(
            max_retries,
            max_retries if client is None else 0,
            _number("patience", patience, 0),
            None if batch_size is None else _whole("batch_size", batch_size, 1),
            _rate("requests_per_minute", requests_per_minute),
            _rate("tokens_per_minute", tokens_per_minute),
            _encoding(encoding_format),
        )
        self._given = given
        self._connections: Own | Given
        if client is None:
            self._connections = Own(clients.settings(base_url, api_key, 0, timeout))  # see Talk for retries
            # Sockets close with the embedder, not whenever the garbage collector finds them.
            weakref.finalize(self, self._connections.close)
        elif (base_url, api_key, timeout) != (None, None, None):
            raise ValueError(
                "client is used as it is: set base_url, api_key and timeout on the client itself"
            )
        else:
            self._connections = Given(clients.checked(client))
        chosen = self._connections.client()
        self._is_async = clients.is_async(chosen)
        where = clients.without_secrets(str(chosen.base_url))
        name = clients.name_of(chosen)
        key = chosen.api_key or ""
        self.prefixes = roles.checked(prefixes, describe(model))
        self._server = Server(describe(model), self._dims, where, name, key, limits, cache)
        if self._server.cache is not None:
            weakref.finalize(self, self._server.cache.close)

    def embed(
        self,
        texts: Iterable[str],
        *,
        out: Matrix | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Matrix:
        """Return one row for each text, in order.

        Texts are checked before they are sent: all of them first, if ``texts`` has a length; those of an
        iterator or open file before their request. Identical texts are sent once. A request holds at most as
        many texts and tokens as the model's server takes; a text is counted as its number of UTF-8 bytes,
        which its tokens cannot exceed. Whether a single text is too long is decided by its tokens: counted
        by ``tiktoken`` if that and its vocabulary are installed, else estimated from below, so that some
        texts just beyond the limit are left to the server to refuse.

        Args:
            texts: n texts: a list, any ordered iterable, an iterator, or a text file (its lines, without
                their ends). No text may be empty or whitespace only.
            out: float32 (n, dims), C-contiguous, filled and returned; a memory-mapped array is fine. Its file
                should have its place on the disk (``os.posix_fallocate``): where a disk is full, the system
                ends a process that writes to a map.
            progress: True reports on stderr; a callable is given (done, total) after each answer, where
                total is None as long as the number of texts is unknown.

        Returns:
            float32 (n, dims). No texts give (0, dims), without a request.

        Raises:
            TypeError: ``texts`` is a single text, or holds something that is not a str.
            ValueError: a text is blank, too long or not valid Unicode; ``out`` does not fit; ``dims`` is
                larger than the width that the model turns out to have; no texts, and the width is not known
                yet.
            EmbeddingError: the server failed, or a setting outside the program is wrong (a proxy,
                certificates); its attributes hold what was received.
            EmbeddingError: the server failed, or refused some of the texts; its attributes hold what was
                received, and which texts were refused.

        Example:
            >>> embedder = OpenAIEmbedder("text-embedding-3-small", dims=256)  # doctest: +SKIP
            >>> embedder.embed(["king", "queen"]).shape  # doctest: +SKIP
            (2, 256)
        """
        self._connections.client()  # none in the wrong process
        if self._is_async:
            raise TypeError("the client is asynchronous: await aembed(), or give an openai.OpenAI client")
        self._server.check_dims()
        job = Job(texts, self._server.model, out, self._server.width)
        with self._filled(job, progress) as report:
            window.run(self._talks(job), self._ask, self._concurrency, report, job.stop)
        return self._rows(job)

    async def aembed(
        self,
        texts: Iterable[str],
        *,
        out: Matrix | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Matrix:
        """The same as ``embed``, to be awaited: ``texts``, ``out`` and ``progress`` are as there.

        Requests are sent by the given ``openai.AsyncOpenAI`` client, or by a client made for this call; by
        threads if an ``openai.OpenAI`` client was given. When the call is canceled, nothing is written to
        ``out`` any more.

        Returns:
            float32 (n, dims).

        Raises:
            TypeError, ValueError, EmbeddingError: as ``embed``.

        Example:
            >>> embedder = OpenAIEmbedder("text-embedding-3-small")  # doctest: +SKIP
            >>> asyncio.run(embedder.aembed(["king", "queen"])).shape  # doctest: +SKIP
            (2, 1536)
        """
        self._server.check_dims()
        job = await asyncio.to_thread(Job, texts, self._server.model, out, self._server.width)
        async with self._asking() as ask:
            with self._filled(job, progress) as report:
                await window.run_async(self._talks(job), ask, self._concurrency, report, job.stop)
        return self._rows(job)

    @property
    def usage(self) -> Usage:
        """Requests, texts and tokens used so far, over all calls."""
        return self._server.usage

    def __repr__(self) -> str:
        dims = "" if self._dims is None else f", dims={self._dims}"
        return f"OpenAIEmbedder({self._server.model.name!r}{dims}, base_url={self._server.where!r})"

    @property
    def provenance(self) -> dict[str, str]:
        """What makes the vectors: ``model``, ``server`` (without user and query), ``dims`` once it is known,
        and ``document_prefix`` and ``query_prefix`` where there are any.

        Example:
            >>> embedder = OpenAIEmbedder("my-model", base_url="http://localhost/v1", api_key="none", dims=9)
            >>> embedder.provenance
            {'model': 'my-model', 'server': 'http://localhost/v1', 'dims': '9'}
        """
        return roles.provenance(
            self._server.model.name, self._server.where, self._server.width, self.prefixes
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """The arguments, without what is secret."""
        if isinstance(self._connections, Given):
            raise TypeError(
                "an embedder with a client= cannot be pickled, as connections belong to their process: make "
                "it where it is used, or leave client= out"
            )
        safe = clients.portable(self._connections.settings, self._given)
        return _again, (self._server.model, {**self._given, **safe, "prefixes": dict(self.prefixes)})

    def _plan(self, texts: Iterable[str]) -> Plan:
        """What ``embed`` would take for texts that have been checked, without sending anything."""
        return plan(texts, self._server)

    def _received_before(self) -> int:
        """How many rows came from the cache, so far."""
        return 0 if self._server.cache is None else self._server.cache.found

    def _close(self) -> None:
        """Let go of the cache's file, so that it may be removed."""
        if self._server.cache is not None:
            self._server.cache.close()

    def _talks(self, job: Job) -> Iterator[Talk | None]:
        server = self._server
        for batch in job.requests(lambda: server.sizes.room, server.stored):
            yield None if batch is None else talk(server, job, batch)

    @contextlib.contextmanager
    def _filled(
        self, job: Job, progress: bool | Callable[[int, int | None], object]
    ) -> Iterator[Callable[[], None]]:
        """Complete the job if all goes well, else hand over what has arrived."""
        with reporting(progress, job) as report:
            try:
                yield report
                job.finish()
            except EmbeddingError as error:
                error.setting = surroundings.setting_of(error)
                job.fail(error)
                if not job.brought:
                    self._server.forget_width()
                raise
            except BaseException:
                job.abandon()
                raise
            report()

    def _rows(self, job: Job) -> Matrix:
        if job.matrix is not None:
            return job.matrix
        if self._server.width is None:
            raise ValueError(
                f"no texts, and the width of model {self._server.model.name!r} is not known yet: pass dims"
            )
        return np.empty((0, self._server.width), np.float32)

    def _ask(self, ask: Ask) -> bytes:
        server, client = self._server, self._connections.client()
        most = server.most_bytes(len(ask.texts))
        with self._blaming():
            return clients.ask(client, server.model.name, *ask, server.extra, most)

    def _blaming(self) -> contextlib.AbstractContextManager[None]:
        own = isinstance(self._connections, Own)
        return surroundings.asking(clients.http_package(), self._server.where, own=own)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[Callable[[Ask], Awaitable[bytes]]]:
        """What sends a request from this event loop, to which the connections of a client belong."""
        server = self._server
        if not self._is_async and isinstance(self._connections, Given):
            self._connections.client()
            yield lambda ask: asyncio.to_thread(self._ask, ask)
            return
        async with self._connections.for_loop() as client:

            async def send(ask: Ask) -> bytes:
                most = server.most_bytes(len(ask.texts))
                with self._blaming():
                    return await clients.ask_async(client, server.model.name, *ask, server.extra, most)

            yield send


def _again(model: Model, given: dict[str, Any]) -> OpenAIEmbedder:
    """An embedder from a pickle, with a model that may be known only where it was made."""
    if model.name not in MODELS and model != Model(model.name):
        register(model)
    return OpenAIEmbedder(model.name, **given)


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


def _number(name: str, value: float, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not least <= value < math.inf:
        raise ValueError(f"{name} must be at least {least:g}, and finite, not {value}")
    return float(value)


def _rate(name: str, value: float | None) -> float | None:
    return None if value is None else _number(name, value, 1)


def _encoding(value: object) -> Literal["base64", "float"] | None:
    if value is None or value == "base64" or value == "float":
        return value  # type: ignore[return-value, unused-ignore]
    raise ValueError(f"encoding_format must be 'base64' or 'float', not {value!r}")
