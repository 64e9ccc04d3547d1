"""The contract of every home of rows, and the table of homes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from .. import _arguments, _forks, _pages
from .._request import Request
from ..kernels.matrix import Matrix
from ..results import Float32, TopK

Arrays = Mapping[str, npt.NDArray[Any]]
"""Arrays by the names that they have in a folder."""


class Pieces(NamedTuple):
    """The arrays that a folder stores."""

    shared: Arrays
    """Those of all rows together; none of them ever changes."""
    blocks: Sequence[Arrays]
    """Of each block of rows, those that have an entry for each row."""
    memory: Sequence[npt.NDArray[Any]] = ()
    """Of each block, an array that stays the same object while rows are appended to the block."""


Setting = str | int
"""What decides on a screen: "auto", "off", or its number of dimensions."""


class Store(Protocol):
    """Encoded rows at one moment. A store never changes, so a search sees all rows of an addition or none.

    Only some stores have these methods, which ``able`` returns:

    ``ranges(request, least) -> Ranges``
        all rows whose score, as float32, is at least ``least``
    ``pairs(asked, other) -> Iterator[Pairs]``
        pairs of its rows, or of its rows and those of another store (None: its own), by (left, right)
    ``groups(asked) -> int64 (rows,)``
        the lowest row of the group of each row, which pairs connect
    ``pair_score(row, other, metric) -> float``
        the score of one row with another, as a search returns it
    ``multiply(request, inputs, source) -> TopK``
        the ranking by 3CosMul for analogies whose inputs are rows of a matrix
    ``added(rows, *, owned) -> Store``
        a store with further rows appended; one call at a time
    ``reopened(kept, blocks, owned) -> Store``
        a store of the first ``kept`` blocks, followed by blocks that were opened from a folder
    ``exact_scores(request, query, rows) -> (float64, float32)``
        the scores of one query of a request with some rows, and as they are published
    ``packed(first, kept) -> Store``
        a store whose rows before ``first`` stay, and are followed by the ``kept`` ones, in that order
    ``fixed -> int``
        the number of rows at the beginning that are not packed, because they lie in files
    ``verify() -> None``
        raises if rows are not those that were encoded

    A store whose rows are in other processes has no ``vectors`` and ``stored``.
    """

    device: str
    """The name of the home, as in ``HOMES``."""
    screen: Setting
    """What was asked for; see ``Index``."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    @property
    def dims(self) -> int:
        """The number of columns."""

    @property
    def nbytes(self) -> int:
        """Bytes held in addition to the caller's rows: codes, terms, float32 copies."""

    @property
    def matrix(self) -> Matrix:
        """The rows, in this computer's memory, for kernels: float32, or int8 for those that take it; without
        rows where these have to be fetched."""

    def query_array(self, queries: Any) -> Any:
        """Queries as an array of NumPy, or as an array in the memory where the rows are."""

    def search(self, request: Request) -> TopK:
        """The nearest rows of each query."""

    def vectors(self) -> tuple[Float32, ...]:
        """The float32 rows, in this computer's memory, in pieces to be concatenated."""

    def fetch(self, numbers: npt.NDArray[Any]) -> Float32:
        """Copies of the float32 rows with these numbers, in this computer's memory."""

    def refuse(self, row: int, dims: int) -> None:
        """Raise the error for a row whose first ``dims`` values are not all finite; nothing if it is −1."""

    def stored(self) -> Pieces:
        """The arrays that a folder stores."""

    def facts(self) -> dict[str, Any]:
        """What a folder's manifest says of these arrays, besides the numbers of rows and dims."""


class RowChangedError(RuntimeError):
    """A row, ``args[0]``, is no longer the one that was encoded."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        _pages.linked(self, "changed")

    def __str__(self) -> str:
        return (
            f"vectors changed since the Index was built (row {self.args[0]} no longer matches its codes); "
            "build the Index again, and do not write to its array"
        )


class Home(NamedTuple):
    """A home of rows. Its module has ``why_not`` and ``describe`` (see ``machine.Device``), says by
    ``serves(metric)`` whether it knows a metric, and makes stores: ``encoded(vectors, copy=...,
    screen=...)`` for many searches, ``one_shot(vectors)`` for a single search, ``of_rows(rows, owned=...,
    screen=...)`` from a canonical matrix."""

    name: str
    module: str

    def load(self) -> Any:
        """The module, imported on first use."""
        return _loaded(self.module)


@functools.cache
def _loaded(module: str) -> Any:
    return _forks.load(module, __package__)


HOMES = MappingProxyType({home.name: home for home in (Home("cpu", ".cpu"), Home("cuda", ".cuda"))})


def home(device: object, metric: str = "cosine") -> Any:
    """The module of a device, if it can be used here and knows the metric.

    Raises:
        ValueError: if there is no device of that name.
        RuntimeError: if the device cannot be used here; the message says what is missing.
        NotImplementedError: if the device does not know the metric.
    """
    name = _arguments.one_of(device, "device", tuple(HOMES))
    module = HOMES[name].load()
    reason = module.why_not()
    if reason is not None:
        unable = RuntimeError(f"device={name!r} cannot be used here ({reason}); available: 'cpu'")
        raise _pages.linked(unable, "device")
    if not module.serves(metric):
        raise not_available(f"metric={metric!r}", name)
    return module


def able(store: Store, what: str, method: str) -> Callable[..., Any]:
    """A method that not every store has; ``what`` is the name of the operation for users.

    Raises:
        NotImplementedError: if this store does not have it.
    """
    implementation: Callable[..., Any] | None = getattr(store, method, None)
    if implementation is None and hasattr(store, "unable"):
        raise NotImplementedError(f"{what} is not available {store.unable}")
    if implementation is None:
        raise not_available(what, store.device)
    return implementation


def not_available(what: str, device: str) -> NotImplementedError:
    """The error for an operation or an option that a device does not have."""
    return NotImplementedError(f"{what} is not available with device={device!r}; use device='cpu'")
