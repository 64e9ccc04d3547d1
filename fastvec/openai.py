"""Fill float32 matrices from the OpenAI embeddings API or any compatible server.

The ``openai`` client does HTTP, retries and back-off. What is done here: texts are checked, requests planned
and kept in flight, every answer checked, its rows placed (see ``fastvec._embedding``).
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvec._embedding import clients, window
from fastvec._embedding.conversation import Server, Talk
from fastvec._embedding.errors import EmbeddingError, Matrix, Usage
from fastvec._embedding.job import Job
from fastvec._embedding.plan import Plan, plan
from fastvec._embedding.progress import reporting
from fastvec.models import describe

if TYPE_CHECKING:
    import openai

__all__ = ["EmbeddingError", "OpenAIEmbedder", "Usage"]


class OpenAIEmbedder:
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
        max_retries: how often the client asks again after 408, 409, 429, 5xx and connection errors, and how
            often a malformed answer (cut short, not JSON, rows missing, NaN ...) is asked for again.
            An account without quota (``insufficient_quota``) is not asked again, nor is a refused key.
        timeout: seconds for one request, from its start to the end of its answer; default: the client's.
        concurrency: the most requests in flight at a time.

    Requests go to the server of ``base_url`` only: a redirect to another one is an error that names it. Of
    an answer no more is read than the texts of its request can need. Neither holds for a given ``client``.

    A request that the server refuses as too large is halved and sent again, down to single texts, and later
    ones are kept as small as those that were taken.

    Raises:
        ImportError: the ``openai`` package is not installed.
        EmbeddingError: there is no API key.
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
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ValueError(f"model must be the name of a model, not {model!r}")
        if not model.isprintable():  # no request, log or file can carry half of a surrogate pair
            raise ValueError(f"model must be a name of characters that can be printed, not {model!r}")
        self._dims = None if dims is None else _whole("dims", dims, 1)
        max_retries = _whole("max_retries", max_retries, 0)
        self._concurrency = _whole("concurrency", concurrency, 1)
        self._settings: dict[str, Any] | None = None
        if client is None:
            self._settings = clients.settings(base_url, api_key, max_retries, timeout)
            self._client: Any = clients.make(self._settings)
            # Sockets close with the embedder, not whenever the garbage collector finds them.
            weakref.finalize(self, self._client.close)
        elif (base_url, api_key, timeout) != (None, None, None):
            raise ValueError(
                "client is used as it is: set base_url, api_key and timeout on the client itself"
            )
        else:
            self._client = clients.checked(client)
        self._is_async = clients.is_async(self._client)
        where = clients.without_secrets(str(self._client.base_url))
        name = clients.name_of(self._client)
        key = self._client.api_key or ""
        self._server = Server(describe(model), self._dims, where, name, key, max_retries, cache)
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
            EmbeddingError: the server failed; its attributes hold what was received.

        Example:
            >>> embedder = OpenAIEmbedder("text-embedding-3-small", dims=256)  # doctest: +SKIP
            >>> embedder.embed(["king", "queen"]).shape  # doctest: +SKIP
            (2, 256)
        """
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

    def _plan(self, texts: list[str]) -> Plan:
        """What ``embed`` would take, without sending anything."""
        return plan(texts, self._server)

    def _close(self) -> None:
        """Let go of the cache's file, so that it may be removed."""
        if self._server.cache is not None:
            self._server.cache.close()

    def _talks(self, job: Job) -> Iterator[Talk | None]:
        server = self._server
        for batch in job.requests(lambda: server.most_texts, server.stored):
            yield None if batch is None else server.talk(job, batch)

    @contextlib.contextmanager
    def _filled(
        self, job: Job, progress: bool | Callable[[int, int | None], object]
    ) -> Iterator[Callable[[], None]]:
        """Complete the job if all goes well, else hand over what has arrived."""
        with reporting(progress, job) as report:
            try:
                yield report
            except EmbeddingError as error:
                job.fail(error)
                raise
            except BaseException:
                job.abandon()
                raise
            job.finish()
            report()

    def _rows(self, job: Job) -> Matrix:
        if job.matrix is not None:
            return job.matrix
        if self._server.width is None:
            raise ValueError(
                f"no texts, and the width of model {self._server.model.name!r} is not known yet: pass dims"
            )
        return np.empty((0, self._server.width), np.float32)

    def _ask(self, texts: list[str]) -> bytes:
        server = self._server
        most = server.most_bytes(len(texts))
        return clients.ask(self._client, server.model.name, texts, server.extra, most)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[Callable[[list[str]], Awaitable[bytes]]]:
        """What sends a request from this event loop, to which the connections of a client belong."""
        server = self._server

        def asked(client: Any) -> Callable[[list[str]], Awaitable[bytes]]:
            return lambda texts: clients.ask_async(
                client, server.model.name, texts, server.extra, server.most_bytes(len(texts))
            )

        if self._settings is not None:
            # Loading certificates takes a while.
            async with await asyncio.to_thread(clients.make_async, self._settings) as client:
                yield asked(client)
        elif self._is_async:
            yield asked(self._client)
        else:
            yield lambda texts: asyncio.to_thread(self._ask, texts)


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
