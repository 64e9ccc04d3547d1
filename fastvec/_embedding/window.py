"""A limited number of requests in flight: threads for a synchronous client, tasks for an asynchronous one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from .clients import EmbeddingRequest
from .errors import EmbeddingError
from .exchange import Exchange, Step

_log = logging.getLogger("fastvec.openai")
# Seconds to wait for answers in flight, which are paid for, before an exception reaches the caller.
_FAILED_S, _INTERRUPTED_S = 10.0, 2.0


def run(
    exchanges: Iterator[Exchange | None],
    ask: Callable[[EmbeddingRequest], bytes],
    concurrency: int,
    report: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """Carry out the exchanges; at the first failure ``stop`` is called, and no other exchange begins."""
    flying: set[Future[None]] = set()
    over = threading.Event()
    try:
        for exchange in exchanges:
            report()
            if exchange is not None:
                future: Future[None] = Future()
                flying.add(future)  # before its thread begins, so that an interruption does not overlook it
                _start(future, exchange, ask, over)
            while len(flying) >= concurrency:
                flying = _settle(flying)
                report()
        while flying:
            flying = _settle(flying)
            report()
    except BaseException as failure:
        stop()
        over.set()
        wait(flying, _INTERRUPTED_S if isinstance(failure, KeyboardInterrupt) else _FAILED_S)
        also_failed(failure, (future.exception() for future in flying if future.done()))
        raise


def _start(
    future: Future[None],
    exchange: Exchange,
    ask: Callable[[EmbeddingRequest], bytes],
    over: threading.Event,
) -> None:
    """Carry out an exchange in a thread of its own, which must not keep the process from ending."""

    def lead() -> None:
        try:
            step = advance(exchange)
            while step is not None:
                step = _take(exchange, step, ask, over)
        except BaseException as error:  # the thread that waits raises it
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=lead, name="fastvec-embed", daemon=True).start()


def _take(
    exchange: Exchange, step: Step, ask: Callable[[EmbeddingRequest], bytes], over: threading.Event
) -> Step | None:
    if isinstance(step, float):
        over.wait(step)
        return advance(exchange)
    try:
        body = ask(step)
    except Exception as error:
        return advance(exchange, error=error)
    return advance(exchange, body)


def advance(exchange: Exchange, body: bytes | None = None, error: Exception | None = None) -> Step | None:
    """The next step of an exchange, given a body or the exception that came instead; None at its end."""
    try:
        if error is not None:
            return exchange.throw(error)
        return next(exchange) if body is None else exchange.send(body)
    except StopIteration:
        return None


def _settle(flying: set[Future[None]]) -> set[Future[None]]:
    """Wait until a future is done; raise the errors of those that are done, and return the others."""
    done, pending = wait(flying, return_when=FIRST_COMPLETED)
    flying.difference_update(done)
    _raise_first([future.exception() for future in done])
    return pending


async def run_async(
    exchanges: Iterator[Exchange | None],
    ask: Callable[[EmbeddingRequest], Awaitable[bytes]],
    concurrency: int,
    report: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """``run`` on an event loop; answers are read in threads, so that they do not hold up the loop."""
    flying: set[asyncio.Task[None]] = set()
    over = asyncio.Event()
    try:
        for exchange in exchanges:
            report()
            if exchange is not None:
                flying.add(asyncio.create_task(_lead(exchange, ask, over)))
            await asyncio.sleep(0)
            while len(flying) >= concurrency:
                flying = await _settle_async(flying)
                report()
        while flying:
            flying = await _settle_async(flying)
            report()
    except BaseException as failure:
        stop()
        over.set()
        if flying and isinstance(failure, Exception):
            await asyncio.wait(flying, timeout=_FAILED_S)
        for task in flying:  # those that are left, or all if the caller was canceled
            task.cancel()
        ends = await asyncio.gather(*flying, return_exceptions=True)
        also_failed(failure, (end for end in ends if isinstance(end, Exception)))
        raise


async def _lead(
    exchange: Exchange, ask: Callable[[EmbeddingRequest], Awaitable[bytes]], over: asyncio.Event
) -> None:
    step = advance(exchange)
    while step is not None:
        if isinstance(step, float):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), step)
            step = advance(exchange)
            continue
        try:
            body = await ask(step)
        except Exception as error:
            step = advance(exchange, error=error)
        else:
            step = await _in_thread(exchange, body)


async def _in_thread(exchange: Exchange, body: bytes) -> Step | None:
    """Advance in a thread; if canceled, wait for its end first, because it writes to the caller's matrix."""
    work = asyncio.ensure_future(asyncio.to_thread(advance, exchange, body))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _settle_async(flying: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, pending = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
    flying.difference_update(done)
    _raise_first([task.exception() for task in done])
    return pending


def _raise_first(failures: list[BaseException | None]) -> None:
    raised = [failure for failure in failures if failure is not None]
    if raised:
        also_failed(raised[0], raised[1:])
        raise raised[0]


def also_failed(first: BaseException, others: Iterable[BaseException | None]) -> None:
    """Add to the exception that is raised the failures of the others."""
    for other in others:
        if isinstance(first, EmbeddingError) and isinstance(other, EmbeddingError):
            first.positions = sorted({*first.positions, *other.positions})
        elif other is not None and other is not first:
            _log.warning("another request failed, with %s", type(other).__name__)
