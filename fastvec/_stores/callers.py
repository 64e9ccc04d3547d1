"""Callers that search one store at the same time: the queries of those who wait are scanned together.

A caller that finds a turn free scans at once, and takes along the queries of those who wait and ask for the
same. One that finds none waits. When a scan ends, its caller hands the others their answers, and calls the
first of those who wait. So nothing waits where nothing is under way, and no timer decides.

Programs with many threads come back at once with their next queries. So after a scan for several, the next
lets other threads run before it begins, as long as some come and wait: two halves that wait for each other
would take twice as long, because a scan for sixteen queries takes hardly longer than one for eight.

Turns save time; no answer depends on them, because a query gets the same bits in every batch. So all state
is in dictionaries, whose single operations are atomic: an exception of a signal's handler could leave a lock
in any state. And a turn that is never given back, because its thread is gone, is taken by whoever has waited
too long.
"""

from __future__ import annotations

import os
import time
import weakref
from _thread import get_ident
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from .._request import Request, joined
from ..kernels import cost, threads
from ..results import TopK

MOST_QUERIES = 16
"""Requests of more queries go alone: they are batches by themselves."""
LEAST_WORK = 1 << 22
"""Bytes of codes whose scan takes longer than threads take to hand its answers over."""
TOGETHER = 32
"""Callers up to whom more are let come: queries beyond one tile take longer in proportion."""
_YIELDS = 4
"""How often in a row others are let run although none of them comes and waits."""
PATIENCE_S, _SLOW = 1.0, 1e9
"""A turn is lost after ``PATIENCE_S`` seconds, and another second for each ``_SLOW`` bytes of codes."""

Search = Callable[[Request], TopK]
Token = tuple[Request, int]
"""Who has a turn: a request, and its thread."""


_LOOK = "a turn may be free"
_ALONE = "search by yourself"


class _Caller:
    turn = 0
    others: Sequence[_Caller] = ()
    """Those whose queries this one scans too, until it has sent them their answers."""
    mail: SimpleQueue[TopK | str] | None = None
    """Where one who waits gets ``_LOOK``, then ``_ALONE`` or its answer; what comes later is not read."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.request, self.thread = token

    def send(self, message: TopK | str) -> None:
        assert self.mail is not None
        self.mail.put(message)

    def dismiss_others(self) -> None:
        """Let those whose queries this one did not get to scan search by themselves."""
        for other in self.others:
            other.send(_ALONE)
        self.others = ()


class Callers:
    """Those who search a store."""

    def __init__(self) -> None:
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew: in a forked child, nobody else scans or waits."""
        self.scanning: dict[int, Token] = {}
        """Whose turn it is, by the number of the turn."""
        self.waiting: dict[_Caller, _Caller] = {}
        """The first to come is the first."""
        self.together = 1
        """For how many callers the last scan was."""

    def search(self, request: Request, search: Search) -> TopK:
        """``search(request)``, or the request's part of a search for several callers."""
        # Each line costs a lone caller more than it seems, as its scan has emptied the caches.
        if request.rows * request.dims < LEAST_WORK or len(request.queries) > MOST_QUERIES:
            return search(request)
        token = (request, get_ident())
        try:
            if self.scanning.setdefault(0, token) is token and not self.waiting and self.together == 1:
                return search(request)
            return self._search_among_others(_Caller(token), search)
        finally:
            try:
                self._give_back(0, token)
            except BaseException:  # of a signal's handler, which may run anywhere
                self._give_back(0, token)
                raise

    def _give_back(self, turn: int, token: Token) -> None:
        if self.scanning.get(turn) is token:
            self.scanning.pop(turn, None)
            if self.waiting:
                self._call()

    def _call(self) -> None:
        """Call the first of those who wait, because a turn may be free."""
        for first in list(self.waiting)[:1]:
            first.send(_LOOK)

    def _search_among_others(self, caller: _Caller, search: Search) -> TopK:
        try:
            if not _may_be_joined(caller.request):
                return search(caller.request)
            if self.takes_turn(caller):
                return self.scanned(caller, search)
            return self.waited(caller, search)
        finally:
            try:
                self.leave(caller)
            except BaseException:
                self.leave(caller)
                raise

    def takes_turn(self, caller: _Caller) -> bool:
        """Take a turn if one is free: there are as many as scans have processors."""
        caller.turn, token = 0, caller.token
        if self.scanning.setdefault(0, token) is token:
            return True
        request = caller.request
        used = cost.scan_threads(request.rows, len(request.queries), request.dims, request.num_threads)
        for turn in range(1, threads.processors() // used):
            caller.turn = turn
            if self.scanning.setdefault(turn, token) is token:
                return True
        return False

    def waited(self, caller: _Caller, search: Search) -> TopK:
        """The answer of a caller that found no turn free."""
        others = (*list(self.scanning.values()), *(other.token for other in list(self.waiting)))
        if any(thread == caller.thread for _, thread in others):
            return search(caller.request)  # a signal's handler searches while the thread that it stopped does
        caller.mail = SimpleQueue()
        self.waiting[caller] = caller
        patience = PATIENCE_S + caller.request.rows * caller.request.dims / _SLOW
        while not self.takes_turn(caller):  # which may be free by now, and then nobody would call
            try:
                message = caller.mail.get(timeout=patience)
            except Empty:
                self.scanning.clear()
                continue
            if isinstance(message, TopK):
                return TopK(message.scores.copy(), message.indices.copy())
            if message == _ALONE:
                return search(caller.request)
        self.waiting.pop(caller, None)
        return self.scanned(caller, search)

    def scanned(self, caller: _Caller, search: Search) -> TopK:
        """The answer of a caller that has a turn; those that it takes along get theirs."""
        if self.together > 1 or caller.mail is not None:
            self._let_others_come(caller)
        if self.waiting:
            self._take_along(caller)
        self.together = 1 + len(caller.others)
        if not caller.others:
            return search(caller.request)
        try:
            found = search(joined([member.request for member in (caller, *caller.others)]))
        except Exception:
            # It may come from another's queries: each searches by itself and raises what is its own.
            caller.dismiss_others()
            return search(caller.request)
        last = own = len(caller.request.queries)
        for other in caller.others:
            first, last = last, last + len(other.request.queries)
            other.send(TopK(found.scores[first:last], found.indices[first:last]))
        caller.others = ()
        return TopK(found.scores[:own].copy(), found.indices[:own].copy())

    def _let_others_come(self, caller: _Caller) -> None:
        """Let the callers of the last scan run, who may be about to come back."""
        here = len(self.waiting)
        back = self.together - int(caller.mail is None)  # who did not wait is itself one that came back
        expected, left = min(here + back, TOGETHER - 1), _YIELDS
        while here < expected and left:
            time.sleep(0)
            left -= 1
            if len(self.waiting) > here:
                here, left = len(self.waiting), _YIELDS

    def _take_along(self, caller: _Caller) -> None:
        caller.others = others = []
        kind = _kind(caller.request)
        for other in list(self.waiting):
            if _kind(other.request) == kind:
                others.append(other)
                if self.waiting.pop(other, None) is None:  # it has left, or another caller has taken it along
                    others.pop()

    def leave(self, caller: _Caller) -> None:
        """Undo what the caller has done here; call the first of those who wait if a turn may be free."""
        if caller.others:
            caller.dismiss_others()
        self.waiting.pop(caller, None)
        self._give_back(caller.turn, caller.token)
        if self.waiting and not self.scanning:
            self._call()


def _may_be_joined(request: Request) -> bool:
    own = len(request.allowed) and not request.shared
    return len(request.queries) > 0 and not own and not len(request.exclusions.mask)


def _kind(request: Request) -> tuple[object, ...]:
    """What requests have in common that differ in their queries alone."""
    allowed = id(request.allowed) if len(request.allowed) else 0
    return request.k, request.asked, request.metric, request.dims, request.num_threads, allowed


_all: weakref.WeakSet[Callers] = weakref.WeakSet()


def _after_fork() -> None:
    for callers in list(_all):
        callers.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
