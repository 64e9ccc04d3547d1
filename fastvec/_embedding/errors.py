"""What an embedder raises and counts; public as names of ``fastvec.openai``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


class EmbeddingError(RuntimeError):
    """An embedding server could not be used, or did not answer what was asked.

    The message says what went wrong; the client's own exception, if there was one, is ``__cause__``.

    Attributes:
        positions: positions in ``texts`` whose rows the failed requests were to bring; empty when the
            embedder could not be made.
        received: bool (n,), True where a checked row arrived before the failure; None before any request.
            Of an iterator, n counts the texts that were read.
        vectors: float32 (n, dims), the matrix filled so far (``out`` itself if it was given, with the other
            rows as they were; else the other rows are NaN); None while no row has arrived and no ``out``
            was given.

    Example:
        >>> from fastvec.openai import EmbeddingError
        >>> EmbeddingError("the server answered a web page").positions
        []
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = list(positions)
        self.received: npt.NDArray[np.bool_] | None = None
        self.vectors: Matrix | None = None


@dataclass(frozen=True)
class Usage:
    """What an embedder has used since it was made.

    ``requests`` counts answers (not the client's own retries), ``texts`` the checked rows received, and
    ``tokens`` sums what the server reported; an answer that reports none adds nothing. Rows from a cache
    add nothing.

    Example:
        >>> from fastvec.openai import Usage
        >>> Usage().tokens
        0
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0


# Where users import them from: errors, help and pickles show it.
EmbeddingError.__module__ = Usage.__module__ = "fastvec.openai"


def shown(positions: Sequence[int]) -> str:
    """Positions in a few words, for messages."""
    first, last, count = positions[0], positions[-1], len(positions)
    if count == 1:
        return f"position {first}"
    if count > 5 and last - first == count - 1:
        return f"positions {first} to {last}"
    more = f" and {count - 5} more" if count > 5 else ""
    return f"positions {', '.join(map(str, positions[:5]))}{more}"
