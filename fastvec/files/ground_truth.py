"""Files of right answers, as benchmarks of nearest neighbors keep them: row numbers and distances.

    .ivecs        row numbers; the distances are beside it in .fvecs
    .ibin         big-ann: the numbers of queries and neighbors, row numbers, distances
    .hdf5 .h5     ann-benchmarks: the matrices neighbors and distances

Row numbers are int32, distances are float32 in the units of the format's own programs: HDF5 has distances
and 1 − cosine, so that less is always nearer; the others have squared Euclidean distances, and cosines and
inner products as they are. Places without a row have the number −1.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .atomic import put_back, replacing_together
from .vector_sets import DATASETS, hdf5_library

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MOST_ROWS = 1 << 31
"""The numbers of more rows do not fit."""

_ANGULAR = {"cosine": "angular"}
"""Names of metrics in ann-benchmarks, where they are others."""


class Format(NamedTuple):
    """How right answers are written."""

    suffixes: tuple[str, ...]
    beside: tuple[str, ...]
    """Suffixes of further files."""
    write: Callable[[Sequence[Path], Int32, Float32, str], None]
    """Writes to as many new files; the last argument is the metric."""
    distances: Callable[[str, Float64], Float64]
    """What the format has in place of the scores of a metric."""
    check: Callable[[], object] = lambda: None
    """Raises if a package that it needs is missing."""


def by_suffix(path: Path) -> Format:
    """The format of a path.

    Raises:
        ValueError: no format has its suffix.
        ModuleNotFoundError: the package that writes it is not installed.
    """
    for record in FORMATS:
        if path.suffix.lower() in record.suffixes:
            record.check()
            return record
    known = ", ".join(suffix for record in FORMATS for suffix in record.suffixes)
    raise ValueError(f"{os.fspath(path)!r}: its suffix must be one of {known}")


def parts(path: Path) -> tuple[Path, ...]:
    """The files that right answers consist of; the first is the path itself."""
    return (path, *map(path.with_suffix, by_suffix(path).beside))


def write(path: Path, indices: NDArray[np.int64], scores: Float64, metric: str) -> None:
    """Write right answers (m, k), whole or not at all; existing files are replaced."""
    form = by_suffix(path)
    with np.errstate(over="ignore"):
        distances = form.distances(metric, scores).astype("<f4")
    main, *beside = parts(path)
    put_back(main)
    with replacing_together(main, beside) as places:
        form.write(places, indices.astype("<i4"), distances, metric)


def _as_faiss(metric: str, scores: Float64) -> Float64:
    return {"euclidean": np.square, "manhattan": np.negative}.get(metric, np.asarray)(scores)


def _less_is_nearer(metric: str, scores: Float64) -> Float64:
    return 1.0 - scores if metric == "cosine" else -scores


def _write_vecs(places: Sequence[Path], indices: Int32, distances: Float32, _metric: str) -> None:
    for place, matrix in zip(places, (indices, distances), strict=True):
        records = np.empty((len(matrix), 1 + matrix.shape[1]), "<i4")
        records[:, 0], records[:, 1:] = matrix.shape[1], matrix.view("<i4")
        with open(place, "xb") as file:
            file.write(records.data)


def _write_bin(places: Sequence[Path], indices: Int32, distances: Float32, _metric: str) -> None:
    with open(places[0], "xb") as file:
        file.write(np.array(indices.shape, "<u4").data)
        file.write(indices.data)
        file.write(distances.data)


def _write_hdf5(places: Sequence[Path], indices: Int32, distances: Float32, metric: str) -> None:
    made = io.BytesIO()  # because h5py leaves a file open, and says so later, if the disk is full
    with hdf5_library().File(made, "w") as file:
        file.attrs["distance"] = _ANGULAR.get(metric, metric)
        file[DATASETS["answers"]], file[DATASETS["scores"]] = indices, distances
    with open(places[0], "xb") as whole:
        whole.write(made.getbuffer())


FORMATS = (
    Format((".ivecs",), (".fvecs",), _write_vecs, _as_faiss),
    Format((".ibin",), (), _write_bin, _as_faiss),
    Format((".hdf5", ".h5"), (), _write_hdf5, _less_is_nearer, hdf5_library),
)
