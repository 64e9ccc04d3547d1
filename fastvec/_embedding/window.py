"""A bounded number of requests in flight: threads for a synchronous client, tasks for an asynchronous one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from .conversation import Ask, Step, Talk
from .errors import EmbeddingError

_log = logging.getLogger("fastvec.openai")
# How long answers in flight, which are paid for, are waited for when the caller is to see an exception.
_FAILED_S, _INTERRUPTED_S = 10.0, 2.0


def run(
    talks: Iterator[Talk | None],
    ask: Callable[[Ask], bytes],
    concurrency: int,
    report: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """Lead the talks to their ends; at the first failure ``stop`` is called, and nothing more is begun."""
    flying: set[Future[None]] = set()
    over = threading.Event()
    try:
        for talk in talks:
            report()
            if talk is not None:
                flying.add(_start(talk, ask, over))
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


def _start(talk: Talk, ask: Callable[[Ask], bytes], over: threading.Event) -> Future[None]:
    """Lead a talk in a thread of its own, which must not keep the process from ending."""
    future: Future[None] = Future()

    def lead() -> None:
        try:
            step = advance(talk)
            while step is not None:
                step = _take(talk, step, ask, over)
        except BaseException as error:  # it belongs to whoever waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=lead, name="fastvec-embed", daemon=True).start()
    return future


def _take(talk: Talk, step: Step, ask: Callable[[Ask], bytes], over: threading.Event) -> Step | None:
    if isinstance(step, float):
        over.wait(step)
        return advance(talk)
    try:
        body = ask(step)
    except Exception as error:
        return advance(talk, error=error)
    return advance(talk, body)


def advance(talk: Talk, body: bytes | None = None, error: Exception | None = None) -> Step | None:
    """The next step of a talk, given a body or the exception that came instead; None at its end."""
    try:
        if error is not None:
            return talk.throw(error)
        return next(talk) if body is None else talk.send(body)
    except StopIteration:
        return None


def _settle(flying: set[Future[None]]) -> set[Future[None]]:
    """Wait for some of the futures, raise what they raised, and return the others."""
    done, pending = wait(flying, return_when=FIRST_COMPLETED)
    flying.difference_update(done)
    _raise_first([future.exception() for future in done])
    return pending


async def run_async(
    talks: Iterator[Talk | None],
    ask: Callable[[Ask], Awaitable[bytes]],
    concurrency: int,
    report: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """The same on an event loop, which is not held up by the reading of answers."""
    flying: set[asyncio.Task[None]] = set()
    over = asyncio.Event()
    try:
        for talk in talks:
            report()
            if talk is not None:
                flying.add(asyncio.create_task(_lead(talk, ask, over)))
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
        for task in flying:  # all of them, if the caller itself was canceled
            task.cancel()
        ends = await asyncio.gather(*flying, return_exceptions=True)
        also_failed(failure, (end for end in ends if isinstance(end, Exception)))
        raise


async def _lead(talk: Talk, ask: Callable[[Ask], Awaitable[bytes]], over: asyncio.Event) -> None:
    step = advance(talk)
    while step is not None:
        if isinstance(step, float):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), step)
            step = advance(talk)
            continue
        try:
            body = await ask(step)
        except Exception as error:
            step = advance(talk, error=error)
        else:
            step = await _in_thread(talk, body)


async def _in_thread(talk: Talk, body: bytes) -> Step | None:
    """Advance outside the event loop; also when canceled, to the end, as it writes to the caller's matrix."""
    work = asyncio.ensure_future(asyncio.to_thread(advance, talk, body))
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
    """Add to the exception that is raised what failed beside it."""
    for other in others:
        if isinstance(first, EmbeddingError) and isinstance(other, EmbeddingError):
            first.positions = sorted({*first.positions, *other.positions})
        elif other is not None and other is not first:
            _log.warning("another request failed, with %s", type(other).__name__)
