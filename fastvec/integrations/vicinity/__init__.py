"""A backend for vicinity with exact searches of an Index.

vicinity makes backends by name, from a list of its own; any other is handed to it:

    from fastvec.integrations.vicinity import FastvecBackend
    from vicinity import Vicinity

    nearest = Vicinity(items, FastvecBackend.from_vectors(vectors, metric="cosine"))

It computes "cosine", "euclidean" and "manhattan" distances. It calls itself the basic backend, which is
vicinity's own exact one: ``Vicinity.save`` writes a folder that ``Vicinity.load`` opens with that one. To go
on with fastvec:

    nearest = Vicinity.load(folder)
    nearest.backend = FastvecBackend.load(folder)

What differs on purpose: equal distances rank in the order of the vectors; NaN and infinity are errors;
results of ``query_threshold`` are sorted, and never more than ``max_k``.
"""

from typing import TYPE_CHECKING

from .._hosts import finder

if TYPE_CHECKING:
    from ._backend import FastvecBackend as FastvecBackend

__all__ = ["FastvecBackend"]

__getattr__ = finder(__name__, {"FastvecBackend": "_backend"}, "vicinity", "vicinity")


def __dir__() -> list[str]:
    return __all__
