"""How many threads a call uses, the pool that runs its parts, and how a call is interrupted.

Kernels release the GIL, so plain threads suffice. The caller works too and never
waits for a free thread: any number of callers, nested or concurrent, make progress
even if the pool is busy or no thread can be had. A caller that finds all processors busy with
other calls asks for no help. After a fork the child starts with a
new pool.

A signal's handler runs in the main thread, and only between two calls of kernels. So no
kernel is called for longer than some hundredths of a second: ``paced`` cuts what takes
longer. An exception, of a part or of a handler (Ctrl-C), ends the call: no part begins
any more, and helpers leave at their next pace. The call returns once they have, and until
then holds the arrays whose addresses they use.

``reports`` receives the progress of the outermost calls: how many parts are done, and which shares of
the parts under way ``paced`` has handed out.
"""

import collections
import functools
import math
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import reports, settings

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Part = TypeVar("Part")
Result = TypeVar("Result")

_chosen: int | None = None
_limited = False
"""Whether a thread was ever told to use few threads: others need not look."""
_pool: "ThreadPoolExecutor | None" = None
_lock = threading.Lock()


def get_num_threads() -> int:
    """How many threads a call uses if it is not told: the number set, else the processors it may use."""
    count = _chosen or settings.num_threads() or processors()
    return min(count, _current.most or count) if _limited else count


def origin() -> str:
    """Where the number of threads comes from, in words."""
    if _chosen:
        return "set_num_threads"
    if settings.num_threads():
        return "FASTVEC_NUM_THREADS"
    allowed, granted = _affinity(), _cgroup_limit()
    if granted < allowed:
        return f"the control group's limit of {granted:g} processors"
    processors = os.cpu_count() or 1
    if allowed >= processors:
        return "all processors"
    return f"the process's affinity, {allowed} of {processors} processors"


def set_num_threads(count: int) -> None:
    """Set the number of threads of this process's later calls."""
    global _chosen
    _chosen = count


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """In the ``with`` block, calls of this thread use at most ``count`` threads if they are not told."""
    global _limited
    _limited = True
    before, _current.most = _current.most, count
    try:
        yield
    finally:
        _current.most = before


def run(
    function: Callable[[Part], Result], parts: Sequence[Part], num_threads: int, *holding: Any
) -> list[Result]:
    """``[function(part) for part in parts]`` on up to ``num_threads`` threads.

    ``holding`` are the arrays whose addresses ``function`` uses, where it does not hold them itself.
    The exception of the first part that failed is raised, after all threads have stopped.
    """
    helpers = min(num_threads, len(parts)) - 1
    if helpers <= 0 and (reports.progress is None or _current.job is not None or not parts):
        return [function(part) for part in parts]
    job = _Job(function, parts, holding)
    try:
        job.call_helpers(helpers, num_threads)
        job.work()
        job.complete = True
    finally:
        try:
            job.finish()
        finally:
            job.finish()  # a signal's handler may have left the first anywhere
    return job.outcome()


def paced(
    start: int, stop: int, step: int, work: float, total: int | None = None
) -> Iterable[tuple[int, int]]:
    """Cut a range into runs of some hundredths of a second, at multiples of ``step`` from its start.

    ``work`` is about how many multiply-adds one element of the range takes. It decides the size of the
    first run; the time that a run took decides the size of the next. ``total`` is the number of elements
    in all ranges of this part, if it has several.
    """
    total = total or stop - start
    if (stop - start) * work <= _FIRST_WORK:
        if start >= stop:
            return ()
        advance(stop - start, total)
        return ((start, stop),)
    return _paced(start, stop, step, max(1, int(_FIRST_WORK / (max(1.0, work) * step))) * step, total)


def _paced(start: int, stop: int, step: int, size: int, total: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        check()
        end, began = min(stop, start + size), time.perf_counter()
        yield start, end
        advance(end - start, total)
        growth = min(8.0, _PACE_S / max(time.perf_counter() - began, 1e-6))
        start, size = end, max(1, int(size * growth) // step) * step


def advance(count: int, total: int) -> None:
    """Report that ``count`` more of the ``total`` elements of this thread's part are done."""
    if reports.progress is not None and _current.job is not None:
        _current.job.advance(_current.number, count / total)


def check() -> None:
    """In a helper whose call has ended, leave its part."""
    if _current.job is not None and _current.job.has_stopped():
        raise _Stopped


_PACE_S = 0.05
_REPORT_S = 0.02
"""Shares of parts are not reported more often."""
_FIRST_WORK = 1 << 26
"""Multiply-adds that take some hundredths of a second without any vector instruction."""


class _Stopped(BaseException):
    """Raised where a part is left; never seen outside of this module."""


class _Job(Generic[Part, Result]):
    """The parts of one call, and who works on them.

    All state that several threads share is in dictionaries, lists and deques, whose single operations are
    atomic: an exception of a signal's handler could leave a lock in any state.
    """

    def __init__(
        self, function: Callable[[Part], Result], parts: Sequence[Part], holding: tuple[Any, ...]
    ) -> None:
        self._does: tuple[Any, ...] = (function, parts, holding)
        self._count = len(parts)
        self._turns = collections.deque(range(len(parts)))
        self._results: dict[int, Result] = {}
        self._failures: dict[int, Exception] = {}
        self._outer = _current.job
        self._tell = reports.progress if self._outer is None else None
        self._shares: dict[int, float] = {}
        self._next_report = 0.0
        self._claims: dict[int, str] = {}
        self._left: list[int] = []
        self._bells: list[threading.Lock] = []
        self._stopped = False
        if self._tell is not None:
            self._tell(0, self._count)
        self.complete = False
        """Whether the caller has worked to the end, so that helpers may do so, too."""

    def has_stopped(self) -> bool:
        """Whether a part failed, or the caller has left the call."""
        return self._stopped or (self._outer is not None and self._outer.has_stopped())

    def call_helpers(self, count: int, num_threads: int) -> None:
        """Ask for helpers, as long as the threads of all calls together are no more than the processors.

        Where no thread can be had, as when the process ends, or no memory for one, the caller works alone.
        """
        caller = int(self._outer is None)
        _at_work[self] = count + caller  # before others are counted, so that no two calls overlook each other
        others = sum(list(_at_work.values())) - count - caller
        count = max(0, min(count, max(processors(), num_threads) - 1 - others, _most_threads() - 1))
        _at_work[self] = count + caller
        for number in range(count):
            if not may_start():
                return
            bell = threading.Lock()
            bell.acquire()
            self._bells.append(bell)
            try:
                _executor().submit(self._help, number, bell)
            except RuntimeError:
                return

    def _help(self, number: int, bell: threading.Lock) -> None:
        if self._claims.setdefault(number, "helper") != "helper":
            return
        try:
            self.work()
        finally:
            self._left.append(number)
            bell.release()

    def work(self) -> None:
        """Take parts until none is left, or the call is to stop."""
        function, parts, _ = self._does
        before, _current.job = _current.job, self
        number = -1
        try:
            while not self.has_stopped() and self._turns:
                try:
                    number = self._turns.popleft()
                except IndexError:  # another thread took the last
                    break
                if self._tell is None:
                    self._results[number] = function(parts[number])
                else:
                    _current.number = number
                    self._results[number] = function(parts[number])
                    self._shares.pop(number, None)
                    self._report()
        except _Stopped:
            pass
        except Exception as error:
            self._failures[number] = error
            self._stopped = True
        finally:
            _current.job = before

    def advance(self, number: int, share: float) -> None:
        """Count a further share of a part that is under way."""
        if self._tell is not None:
            self._shares[number] = min(1.0, self._shares.get(number, 0.0) + share)
            if time.perf_counter() >= self._next_report:
                self._report()

    def _report(self) -> None:
        assert self._tell is not None
        self._next_report = time.perf_counter() + _REPORT_S
        done = len(self._results) + sum(list(self._shares.values()))  # a copy: other threads change it
        self._tell(min(done, self._count), self._count)

    def finish(self) -> None:
        """Return when no helper works any more; then raise what handlers of signals raised meanwhile."""
        raised = None
        while self._does:
            try:
                self._stopped = self._stopped or not self.complete
                for number, bell in enumerate(self._bells):
                    if self._claims.setdefault(number, "caller") == "helper":
                        while number not in self._left:
                            bell.acquire(timeout=1.0)
                _at_work.pop(self, None)
                self._does = ()  # a helper that never began may stay in the queue for long
            except BaseException as error:
                raised, self._stopped = error, True
        if raised is not None:
            raise raised

    def outcome(self) -> list[Result]:
        """All results in order, or the exception of the first part that failed."""
        if self._failures:
            failure = self._failures[min(self._failures)]
            self._failures.clear()
            try:
                raise failure
            finally:
                del failure  # which holds this frame
        if len(self._results) < self._count:
            raise _Stopped  # the part of another call that this one belongs to has been left
        return [self._results[number] for number in range(self._count)]


def may_start() -> bool:
    """Whether there are addresses for another thread.

    One that finds no memory as it begins ends without a word, and ``threading.Thread.start`` waits for it.
    """
    return addresses() >= _THREAD_BYTES


_THREAD_BYTES = 1 << 26
"""Of a thread's stack, and of its first objects, many times over."""


def addresses() -> float:
    """Bytes of addresses that this process can still use; infinity if there is no limit (RLIMIT_AS)."""
    if resource is None:
        return math.inf
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY or not (statm := _text(pathlib.Path("/proc/self/statm")).split()):
        return math.inf
    return max(0, most - int(statm[0]) * resource.getpagesize())


_at_work: dict[_Job[Any, Any], int] = {}
"""How many threads each call has that asked for helpers: its caller, and those it asked for."""


class _Current(threading.local):
    job: _Job[Any, Any] | None = None
    number: int = -1
    """The number of the part that this thread works on, if that is reported."""
    most: int = 0
    """The most threads of a call of this thread; 0: no limit."""


_current = _Current()


def _executor() -> "ThreadPoolExecutor":
    global _pool
    from concurrent.futures import ThreadPoolExecutor  # which refuses to be imported as the process ends

    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_most_threads(), thread_name_prefix="fastvec")
        return _pool


@functools.cache
def _most_threads() -> int:
    """Threads that the pool may have; more never work on one call."""
    return max(64, 2 * (os.cpu_count() or 1))


def _after_fork() -> None:
    """Threads do not survive a fork, and a lock may have been held by one of them."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
    _at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def processors() -> int:
    """How many processors this process may use: its affinity mask, and its cgroup's share of time."""
    return max(1, math.ceil(min(_affinity(), _cgroup_limit())))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cgroup_limit() -> float:
    """How many processors' time the control groups of this process grant; infinity if there is no limit.

    Version 2 has one tree, and every group up to its root may set a limit; version 1 is read from the
    folder in which a container sees its limit.
    """
    root = pathlib.Path("/sys/fs/cgroup")
    line = re.search(r"^0::/(.*)$", _text(pathlib.Path("/proc/self/cgroup")), re.MULTILINE)
    group = root / line[1] if line else root
    limits = [_text(folder / "cpu.max").split() for folder in (group, *group.parents)]
    limits.append([_text(root / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])
    granted = [int(limit[0]) / int(limit[1]) for limit in limits if len(limit) == 2 and limit[0].isdecimal()]
    return min(granted, default=math.inf)


def _text(path: pathlib.Path) -> str:
    """The text of a file of the system; nothing if it does not exist."""
    try:
        return path.read_bytes().decode("ascii", "replace")  # read_text would import the encoding
    except OSError:
        return ""
