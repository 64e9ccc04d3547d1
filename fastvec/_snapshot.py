"""The rows of an Index at one moment: which are left, and under which numbers users know them.

A store holds rows at positions, and a search of it ranks equal scores by position. Users know rows by
numbers, which stay when other rows are removed. This module is the one place that maps between the two:

    removed      the position is closed; its number is not given again
    replaced     the old position is closed, and the number moves to a new position at the end
    packed       the rows left move together; their numbers stay
    compacted    likewise, and they are numbered anew: 0, 1, 2 …

Nothing here changes; ``_living.py`` makes the next snapshot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _row_numbers
from ._request import Request, checked
from ._stores import base
from .kernels import analogy, filters, matrix
from .kernels.compile import default_mode
from .kernels.stored import stored
from .results import Float32, Int64, Ranges, TopK

Bools = npt.NDArray[np.bool_]

EVERY = np.empty(0, np.bool_)


class Snapshot:
    """The rows of an Index at one moment."""

    def __init__(
        self,
        store: base.Store,
        *,
        open_: Bools = EVERY,
        numbers: Int64 | None = None,
        places: Int64 | None = None,
        top: int | None = None,
        labels: Any = None,
    ) -> None:
        self.store = store
        self.open = open_
        """bool (positions,): which rows are left; empty if all are."""
        self.numbers = numbers
        """int64 (positions,): the number of each row; None if it is the position."""
        self.places = places
        """int64 (top,): the position of each number, if it is open; else −1 or closed. None likewise."""
        self.top = store.rows if top is None else top
        """The number that the next row gets, above all that were ever given."""
        self.labels = labels
        """What belongs to the numbers, such as words."""
        self.changed = numbers is not None or len(open_) > 0
        """Whether numbers are more than the positions of all rows."""
        self.plain_request = functools.partial(checked, store)
        """``request`` for rows that are not changed."""

    @property
    def closed(self) -> Bools:
        """bool (positions,): which rows are removed."""
        return ~self.open if len(self.open) else np.zeros(self.store.rows, np.bool_)

    @stored
    def left(self) -> int:
        """The number of rows left."""
        return int(np.count_nonzero(self.open)) if len(self.open) else self.store.rows

    @stored
    def order(self) -> Int64:
        """The positions of the rows left, in the order of their numbers."""
        positions = np.flatnonzero(self.open) if len(self.open) else np.arange(self.store.rows)
        if self.numbers is None or self.rising:
            return positions
        return positions[np.argsort(self.numbers[positions])]

    @stored
    def rising(self) -> bool:
        """Whether the numbers of the rows left rise with their positions, so that both rank ties alike."""
        if self.numbers is None:
            return True
        left = self.numbers[self.open] if len(self.open) else self.numbers
        return bool((left[1:] > left[:-1]).all())

    def numbered(self, positions: Int64) -> Int64:
        """The numbers of rows at these positions; −1 stays."""
        if self.numbers is None:
            return positions
        if len(self.numbers) == 0:
            return np.full_like(positions, -1)
        return np.where(positions < 0, -1, self.numbers[positions])

    def is_open(self, numbers: Int64) -> Bools:
        """Which of these numbers, from 0 to ``top`` − 1, belong to rows that are left."""
        if self.places is None:
            return self.open[numbers] if len(self.open) else np.ones(len(numbers), np.bool_)
        places = self.places[numbers]
        return (places >= 0) & self.open[places] if len(self.open) else places >= 0

    def has(self, number: int) -> bool:
        """Whether a row with this number is left."""
        if number >= self.top:
            return False
        place = number if self.places is None else int(self.places[number])
        return place >= 0 and (len(self.open) == 0 or bool(self.open[place]))

    def positions(self, numbers: Int64, name: str) -> Int64:
        """Where rows with these numbers are, which are from 0 to ``top`` − 1.

        Raises:
            IndexError: if one of them was removed.
        """
        left = self.is_open(numbers)
        if not left.all():
            gone = numbers[~left].tolist()
            raise IndexError(f"{name} has {gone[0]}, which was removed from this Index")
        return numbers if self.places is None else self.places[numbers]

    @stored
    def vectors(self) -> Float32:
        """The rows left, in the order of their numbers; read-only, and a copy after a change."""
        pieces = self.store.vectors()
        if self.changed:
            rows = self.store.fetch(self.order)
        else:
            rows = pieces[0].view(np.ndarray) if len(pieces) == 1 else np.concatenate(pieces)
            rows = rows.astype(np.float32, copy=False)
        rows.flags.writeable = False
        return rows

    @property
    def held(self) -> npt.NDArray[Any]:
        """``vectors`` as they are kept: int8 if they are."""
        if not self._of_int8:
            return self.vectors
        pieces = self.store.vectors()
        rows: npt.NDArray[Any] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return rows[self.order] if self.changed else rows

    @property
    def _of_int8(self) -> bool:
        """Whether rows are kept as int8."""
        return bool(getattr(self.store, "int8", False))

    def fetch(self, numbers: Int64) -> Float32:
        """Copies of the rows with these numbers, all of which are left."""
        return self.store.fetch(numbers if self.places is None else self.places[numbers])

    def row(self, number: int) -> Float32:
        """The row with this number, which is left; read-only."""
        row: Float32
        if not self.changed and len(self.store.vectors()) == 1 and not self._of_int8:
            row = self.vectors[number]
        else:
            row = self.fetch(np.array([number]))[0]
            row.flags.writeable = False
        return row

    @property
    def nbytes(self) -> int:
        """Bytes held beside the caller's rows."""
        own: list[npt.NDArray[Any]] = [self.open]
        if self.numbers is not None and self.places is not None:
            own += [self.numbers, self.places]
        if "vectors" in self.__dict__ and (self.changed or len(self.store.vectors()) > 1 or self._of_int8):
            own.append(self.vectors)
        return self.store.nbytes + sum(array.nbytes for array in own)

    def request(
        self,
        queries: Any,
        k: int,
        *,
        metric: str,
        dims: int | None = None,
        where: npt.ArrayLike | None = None,
        exclude: Any = None,
        num_threads: int | None = None,
    ) -> Request:
        """A request to the store, of arguments with numbers of rows; raises as ``_request.checked`` does."""
        request = checked(
            self.store,
            queries,
            k,
            metric=metric,
            dims=dims,
            where=where,
            exclude=exclude,
            num_threads=num_threads,
            rows=self.top,
        )
        if not self.changed:
            return request
        allowed, exclusions = request.allowed, request.exclusions
        if self.numbers is not None:
            allowed = allowed[self.numbers] if len(allowed) else allowed
            exclusions = self._exclusions(exclusions)
        if len(self.open):
            allowed = allowed & self.open if len(allowed) else self.open
        return request._replace(
            rows=self.store.rows,
            k=min(request.asked, max(self.left, 1)),
            allowed=allowed,
            exclusions=exclusions,
            shared=allowed is self.open,
        )

    def _exclusions(self, exclusions: filters.Exclusions) -> filters.Exclusions:
        """Exclusions by position, of those by number."""
        mask = exclusions.mask
        if len(mask):
            mask = np.ascontiguousarray(mask[:, self.numbers])
        if len(exclusions.rows):
            assert self.places is not None
            runs = _row_numbers.without_missing(exclusions.offsets, self.places[exclusions.rows])
            exclusions = filters.Exclusions.of_runs(*runs)
        return exclusions._replace(mask=mask)

    def search(self, request: Request) -> TopK:
        """The nearest rows of each query, by number."""
        if self.numbers is None:
            return self.store.search(request)
        with self.naming_rows():
            if self.rising:
                found = self.store.search(request)
                return TopK(found.scores, self.numbered(found.indices))
            return self._search_with_ties(request)

    def ranges(self, request: Request, least: np.float32) -> Ranges:
        """All rows whose score, as float32, is at least ``least``, for each query, by number."""
        search_ranges = base.able(self.store, "range_search", "ranges")
        with self.naming_rows():
            ranges: Ranges = search_ranges(request, least)
            offsets, scores, positions = ranges
            numbers = self.numbered(positions)
            if not self.rising:
                ties = np.flatnonzero((scores[1:] == scores[:-1]) & (numbers[1:] < numbers[:-1]))
                for query in np.unique(np.searchsorted(offsets, ties, "right") - 1).tolist():
                    part = slice(offsets[query], offsets[query + 1])
                    order = self._order(request, query, positions[part])[0]
                    scores[part], numbers[part] = scores[part][order], numbers[part][order]
        return Ranges(offsets, scores, numbers)

    def multiply(self, request: Request, inputs: analogy.InputRows, source: matrix.Matrix) -> TopK:
        """The ranking by 3CosMul, by number; ``inputs`` are rows of ``source``."""
        multiply = base.able(self.store, "method='3cosmul'", "multiply")
        if self.numbers is None or self.rising:
            found: TopK = multiply(request, inputs, source)
            return TopK(found.scores, self.numbered(found.indices))
        # Its scores have no bound that finds all rows of one score, so rows are ranked in their order.
        sorted_ = base.home(self.store.device).one_shot(self.vectors)
        places = np.full(self.store.rows + 1, -1)
        places[self.order] = np.arange(self.left)
        exclusions, allowed = request.exclusions, request.allowed
        if len(exclusions.rows):
            runs = _row_numbers.without_missing(exclusions.offsets, places[exclusions.rows])
            exclusions = filters.Exclusions.of_runs(*runs)
        request = request._replace(
            rows=self.left,
            allowed=allowed[self.order] if len(allowed) else allowed,
            exclusions=exclusions,
        )
        found = sorted_.multiply(request, inputs, source)
        numbers = np.append(self.numbers[self.order], -1)
        return TopK(found.scores, numbers[found.indices])

    def pair_score(self, number: int, other: int, metric: str) -> float:
        """The score of one row with another, as a search returns it; both are left."""
        score: Callable[..., float] = base.able(self.store, "similarity", "pair_score")
        if self.places is None:
            return score(number, other, metric)
        with self.naming_rows():
            return score(int(self.places[number]), int(self.places[other]), metric)

    def verify(self) -> None:
        """As in ``base.Store``."""
        with self.naming_rows():
            base.able(self.store, "verify", "verify")()

    def _search_with_ties(self, request: Request) -> TopK:
        """``search`` where numbers do not rise with positions: rows of equal scores are ranked anew.

        One row more than is asked for tells whether the last has the score of rows that are left out.
        """
        asked = request.asked
        more = request._replace(k=min(request.k + 1, max(self.left, 1)), asked=asked + 1, one=False)
        scores, positions = self.store.search(more)
        numbers = self.numbered(positions)
        same = (scores[:, 1:] == scores[:, :-1]) & (positions[:, 1:] >= 0)
        unsure = (same & (numbers[:, 1:] < numbers[:, :-1])).any(axis=1) | same[:, -1]
        scores, numbers = scores[:, :asked].copy(), numbers[:, :asked].copy()
        for query in np.flatnonzero(unsure).tolist():
            found = positions[query][positions[query] >= 0]
            order, exact, published = self._order(request, query, found)
            if len(found) > asked and exact[asked - 1] == exact[asked]:
                least = scores[query, asked - 1]
                one = request.of(np.array([query]), request.k)._replace(one=False)
                found = base.able(self.store, "search", "ranges")(one, least).indices
                order, exact, published = self._order(request, query, found)
            order = order[:asked]
            numbers[query, : len(order)] = self.numbered(found[order])
            scores[query, : len(order)] = published[order]
        return TopK(scores[0], numbers[0]) if request.one else TopK(scores, numbers)

    def _order(
        self, request: Request, query: int, positions: Int64
    ) -> tuple[Int64, npt.NDArray[np.float64], Float32]:
        """The order of rows by their float64 scores with a query, then by number; both forms of scores."""
        exact, published = base.able(self.store, "search", "exact_scores")(request, query, positions)
        with default_mode():
            return np.lexsort((self.numbered(positions), -exact)), exact, published

    @contextmanager
    def naming_rows(self) -> Iterator[None]:
        """Let an error about a row at a position name its number."""
        try:
            yield
        except base.RowChangedError as error:
            if self.numbers is None:
                raise
            raise base.RowChangedError(int(self.numbers[error.args[0]])) from None
