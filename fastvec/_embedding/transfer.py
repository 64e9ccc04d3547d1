"""Sends a request within limits of time and bytes, and to one server only.

The ``openai`` client sends through ``httpx`` (its later versions through ``httpx2``). There the timeout
applies to each read by itself, a body may have any size after decompression, and a redirected request takes
its texts to any other server. The HTTP clients made here are the same, except that:

- a whole answer must arrive within the read timeout of its request, counted from the start;
- no more than ``most_bytes`` + 1 bytes of a body are read, and a little of an error's body; the rest is cut
off;
- a redirect is followed only within one server; any other is returned as an answer with its status;
- the addresses of requests are logged without user, password and query.
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

from . import hidden

_ERROR_BYTES = 1 << 16  # enough of an error's body for people to read
_REDIRECTS = 5
_ENCODINGS = {"", "identity", "gzip", "x-gzip", "deflate"}
ACCEPTED = {"Accept-Encoding": "gzip, deflate"}
"""Header of a client: encodings that are decoded piece by piece, so that the size can be limited."""

_most_bytes: ContextVar[int] = ContextVar("most_bytes", default=_ERROR_BYTES)


@contextmanager
def most_bytes(most: int) -> Iterator[None]:
    """In this block, at most ``most`` + 1 bytes of an answer are read; the last shows that it is too long."""
    before = _most_bytes.set(most)
    try:
        yield
    finally:
        _most_bytes.reset(before)


@functools.cache
def limited(base: type[Any]) -> type[Any]:
    """The class of a synchronous HTTP client of the ``openai`` package, with the limits."""

    class Limited(base):  # type: ignore[misc]
        def build_request(self, *arguments: Any, **options: Any) -> Any:
            return hidden.quiet(super().build_request(*arguments, **options))

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            send = functools.partial(super().send, stream=True, **{**options, "follow_redirects": False})
            most, seconds, given_up = _most_bytes.get(), _seconds(request), threading.Event()
            work = functools.partial(_transfer, send, request, most, given_up)
            try:
                return _within(seconds, work)
            except _Late:
                given_up.set()
                raise _timeout(base, request, seconds) from None

    return Limited


@functools.cache
def limited_async(base: type[Any]) -> type[Any]:
    """``limited`` for an event loop."""

    class Limited(base):  # type: ignore[misc]
        def build_request(self, *arguments: Any, **options: Any) -> Any:
            return hidden.quiet(super().build_request(*arguments, **options))

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            send = functools.partial(super().send, stream=True, **{**options, "follow_redirects": False})
            seconds = _seconds(request)
            try:
                async with asyncio.timeout(seconds):
                    return await _transfer_async(send, request, _most_bytes.get())
            except TimeoutError:
                raise _timeout(base, request, seconds) from None

    return Limited


class _Late(Exception):
    """The answer did not arrive in time."""


def _seconds(request: Any) -> float | None:
    seconds: float | None = (request.extensions.get("timeout") or {}).get("read")
    return seconds


def http_package(client: type[Any]) -> ModuleType:
    """The package, httpx or httpx2, from which a class of HTTP clients of the ``openai`` package comes."""
    return sys.modules[client.__mro__[1].__module__.partition(".")[0]]


def _timeout(base: type[Any], request: Any, seconds: float | None) -> Exception:
    package = http_package(base)
    message = f"the whole answer was not there after {seconds:g} s"
    late: Exception = package.ReadTimeout(message, request=request)
    return late


def _within(seconds: float | None, work: Callable[[], Any]) -> Any:
    """The result of ``work``; raises ``_Late`` after ``seconds``, and ``work`` ends when it notices that.

    Only with a thread can one stop waiting for a server that sends a byte now and then, or for the look-up of
    its name.
    """
    if seconds is None:
        return work()
    done: Future[Any] = Future()

    def lead() -> None:
        try:
            result = work()
        except BaseException as error:  # the thread that waits raises it
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        threading.Thread(target=lead, name="fastvec-request", daemon=True).start()
    except RuntimeError:  # no more threads can be started
        return work()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():
            return done.result()
        raise _Late from None


def _transfer(send: Callable[..., Any], request: Any, most: int, given_up: threading.Event) -> Any:
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


async def _transfer_async(send: Callable[..., Any], request: Any, most: int) -> Any:
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
    """The request to send after a redirect, if it is the same request to the same server; else None."""
    following = response.next_request
    if following is None or response.status_code not in (
        307,
        308,
    ):  # other redirects turn the request into a GET
        return None
    old, new = response.request.url, following.url
    same = (old.scheme, old.host, old.port) == (new.scheme, new.host, new.port)
    return hidden.quiet(following) if same else None


class _Body:
    """The beginning of a body, up to a limit."""

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
        """Add as much of a chunk as there is room for; return whether the room is used up."""
        self._chunks.append(chunk[: self._room])
        self._room -= len(self._chunks[-1])
        return self._room == 0

    def answer(self) -> Any:
        """A response whose body has been read."""
        response, content = self._response, b"".join(self._chunks)
        headers = [
            pair for pair in response.headers.multi_items() if pair[0].lower() not in hidden.OF_THE_TRANSFER
        ]
        if response.status_code == 429 and b'"insufficient_quota"' in content:
            # A header that the client obeys. By the status alone it would retry, but an empty account stays
            # empty.
            headers.append(("x-should-retry", "false"))
        return type(response)(
            response.status_code, headers=headers, content=content, request=response.request
        )
