"""Which process owns a connection: a client serves one process, and an asynchronous client one event loop.

If a child shared a connection with its parent, or with another child, each could receive answers to requests
of the other, and nothing in an answer would show it. So a child makes its own client. It neither uses nor
closes clients of its parent, because closing an encrypted connection tells the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from .._forks import ProcessLock, process
from . import clients
from .errors import EmbeddingError

if TYPE_CHECKING:
    import openai


class OwnClients:
    """Clients made from settings: a synchronous one for each process, an asynchronous one for each call."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self._lock = ProcessLock()
        self._made: dict[tuple[int, int], openai.OpenAI] = {}

    def client(self) -> openai.OpenAI:
        """The client of this process."""
        with self._lock.here:
            client = self._made.get(process())
            if client is None:
                client = self._made[process()] = clients.make(self.settings)
            return client

    @contextlib.asynccontextmanager
    async def for_loop(self) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client for the event loop that runs, until the end of the block."""
        # In a thread, because loading certificates takes a while.
        async with await asyncio.to_thread(clients.make_async, self.settings) as client:
            yield client

    def close(self) -> None:
        """Close the client of this process."""
        client = self._made.get(process())
        if client is not None:
            client.close()


class GivenClient:
    """A client that the caller passed: it serves the process that passed it, and its first event loop."""

    def __init__(self, client: openai.OpenAI | openai.AsyncOpenAI) -> None:
        self._client: Any = client
        self._process = process()
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}

    def client(self) -> Any:
        """The client; raises in another process than the one where it was passed."""
        if self._process != process():
            raise EmbeddingError(
                "the client was given to this embedder in the parent of this process, whose connections a "
                "child cannot share: make client and embedder in the child, or leave client= out"
            )
        return self._client

    @contextlib.asynccontextmanager
    async def for_loop(self) -> AsyncIterator[Any]:
        """The client; raises on another event loop than the one where it was used first."""
        client, loop = self.client(), asyncio.get_running_loop()
        if self._loops.setdefault("first", loop) is not loop:
            raise EmbeddingError(
                "the asynchronous client has connections of another event loop, where it was used first: "
                "make client and embedder on this loop, or leave client= out"
            )
        yield client
