"""The error and the usage counts of embedders, which ``fastvec.openai`` makes public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import EmbeddingError

__all__ = ["EmbeddingError", "Matrix", "Usage", "counted", "shown"]

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Usage:
    """The requests, texts and tokens that an embedder has used since it was made.

    ``requests`` counts answers (not the client's own retries), ``texts`` counts the checked rows received,
    and ``tokens`` is the sum of the tokens that the server reported. Rows from a cache add nothing.

    Example:
        >>> from fastvec.openai import Usage
        >>> Usage().tokens
        0
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0


# The module where users import it, which help and pickles show.
Usage.__module__ = "fastvec.openai"


def counted(texts: int) -> str:
    """A number of texts, for messages."""
    return "1 text" if texts == 1 else f"{texts:,} texts"


def shown(positions: Sequence[int]) -> str:
    """Positions in short form, for messages."""
    first, last, count = positions[0], positions[-1], len(positions)
    if count == 1:
        return f"position {first}"
    if count > 5 and last - first == count - 1:
        return f"positions {first} to {last}"
    more = f" and {count - 5} more" if count > 5 else ""
    return f"positions {', '.join(map(str, positions[:5]))}{more}"
