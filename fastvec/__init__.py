"""Exact vector similarity at integer speed.

Cosine similarity, top-k selection, nearest neighbors, analogies and Matryoshka
truncation over float32 matrices. Searches scan an 8-bit copy, prove with an error bound
which rows can still win, and score just those exactly: the answer is that of a full
float64 scan, the same to the last bit on every machine and number of threads.

Importing this package loads nothing else: NumPy and the compiled kernels come with the first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import benchmark, files, machine, openai, plots
    from ._settings import get_num_threads, set_num_threads
    from .analogies import analogy
    from .index import Index
    from .results import TopK
    from .search import knn, topk
    from .similarity import cosine_similarity, normalize, truncate
    from .vocabulary import Vocabulary

_HOMES = {
    "Index": "index",
    "TopK": "results",
    "Vocabulary": "vocabulary",
    "analogy": "analogies",
    "benchmark": None,
    "cosine_similarity": "similarity",
    "files": None,
    "get_num_threads": "_settings",
    "knn": "search",
    "machine": None,
    "normalize": "similarity",
    "openai": None,
    "plots": None,
    "set_num_threads": "_settings",
    "topk": "search",
    "truncate": "similarity",
}

__all__ = [
    "Index",
    "TopK",
    "Vocabulary",
    "__version__",
    "analogy",
    "benchmark",
    "cosine_similarity",
    "files",
    "get_num_threads",
    "knn",
    "machine",
    "normalize",
    "openai",
    "plots",
    "set_num_threads",
    "topk",
    "truncate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastvec' has no attribute {name!r}")
    home = _HOMES[name]
    module = importlib.import_module(f".{home or name}", __name__)
    value = module if home is None else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
