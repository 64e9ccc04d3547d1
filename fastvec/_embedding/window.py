"""A bounded number of requests in flight: threads for a synchronous client, tasks for an asynchronous one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from .conversation import Step, Talk
from .errors import EmbeddingError

_log = logging.getLogger("fastvec.openai")
# How long answers in flight, which are paid for, are waited for when the caller is to see an exception.
_FAILED_S, _INTERRUPTED_S = 10.0, 2.0


def run(
    talks: Iterator[Talk],
    ask: Callable[[list[str]], bytes],
    concurrency: int,
    report: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """Lead the talks to their ends; at the first failure ``stop`` is called, and nothing more is begun."""
    flying: set[Future[None]] = set()
    try:
        for talk in talks:
            flying.add(_start(talk, ask))
            while len(flying) >= concurrency:
                flying = _settle(flying)
                report()
            report()
        while flying:
            flying = _settle(flying)
            report()
    except BaseException as failure:
        stop()
        wait(flying, _INTERRUPTED_S if isinstance(failure, KeyboardInterrupt) else _FAILED_S)
        also_failed(failure, (future.exception() for future in flying if future.done()))
        raise


def _start(talk: Talk, ask: Callable[[list[str]], bytes]) -> Future[None]:
    """Lead a talk in a thread of its own, which must not keep the process from ending."""
    future: Future[None] = Future()

    def lead() -> None:
        try:
            step = advance(talk)
            while step is not None:
                step = _take(talk, step, ask)
        except BaseException as error:  # it belongs to whoever waits
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=lead, name="fastvec-embed", daemon=True).start()
    return future


def _take(talk: Talk, step: Step, ask: Callable[[list[str]], bytes]) -> Step | None:
    if isinstance(step, float):
        time.sleep(step)
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
    failures = [error for error in (future.exception() for future in done) if error is not None]
    if failures:
        flying.difference_update(done)
        also_failed(failures[0], failures[1:])
        raise failures[0]
    return pending


def also_failed(first: BaseException, others: Iterable[BaseException | None]) -> None:
    """Add to the exception that is raised what failed beside it."""
    for other in others:
        if isinstance(first, EmbeddingError) and isinstance(other, EmbeddingError):
            first.positions = sorted({*first.positions, *other.positions})
        elif other is not None and other is not first:
            _log.warning("another request failed, with %s", type(other).__name__)
