"""Flat indexes of faiss: the same methods, arguments and arrays, searched by fastvec.

In code with

    import faiss

only the import changes:

    from fastvec.integrations import faiss

Here are ``IndexFlatIP``, ``IndexFlatL2``, ``IndexFlat``, ``IndexIDMap`` and ``IndexIDMap2``, ``knn``,
``normalize_L2``, the ``IDSelector`` classes with ``SearchParameters``, ``write_index`` and
``read_index``. What faiss returns is returned: inner products, squared Euclidean distances or Manhattan
distances as float32, ids as int64. Where fewer than k rows can be found, the id is −1, with the lowest or
largest float32. After ``remove_ids`` the ids of later rows shift. Selectors of faiss itself are taken as
well. faiss need not be installed.

Deliberate differences from faiss 1.15:

- Answers are exact: ranked by float64 scores, then by id. They do not depend on the number of queries, on
  k or on threads. faiss computes in float32, so that its last bits differ with the number of queries,
  and lists rows of equal distance by falling id. Distances here are the float32 roundings of float64
  sums.
- NaN and infinity raise a ``ValueError`` that names the row. faiss keeps such rows, and finds them never or
  always.
- Any array-like is taken. faiss takes NumPy arrays.
- Wrong shapes and a k below 1 raise ``ValueError`` (faiss: ``AssertionError``), and an id below 0 in
  ``reconstruct`` raises ``RuntimeError`` (faiss reads other memory).
- ``write_index`` writes the folder of an ``Index``, not faiss's file.
- Searches of one index from several threads are safe, also while rows are added, but not while they are
  removed.

An index keeps 5 bytes a number: the float32 rows and their codes.
"""

from .flat import (
    IO_FLAG_MMAP,
    METRIC_INNER_PRODUCT,
    METRIC_L1,
    METRIC_L2,
    IndexFlat,
    IndexFlatIP,
    IndexFlatL2,
    knn,
    normalize_L2,
    read_index,
    write_index,
)
from .id_map import IndexIDMap, IndexIDMap2
from .selectors import (
    IDSelector,
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBatch,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorXOr,
    SearchParameters,
)

__all__ = [
    "IO_FLAG_MMAP",
    "METRIC_INNER_PRODUCT",
    "METRIC_L1",
    "METRIC_L2",
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorOr",
    "IDSelectorRange",
    "IDSelectorXOr",
    "IndexFlat",
    "IndexFlatIP",
    "IndexFlatL2",
    "IndexIDMap",
    "IndexIDMap2",
    "SearchParameters",
    "knn",
    "normalize_L2",
    "read_index",
    "write_index",
]
