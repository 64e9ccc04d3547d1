"""Exact vector similarity at integer speed.

Cosine similarity, top-k selection, nearest neighbors, analogies and Matryoshka
truncation over float32 matrices. Searches scan an 8-bit copy, prove with an error bound
which rows can be among the answers, and score only those exactly: the answer is that of a full
float64 scan, the same to the last bit on every machine and number of threads.

Importing this package loads nothing else: NumPy and the compiled kernels are loaded on first use.
"""

from __future__ import annotations

from ._forks import load
from ._submodules import finder
from ._version import __version__

TYPE_CHECKING = False  # stands for typing's, whose import takes longer than this whole module

if TYPE_CHECKING:
    from typing import Any

    from . import benchmark as benchmark
    from . import choices as choices
    from . import errors as errors
    from . import evaluation as evaluation
    from . import files as files
    from . import integrations as integrations
    from . import machine as machine
    from . import models as models
    from . import offline as offline
    from . import openai as openai
    from . import plots as plots
    from ._settings import get_num_threads, set_num_threads
    from .analogies import analogy
    from .index import Index
    from .referee import audit
    from .results import Audit, Pairs, Ranges, TopK
    from .search import knn, topk
    from .similarity import cosine_similarity, normalize, truncate, unpack_bits
    from .vocabulary import Vocabulary

_HOMES = {
    "Audit": "results",
    "Index": "index",
    "Pairs": "results",
    "Ranges": "results",
    "TopK": "results",
    "Vocabulary": "vocabulary",
    "analogy": "analogies",
    "audit": "referee",
    "cosine_similarity": "similarity",
    "get_num_threads": "_settings",
    "knn": "search",
    "normalize": "similarity",
    "set_num_threads": "_settings",
    "topk": "search",
    "truncate": "similarity",
    "unpack_bits": "similarity",
}

# Modules are left out: with ``from fastvec import *`` their names would hide other packages.
__all__ = [
    "Audit",
    "Index",
    "Pairs",
    "Ranges",
    "TopK",
    "Vocabulary",
    "__version__",
    "analogy",
    "audit",
    "cosine_similarity",
    "get_num_threads",
    "knn",
    "normalize",
    "set_num_threads",
    "topk",
    "truncate",
    "unpack_bits",
]

_module = finder(__name__)

# The public modules; the others can be imported as well.
_MODULES = (
    "benchmark",
    "choices",
    "errors",
    "evaluation",
    "files",
    "integrations",
    "machine",
    "models",
    "offline",
    "openai",
    "plots",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(load(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    return _module(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
