"""The exchange with the server about one batch of texts: send, check, wait, repeat, halve, name bad texts."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from .answers import MalformedAnswer
from .clients import EmbeddingRequest
from .errors import EmbeddingError, counted, shown
from .job import Job
from .part import Part
from .refusals import Kind, Refusal, read
from .server import Server
from .sizes import Size
from .texts import Batch

if TYPE_CHECKING:
    import openai

_log = logging.getLogger("fastvec.openai")
_PAUSE_S = 0.1  # before repeating a request after a malformed answer, doubled each time
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 8.0  # before repeating a request if the server does not say when
_LONGEST_WAIT_S = 60.0  # of one step
_BUSY_TIMES = 2  # repeats to a busy server before requests become smaller
_BUSY_TIMES_SIMILAR = 6  # the same, if the server has answered requests of that size
_CHANCE = 1e-4  # below this, a text was not refused each time just because the server was busy
_TURN = 8  # texts refused in a row, before texts far from them are tried; half, if none was ever accepted


Step = EmbeddingRequest | float  # or seconds to wait
Exchange = Generator[Step, bytes, None]


def exchange(server: Server, job: Job, batch: Batch) -> Exchange:
    """Get the rows of a batch: a generator that yields steps, and receives bodies or the client's exceptions.

    A request that fails is repeated if that may help, else halved, first half first. A text that is refused
    by itself is noted in ``job``. Raises if only another key, address, model or time can help.
    """
    return _BatchExchange(server, job).steps(batch)


class _BatchExchange:
    def __init__(self, server: Server, job: Job) -> None:
        self._server, self._job = server, job
        self._parts: list[Part] = []  # the last one is next
        self._busy_since = 0.0  # since when a busy server has refused; 0: it has answered since
        # Single texts that timed out in a row, and the number of answers that the server had given by then.
        self._silent, self._taken = 0, server.taken
        self._peeled, self._backward = False, False
        self._put_off: set[Part] = set()  # texts that are tried last

    def steps(self, batch: Batch) -> Exchange:
        import openai

        server, job, parts = self._server, self._job, self._parts
        parts.append(Part(batch, trial=server.sizes.trial(Size(len(batch), batch.tokens))))
        while parts and not job.stopped:
            part = parts.pop()
            if len(part.batch) > 1 and self._silent and server.taken == self._taken:
                self._split(part, [1])
                continue
            if len(part.batch) > 1 and not part.size.within(server.sizes.room):
                self._split(part, part.batch.places(server.sizes.room))
                continue
            yield from self._wait(part)
            if job.stopped:
                break
            part.asked_in = part.encoding or server.encoding
            if not part.tries:
                part.answers = server.taken
                if not part.met:
                    part.taken, part.busy = server.taken, server.busy
            try:
                body = yield EmbeddingRequest(part.batch.texts, part.asked_in)
            except openai.OpenAIError as error:
                self._refused(part, read(error, server.where, server.clean))
            else:
                self._answered(part, body)

    def _wait(self, part: Part) -> Generator[float, bytes, None]:
        pace = self._server.pace
        reserved = False
        while not self._job.stopped:
            seconds = max(part.wake - time.monotonic(), pace.held())
            if seconds > 0:
                yield min(seconds, _LONGEST_WAIT_S)
            elif reserved:
                return
            else:
                ahead = pace.reserve(part.size.tokens * self._server.tokens_per_byte)
                part.wake, reserved = time.monotonic() + ahead, True

    def _answered(self, part: Part, body: bytes) -> None:
        server, size = self._server, part.size
        malformed: MalformedAnswer | None = None
        try:
            bad, fault = server.accept(self._job, part.batch, body, part.asked_in)
        except MalformedAnswer as error:
            malformed = error
            bad, fault = list(range(len(part.batch))), str(malformed)
            if malformed.readable and self._try_float(part):
                return
        self._busy_since = 0.0
        if not bad:
            self._put_off.discard(part)
            part.end(server, size, not part.mixed)
            return
        if malformed is None and len(bad) == len(part.batch) and self._try_float(part):
            return
        part.only(bad)
        part.malformed += 1
        retries = server.max_retries if part.first or part.mixed or len(part.batch) == 1 else 0
        if part.malformed <= retries:
            texts = counted(len(bad))
            _log.warning("asking %s again for %s: %s", server.where, texts, server.clean(fault))
            part.wake = time.monotonic() + _PAUSE_S * 2 ** (part.malformed - 1)
            self._again(part)
            return
        if malformed is not None and malformed.of_server:
            raise self._failed(part, self._answered_badly(part, fault), None)
        if len(bad) > 1 and not part.mixed:
            self._halve(part, Kind.PASSING, self._answered_badly(part, fault))
            return
        self._note(part, self._answered_badly(part, fault), None)

    def _answered_badly(self, part: Part, fault: str) -> str:
        asked = f", also when asked {part.malformed} times" if part.malformed > 1 else ""
        return self._server.clean(f"{self._server.where} answered {fault}{asked}")

    def _refused(self, part: Part, refusal: Refusal) -> None:
        kind, server = refusal.kind, self._server
        _log.info("%s (%s)", refusal.message, counted(len(part.batch)))
        if kind is Kind.ACCOUNT:
            raise self._failed(part, refusal.message, refusal)
        part.refused_in.add(part.asked_in)
        part.tries += 1
        single = len(part.batch) == 1
        if kind is Kind.BUSY:
            self._meet_busy(part, refusal)
            return
        if kind is Kind.SLOW:
            self._meet_silence(part, refusal)
            return
        if kind is Kind.CONTENT and self._try_float(part):
            return
        again = single or part.first or kind is Kind.TRANSFER
        retries = min(server.passing_retries, 1 if part.trial else server.passing_retries) if again else 0
        if kind is not Kind.CONTENT and part.tries <= retries:
            part.wake = time.monotonic() + _backoff(part.tries)
            self._again(part, last=single and kind is not Kind.TRANSFER)
        elif kind is Kind.TRANSFER:
            raise self._failed(part, refusal.message, refusal)
        elif not single:
            self._halve(part, kind, refusal.message)
        elif not (refusal.answered and self._try_float(part)):
            self._note(part, refusal.message, refusal)

    def _meet_silence(self, part: Part, refusal: Refusal) -> None:
        """After a time-out, send fewer texts: at first one, to see whether the server answers at all."""
        server = self._server
        answering = server.taken != part.answers
        if len(part.batch) > 1:
            peel = not answering and not self._peeled
            self._peeled = self._peeled or peel
            self._halve(part, Kind.SLOW, refusal.message, 1 if peel else None)
            return
        self._silent = 1 if server.taken != self._taken else self._silent + 1
        self._taken = server.taken
        if answering and part.tries > server.passing_retries:
            self._note(part, refusal.message, refusal)
        elif not answering and self._silent > max(server.passing_retries, 1 if self._parts else 0):
            raise self._failed(part, refusal.message, refusal)
        else:
            self._again(part, last=True)

    def _meet_busy(self, part: Part, refusal: Refusal) -> None:
        """Wait for a busy server, as long as patience allows, and send fewer texts, which may help."""
        server, now = self._server, time.monotonic()
        server.was_busy()
        part.met += 1
        self._busy_since = self._busy_since or now
        left = max(0.0, server.patience - (now - max(self._busy_since, server.taken_at)))
        if refusal.retry_after is not None:
            self._hold(part, refusal, refusal.retry_after, left)
        seconds = _backoff(part.tries, refusal.retry_after)
        patient = seconds <= left or (part.first and part.tries <= server.passing_retries)
        if patient:
            part.wake = now + seconds
        by_itself = part.tries > server.passing_retries and self._by_itself(part)
        if len(part.batch) > 1:
            if patient and not by_itself and part.tries <= self._busy_times(part):
                self._again(part)
            else:  # when patience ends, a last try: was the size the reason?
                self._halve(part, Kind.BUSY, refusal.message, len(part.batch) // 2 if patient else 1)
        elif by_itself:
            self._note(part, refusal.message, refusal)
        elif patient:
            self._again(part, last=True)
        else:
            raise self._failed(part, refusal.message, refusal)

    def _busy_times(self, part: Part) -> int:
        """How often to repeat the same request."""
        if part.trial or not part.first:
            return int(part.trial)
        return _BUSY_TIMES_SIMILAR if self._server.sizes.similar_taken(part.size) else _BUSY_TIMES

    def _hold(self, part: Part, refusal: Refusal, seconds: float, left: float) -> None:
        """Send nothing for as long as the server says; raise if that is too long."""
        if seconds > max(left, _LONGEST_BACKOFF_S):
            asks = f"it asks to wait {seconds:,.0f} s, but of patience={self._server.patience:g}"
            raise self._failed(part, f"{refusal.message}; {asks} only {left:.0f} s are left", refusal)
        self._server.pace.hold(seconds)

    def _by_itself(self, part: Part) -> bool:
        """Whether the texts themselves are refused: the server accepts too many others to be just busy."""
        taken = self._server.taken - part.taken
        busy = max(0, self._server.busy - part.busy - part.met)
        chance: float = ((busy + 1) / (taken + busy + 1)) ** part.met
        return chance < _CHANCE

    def _try_float(self, part: Part) -> bool:
        """Ask for lists of numbers instead, if base64 may be what the server refuses."""
        worth_it = not part.doubted and (part.first or len(part.batch) == 1)
        if not self._server.doubt(part.asked_in, worth_it):
            return False
        _log.info("asking %s for lists of numbers instead of base64", self._server.where)
        part.encoding, part.doubted = "float", True
        self._parts.append(part)
        return True

    def _again(self, part: Part, *, last: bool = False) -> None:
        """Repeat the request of a part; if ``last``, after the other parts, which may succeed first."""
        last = last and self._server.taken > 0 and len(self._put_off - {part}) < _TURN
        if last:
            self._put_off.add(part)
        self._parts.insert(0 if last else len(self._parts), part)

    def _halve(self, part: Part, kind: Kind, why: str, place: int | None = None) -> None:
        log = _log.warning if part.first else _log.info
        log("%s; asking for half as many texts", why)
        part.halved = kind
        part.refused_in.add(part.asked_in)
        self._split(part, [place or len(part.batch) // 2])

    def _split(self, part: Part, places: list[int]) -> None:
        parts = part.split(places)
        self._parts += parts if self._backward else reversed(parts)
        self._parts[-1].wake = part.wake

    def _note(self, part: Part, message: str, refusal: Refusal | None) -> None:
        """Note texts that the server refuses, and continue; raise if it refuses all texts."""
        _log.warning("%s (texts at %s)", message, shown(part.batch.rows))
        self._job.refuse(part.batch.rows, message, self._cause(refusal))
        self._put_off.discard(part)
        in_row = self._server.text_refused(0 if part.mixed else 1)
        part.end(self._server, Size(0, 0), False)
        by_content = refusal is not None and refusal.kind is Kind.CONTENT
        if in_row >= self._server.most_refused(self._job.brought, self._job.stored, by_content=by_content):
            why = f"{message}; it refused {in_row} texts in a row, each by itself, so nothing more is sent"
            raise self._failed(None, why, refusal)
        if in_row and in_row % (_TURN if self._server.taken else _TURN // 2) == 0:
            self._parts.reverse()
            self._backward = not self._backward

    def _failed(self, part: Part | None, message: str, refusal: Refusal | None) -> EmbeddingError:
        """The error that ends the whole job."""
        parts = [] if part is None else [part, *self._parts]
        rows = sorted(row for each in parts for row in each.batch.rows)
        positions = self._job.positions(rows) or self._job.refused_rows()
        error = EmbeddingError(f"{message} (texts at {shown(positions)})", positions)
        error.__cause__ = self._cause(refusal)
        error.__suppress_context__ = True
        error.reason = message
        return error

    def _cause(self, refusal: Refusal | None) -> openai.OpenAIError | None:
        """The client's exception, unless it quotes a secret, even where only what stands for that is left."""
        error = None if refusal is None else refusal.error
        return None if any(name in str(error) for name in self._server.secrets.values()) else error


def _backoff(times: int, retry_after: float | None = None) -> float:
    """Seconds to wait after a number of refusals in a row; longer each time, even than the server says.

    A server that says "now", or names a moment that is over, is asked at once one time.
    """
    if retry_after == 0 and times == 1:
        return 0.0
    doubled = 2.0 ** min(times - 1, 64)
    if retry_after:
        return max(retry_after, min(retry_after * doubled, _LONGEST_BACKOFF_S))
    return min(_BACKOFF_S * doubled, _LONGEST_BACKOFF_S) * random.uniform(0.75, 1.0)
