"""Fill float32 matrices from the OpenAI embeddings API or any compatible server.

The ``openai`` client does HTTP. This module checks texts, plans requests, keeps a few of them in flight,
sends failed ones again or in halves, checks every answer and places its rows (see ``fastvec._embedding``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastvec._checks import number, one_of, whole_number
from fastvec._embedding import clients, hidden, output_types, roles, surroundings, window
from fastvec._embedding.clients import EmbeddingRequest
from fastvec._embedding.connections import GivenClient, OwnClients
from fastvec._embedding.errors import EmbeddingError, Matrix, Usage
from fastvec._embedding.exchange import Exchange, exchange
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
            with its own retry settings. If None, clients are made from the next arguments.
        base_url: the server's address, usually ending in ``/v1``; default: ``OPENAI_BASE_URL``, else OpenAI.
        api_key: default: ``OPENAI_API_KEY``. A server without keys accepts any text.
        dims: width of the rows. If the model takes ``dimensions``, the server is asked for this width;
            otherwise rows are truncated and renormalized here. Default: the model's native width.
        cache: path of an SQLite file, created if it does not exist (readable by its owner only), that keeps
            every row received, by server, model, ``dims`` and text; rows found in it are not requested again.
            A killed job continues where it stopped, and several processes may share the file. It holds
            neither texts nor keys. Each row has a checksum; a damaged row is requested again. Addresses that
            differ in their user or query count as different servers.
        max_retries: how often a request is sent again after 408, 409, 5xx and connection errors, and how
            often after a malformed answer (cut short, not JSON, rows missing, NaN ...); a ``client`` that you
            pass does the former by itself. Requests are not repeated after a refused key, or for an account
            without quota (``insufficient_quota``).
        timeout: seconds for one request, from its start to the end of its answer; default: the client's.
        concurrency: the most requests in flight at a time.
        batch_size: the most texts in a request; default: what the model's server is documented to take.
        patience: seconds for which requests to a busy server (429, 503, 529, or any with ``Retry-After``) are
            repeated while it answers nothing, at least ``max_retries`` times. All requests obey
            ``Retry-After``; if it is longer than what is left of ``patience``, the call fails at once.
        requests_per_minute, tokens_per_minute: limits that requests obey, for servers that have them;
            requests are spread evenly. Tokens are counted from the number of UTF-8 bytes, which they cannot
            exceed, and from what the server has reported so far.
        encoding_format: "base64" or "float" (lists of numbers, several times longer); default: base64, and
            float for a server that refuses it, or with ``output_dtype``.
        output_dtype: "int8", "uint8", "binary" or "ubinary" asks for integers in ``output_dtype``, a field of
            requests, as Voyage has it. For another field, a mapping of it to the type, such as
            ``{"embedding_type": "ubinary"}``, as Jina has it. Rows are then int8 or uint8 as they come, and
            packed bits as ``fastvec.unpack_bits`` returns them; rows that are cut to ``dims`` here stay
            integers. None: float32.
        prefixes: what ``embed_documents`` and ``embed_query`` put before a text, under the keys "document"
            and "query"; None: what the model expects according to ``fastvec.models``. ``embed`` adds no
            prefix.

    Threads may share an embedder. A child process makes its own connections, and so does each call of
    ``aembed``; a ``client`` that you pass is used only by the process that passed it, and an asynchronous one
    only on the event loop of its first use. An embedder can be pickled for worker processes, if they find its
    key in ``OPENAI_API_KEY``. The copy starts with no ``usage``.

    Requests go only to the server of ``base_url``: a redirect to another server is an error that names it.
    No more of an answer is read than the texts of its request can need. Neither holds for a ``client`` that
    you pass.

    A request that the server refuses or fails to answer is halved and sent again, down to single texts. Later
    requests are kept as small as those that the server accepted. A text that is refused by itself is named in
    the ``EmbeddingError`` at the end, when all others have their rows. A refusal that concerns the key, the
    address or the model (401, 403, 404 ...) ends the call at once, and so does a server that refuses text
    after text.

    Raises:
        ImportError: the ``openai`` package is not installed.
        EmbeddingError: there is no API key, or a setting outside the program is wrong (a proxy, certificates,
            headers); the message names it.
        TypeError: an argument has a wrong type.
        ValueError: ``dims`` is larger than the model's native width, ``cache`` is not a cache of fastvec,
            ``model`` or ``base_url`` holds characters that no request can carry, or an argument is out of
            range.

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
        output_dtype: str | Mapping[str, str] | None = None,
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        api_key, base_url = hidden.hide(api_key), hidden.hide_address(base_url)
        arguments = {
            name: value for name, value in locals().items() if name not in ("self", "model", "client")
        }
        if not isinstance(model, str) or not model.strip():
            raise ValueError(f"model must be the name of a model, not {model!r}")
        if not model.isprintable():  # a lone surrogate fits in no request, log or file
            raise ValueError(f"model must be a name of characters that can be printed, not {model!r}")
        self._dims = None if dims is None else whole_number(dims, "dims", 1)
        max_retries = whole_number(max_retries, "max_retries", 0)
        self._concurrency = whole_number(concurrency, "concurrency", 1)
        limits = Limits(
            max_retries,
            max_retries if client is None else 0,
            number(patience, "patience", 0),
            None if batch_size is None else whole_number(batch_size, "batch_size", 1),
            _rate("requests_per_minute", requests_per_minute),
            _rate("tokens_per_minute", tokens_per_minute),
            _encoding(encoding_format),
            output_types.checked(output_dtype),
        )
        self._arguments = arguments
        self._connections: OwnClients | GivenClient
        if client is None:
            # The clients never retry: ``exchange`` does.
            self._connections = OwnClients(clients.settings(base_url, api_key, 0, timeout))
            # Sockets close with the embedder, not whenever the garbage collector finds them.
            weakref.finalize(self, self._connections.close)
        elif (base_url, api_key, timeout) != (None, None, None):
            raise ValueError(
                "client is used as it is: set base_url, api_key and timeout on the client itself"
            )
        else:
            self._connections = GivenClient(clients.checked(client))
        chosen = self._connections.client()
        self._is_async = clients.is_async(chosen)
        where = hidden.without_secrets(str(chosen.base_url))
        name = clients.name_of(chosen)
        secrets = hidden.secrets_of(chosen)
        self.prefixes = roles.checked(prefixes, describe(model))
        self._server = Server(describe(model), self._dims, where, name, secrets, limits, cache)
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

        Texts are checked before they are sent: all of them at the start if ``texts`` has a length, those of
        an iterator or open file just before their request. Identical texts are sent once. A request holds at
        most as many texts and tokens as the model's server accepts; the number of a text's UTF-8 bytes, which
        its tokens cannot exceed, stands for the number of its tokens. Whether a single text is too long is
        decided by its tokens: counted by ``tiktoken`` if that and its vocabulary are installed, else
        estimated from below, so that the server has to refuse some texts just beyond the limit.

        Args:
            texts: n texts: a list, any ordered iterable, an iterator, or a text file (its lines, without
                line ends). No text may be empty or whitespace only.
            out: float32 (n, dims), or of the type of the integers, C-contiguous, filled and returned; it may
                be memory-mapped. Reserve the space of its file beforehand (``os.posix_fallocate``): if the
                disk is full, the system ends a process that writes to the map.
            progress: True reports on stderr; a callable is called with (done, total) after each answer;
                total is None while the number of texts is unknown.

        Returns:
            float32 (n, dims), or integers with ``output_dtype``; for no texts (0, dims), without a request.

        Raises:
            TypeError: ``texts`` is a single text, or holds something that is not a str.
            ValueError: a text is blank, too long or not valid Unicode; ``out`` does not fit; ``dims`` is
                larger than the width of the model's answers; or there are no texts and the width is not known
                yet.
            EmbeddingError: the server failed or refused some of the texts, or a setting outside the program
                is wrong (a proxy, certificates); its attributes say which texts were refused, and hold the
                rows received.

        Example:
            >>> embedder = OpenAIEmbedder("text-embedding-3-small", dims=256)  # doctest: +SKIP
            >>> embedder.embed(["king", "queen"]).shape  # doctest: +SKIP
            (2, 256)
        """
        self._connections.client()  # raises in the wrong process
        if self._is_async:
            raise TypeError("the client is asynchronous: await aembed(), or give an openai.OpenAI client")
        self._server.check_dims()
        job = Job(texts, self._server.model, out, self._server.width, self._server.kind.dtype)
        with self._filled(job, progress) as report:
            window.run(self._exchanges(job), self._ask, self._concurrency, report, job.stop)
        return self._rows(job)

    async def aembed(
        self,
        texts: Iterable[str],
        *,
        out: Matrix | None = None,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> Matrix:
        """``embed``, to be awaited; ``texts``, ``out`` and ``progress`` mean the same.

        Requests are sent by the ``openai.AsyncOpenAI`` client that was passed, or by a client made for this
        call; if an ``openai.OpenAI`` client was passed, by threads. Once the call is canceled, nothing more
        is written to ``out``.

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
        server = self._server
        job = await asyncio.to_thread(Job, texts, server.model, out, server.width, server.kind.dtype)
        async with self._asking() as ask:
            with self._filled(job, progress) as report:
                await window.run_async(self._exchanges(job), ask, self._concurrency, report, job.stop)
        return self._rows(job)

    @property
    def usage(self) -> Usage:
        """Requests, texts and tokens used so far, over all calls."""
        return self._server.usage

    def __repr__(self) -> str:
        if "_server" not in vars(self):  # in the traceback of an error of its constructor
            return object.__repr__(self)
        dims = "" if self._dims is None else f", dims={self._dims}"
        return f"OpenAIEmbedder({self._server.model.name!r}{dims}, base_url={self._server.where!r})"

    @property
    def provenance(self) -> dict[str, str]:
        """What makes the vectors: ``model``, ``server`` (without user and query), ``dims`` once it is known,
        and ``document_prefix``, ``query_prefix`` and ``output_dtype`` if the embedder has them.

        Example:
            >>> embedder = OpenAIEmbedder("my-model", base_url="http://localhost/v1", api_key="none", dims=9)
            >>> embedder.provenance
            {'model': 'my-model', 'server': 'http://localhost/v1', 'dims': '9'}
        """
        server = self._server
        facts = roles.provenance(server.model.name, server.where, server.width, self.prefixes)
        return facts if server.kind.is_float else {**facts, "output_dtype": server.kind.name}

    def __reduce__(self) -> tuple[Any, ...]:
        """The arguments, without secrets."""
        if isinstance(self._connections, GivenClient):
            raise TypeError(
                "an embedder with a client= cannot be pickled, as connections belong to their process: make "
                "it where it is used, or leave client= out"
            )
        safe = clients.portable(self._connections.settings, self._arguments)
        return _again, (self._server.model, {**self._arguments, **safe, "prefixes": dict(self.prefixes)})

    def _plan(self, texts: Iterable[str]) -> Plan:
        """The requests and tokens that ``embed`` would need for checked texts; nothing is sent."""
        return plan(texts, self._server)

    def _received_before(self) -> int:
        """The number of rows that came from the cache so far."""
        return 0 if self._server.cache is None else self._server.cache.hits

    def _close(self) -> None:
        """Close the cache's file, so that it can be removed."""
        if self._server.cache is not None:
            self._server.cache.close()

    def _exchanges(self, job: Job) -> Iterator[Exchange | None]:
        server = self._server
        for batch in job.requests(lambda: server.sizes.room, server.stored):
            yield None if batch is None else exchange(server, job, batch)

    @contextlib.contextmanager
    def _filled(
        self, job: Job, progress: bool | Callable[[int, int | None], object]
    ) -> Iterator[Callable[[], None]]:
        """Complete the job if the block succeeds; else attach the rows received to its error."""
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
        return np.empty((0, self._server.width), self._server.kind.dtype)

    def _ask(self, request: EmbeddingRequest) -> bytes:
        server, client = self._server, self._connections.client()
        most = server.most_bytes(len(request.texts))
        with self._blaming():
            return clients.ask(client, request, server.model.name, server.extra, most)

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        """Name the setting that makes the block fail; no exception of the block holds secrets."""
        server, made_here = self._server, isinstance(self._connections, OwnClients)
        try:
            with surroundings.asking(clients.http_package(), server.where, made_here=made_here):
                yield
        except Exception as error:
            hidden.clean(error, server.clean)
            raise

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[Callable[[EmbeddingRequest], Awaitable[bytes]]]:
        """A function that sends a request from this event loop, to which a client's connections belong."""
        server = self._server
        if not self._is_async and isinstance(self._connections, GivenClient):
            self._connections.client()
            yield lambda request: asyncio.to_thread(self._ask, request)
            return
        async with self._connections.for_loop() as client:

            async def send(request: EmbeddingRequest) -> bytes:
                most = server.most_bytes(len(request.texts))
                with self._blaming():
                    return await clients.ask_async(client, request, server.model.name, server.extra, most)

            yield send


def _again(model: Model, arguments: dict[str, Any]) -> OpenAIEmbedder:
    """An embedder from a pickle; its model is registered here if it was where the embedder was made."""
    if model.name not in MODELS and model != Model(model.name):
        register(model)
    return OpenAIEmbedder(model.name, **arguments)


def _rate(name: str, value: float | None) -> float | None:
    return None if value is None else number(value, name, 1)


def _encoding(value: object) -> Literal["base64", "float"] | None:
    if value is None:
        return None
    return "base64" if one_of(value, "encoding_format", ("base64", "float")) == "base64" else "float"
