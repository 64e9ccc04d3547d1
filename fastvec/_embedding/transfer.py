"""One request and its answer, within bounds: seconds, bytes, and one server.

The ``openai`` client sends through ``httpx`` (its later versions through ``httpx2``), whose timeout holds for
every read by itself, which reads a body of any size, however well it was compressed, and takes a redirected
request, texts and all, to any other server. The HTTP clients made here are those, with another ``send``:

- an answer is there within the read timeout of its request, counted from the start, or it is a timeout;
- of a body no more is read than ``most_bytes`` says, and of an error's a little; the rest is cut off;
- a redirect is followed within one server only; any other is an answer with an error status, as sent.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

_ERROR_BYTES = 1 << 16  # of the body of an error, which is read by people
_REDIRECTS = 5
_ENCODINGS = {"", "identity", "gzip", "x-gzip", "deflate"}
ACCEPTED = {"Accept-Encoding": "gzip, deflate"}
"""Header of a client: what is decoded piece by piece, so that its size is bounded on the way."""

_most_bytes: ContextVar[int] = ContextVar("most_bytes", default=_ERROR_BYTES)


@contextmanager
def most_bytes(most: int) -> Iterator[None]:
    """Requests sent within are answered with at most ``most`` bytes and one more, which tells of the rest."""
    before = _most_bytes.set(most)
    try:
        yield
    finally:
        _most_bytes.reset(before)


@functools.cache
def bounded(base: type[Any]) -> type[Any]:
    """An HTTP client of the ``openai`` package, synchronous, with the bounds."""

    class Bounded(base):  # type: ignore[misc]
        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            send = functools.partial(super().send, stream=True, **{**options, "follow_redirects": False})
            most, seconds, given_up = _most_bytes.get(), _seconds(request), threading.Event()
            work = functools.partial(_exchange, send, request, most, given_up)
            try:
                return _within(seconds, work)
            except _Late:
                given_up.set()
                raise _timeout(base, request, seconds) from None

    return Bounded


@functools.cache
def bounded_async(base: type[Any]) -> type[Any]:
    """The same for an event loop."""

    class Bounded(base):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            send = functools.partial(super().send, stream=True, **{**options, "follow_redirects": False})
            seconds = _seconds(request)
            try:
                async with asyncio.timeout(seconds):
                    return await _exchange_async(send, request, _most_bytes.get())
            except TimeoutError:
                raise _timeout(base, request, seconds) from None

    return Bounded


class _Late(Exception):
    """The answer is not there in time."""


def _seconds(request: Any) -> float | None:
    seconds: float | None = (request.extensions.get("timeout") or {}).get("read")
    return seconds


def http_package(client: type[Any]) -> ModuleType:
    """The package that a class of HTTP clients of the ``openai`` package comes from: httpx or httpx2."""
    return sys.modules[client.__mro__[1].__module__.partition(".")[0]]


def _timeout(base: type[Any], request: Any, seconds: float | None) -> Exception:
    package = http_package(base)
    message = f"the whole answer was not there after {seconds:g} s"
    late: Exception = package.ReadTimeout(message, request=request)
    return late


def _within(seconds: float | None, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or ``_Late``; then it goes on in its thread until it finds that it is given up.

    Nothing but another thread ends the wait for a server that sends a byte now and then, or for the name of
    one.
    """
    if seconds is None:
        return work()
    done: Future[Any] = Future()

    def lead() -> None:
        try:
            result = work()
        except BaseException as error:  # it belongs to whoever waits
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        threading.Thread(target=lead, name="fastvec-request", daemon=True).start()
    except RuntimeError:  # no more threads can be had
        return work()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():
            return done.result()
        raise _Late from None


def _exchange(send: Callable[..., Any], request: Any, most: int, given_up: threading.Event) -> Any:
    for hop in range(_REDIRECTS + 1):
        response = send(request)
        try:
            following = _redirected(response)
            if following is None or hop == _REDIRECTS:
                body = _Body(response, most)
                for chunk in response.iter_bytes():
                    if body.full(chunk) or given_up.is_set():
                        break
                return body.answer()
        finally:
            response.close()
        request = following
    raise AssertionError


async def _exchange_async(send: Callable[..., Any], request: Any, most: int) -> Any:
    for hop in range(_REDIRECTS + 1):
        response = await send(request)
        try:
            following = _redirected(response)
            if following is None or hop == _REDIRECTS:
                body = _Body(response, most)
                async for chunk in response.aiter_bytes():
                    if body.full(chunk):
                        break
                return body.answer()
        finally:
            await response.aclose()
        request = following
    raise AssertionError


def _redirected(response: Any) -> Any | None:
    """The request to send instead, if it is the same one to the same server."""
    following = response.next_request
    if following is None or response.status_code not in (307, 308):  # the others turn it into a GET
        return None
    here, there = response.request.url, following.url
    same = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    return following if same else None


class _Body:
    """The beginning of a body."""

    def __init__(self, response: Any, most: int) -> None:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            package = sys.modules[type(response).__module__.partition(".")[0]]
            message = f"the answer is encoded as {encoding[:40]!r}, which was not asked for"
            raise package.DecodingError(message, request=response.request)
        self._response = response
        self._room = most + 1 if response.is_success else _ERROR_BYTES
        self._chunks: list[bytes] = []

    def full(self, chunk: bytes) -> bool:
        """Add what there is room for."""
        self._chunks.append(chunk[: self._room])
        self._room -= len(self._chunks[-1])
        return self._room == 0

    def answer(self) -> Any:
        """A response that has been read."""
        response, content = self._response, b"".join(self._chunks)
        skipped = ("content-encoding", "content-length", "transfer-encoding")
        headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in skipped]
        if response.status_code == 429 and b'"insufficient_quota"' in content:
            # The client's own sign. By status alone it would ask again, and an empty account stays empty.
            headers.append(("x-should-retry", "false"))
        return type(response)(
            response.status_code, headers=headers, content=content, request=response.request
        )
