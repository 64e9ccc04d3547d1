"""Analogies: a is to b as c is to what?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _row_numbers
from ._request import Request
from ._snapshot import Snapshot
from ._stores import base
from .choices import METHODS, Device, Method
from .kernels import analogy as _analogy
from .kernels import filters, matrix
from .results import Float32, TopK


def analogy(
    vectors: npt.ArrayLike,
    positive: Any,
    negative: Any,
    k: int = 1,
    *,
    method: Method = "3cosadd",
    exclude_inputs: bool = True,
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    device: Device = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """Answer questions such as "man is to king as woman is to what?": king − man + woman ≈ queen.

    The answers are the rows that are most similar to the positive inputs (king, woman) and least similar to
    the negative ones (man), by one of two methods.

    "3cosadd" ranks by the cosine with Σ unit(positive) − Σ unit(negative), rounded to
    float32 (Mikolov, Yih and Zweig 2013, https://aclanthology.org/N13-1090). "3cosmul"
    ranks by Π((1 + cos⁺)/2) ÷ (Π((1 + cos⁻)/2) + 0.001) over the inputs' cosines (Levy
    and Goldberg 2014, https://aclanthology.org/W14-1618); its scores are not cosines.

    Args:
        vectors: (n, width), real numbers.
        positive: row numbers (questions, p), a list of lists, or (p,) for one question.
        negative: likewise, (questions, q); may be empty.
        k: answers to each question, at least 1; if there are fewer, filled up as in ``knn``.
        method: "3cosadd" or "3cosmul".
        exclude_inputs: leave the inputs out of the answers.
        dims: use only the first ``dims`` columns.
        where: rows that may be returned: bool (n,), or row numbers.
        device: "cpu", or "cuda" for "3cosadd" on an NVIDIA device, as in ``knn``.
        num_threads: threads of this call; None: ``get_num_threads()``.

    Returns:
        TopK of shape (questions, k), or (k,) for one question.

    Raises:
        ValueError: if a question has no positive input, and as in ``knn``.
        TypeError: if row numbers are not integers, and as in ``knn``.
        NotImplementedError: if "3cosmul" is used with a device other than "cpu".
        IndexError: if a row number is negative or too large.

    Example:
        >>> import fastvec
        >>> words = ["man", "woman", "king", "queen"]
        >>> vectors = [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]]
        >>> words[fastvec.analogy(vectors, [2, 1], [0]).indices[0]]
        'queen'
    """
    return answer(
        Snapshot(base.home(device).one_shot(vectors)),
        positive,
        negative,
        k,
        method=method,
        exclude_inputs=exclude_inputs,
        dims=dims,
        where=where,
        num_threads=num_threads,
    )


def answer(
    rows: Snapshot,
    positive: Any,
    negative: Any,
    k: int,
    *,
    method: Method,
    exclude_inputs: bool,
    dims: int | None,
    where: npt.ArrayLike | None,
    num_threads: int | None,
) -> TopK:
    """Answer questions over the rows of an Index."""
    exclude_inputs = _arguments.flag(exclude_inputs, "exclude_inputs")
    method = _arguments.one_of(method, "method", METHODS)
    _answering(rows, method)
    _arguments.prefix(dims, rows.store.dims)
    threads = _arguments.num_threads(num_threads)
    *inputs, one = _row_numbers.questions(positive, negative, rows.top)
    return answer_questions(
        rows,
        _analogy.InputRows(*inputs),
        one=one,
        k=k,
        method=method,
        exclude_inputs=exclude_inputs,
        dims=dims,
        where=where,
        num_threads=threads,
    )


def question(rows: Sequence[int], positives: int) -> _analogy.InputRows:
    """One question, of rows that are known to exist, the positive inputs first."""
    places = np.array([0, len(rows), positives, *rows], np.int64)
    return _analogy.InputRows(places[:2], places[2:3], places[3:])


def answer_questions(
    rows: Snapshot,
    inputs: _analogy.InputRows,
    *,
    one: bool,
    k: int,
    method: Method,
    exclude_inputs: bool = True,
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    num_threads: int | None = None,
) -> TopK:
    """Answer questions whose inputs are row numbers in range, over the rows of an Index."""
    answered, store, numbers = _answering(rows, method), rows.store, inputs.numbers
    width, threads = _arguments.prefix(dims, store.dims), _arguments.num_threads(num_threads)
    if rows.changed:
        inputs = inputs._replace(numbers=rows.positions(numbers, "the question"))
    inputs, source = _with_inputs(store, inputs)
    targets, bad = _analogy.targets(inputs, source, width, threads)
    store.refuse(bad, width)
    request = rows.request(
        targets[0] if one else targets,
        k,
        metric="cosine",
        dims=width,
        where=where,
        exclude=filters.Exclusions.of_runs(inputs.offsets, numbers) if exclude_inputs else None,
        num_threads=threads,
    )
    return answered(request, inputs, source)


def _with_inputs(store: base.Store, inputs: _analogy.InputRows) -> tuple[_analogy.InputRows, matrix.Matrix]:
    """Questions about a float32 matrix: the store's own, or one of just the rows that they name."""
    source = store.matrix
    if source.is_float32:
        return inputs, source
    needed, places = np.unique(inputs.numbers, return_inverse=True)
    return inputs._replace(numbers=places.reshape(-1)), matrix.of((store.fetch(needed),))


def answer_vectors(
    rows: Snapshot,
    vectors: Float32,
    positives: int,
    excluded: Sequence[int],
    k: int,
    method: Method,
    where: npt.ArrayLike | None = None,
) -> TopK:
    """Answer a question whose inputs are vectors, the positive ones first, over the rows of an Index.

    The answer is that of ``answer`` if these vectors were rows. Only as many columns of the rows are used as
    ``vectors`` has.
    """
    answered = _answering(rows, _arguments.one_of(method, "method", METHODS))
    if not positives:
        raise ValueError("positive is empty; a question needs at least one positive input")
    threads = _arguments.num_threads(None)
    _arguments.check_finite(vectors, "positive and negative", threads)
    places = np.arange(len(vectors))
    inputs = _analogy.InputRows(np.array([0, len(places)]), np.array([positives]), places)
    source = matrix.of((vectors,))
    targets, _ = _analogy.targets(inputs, source, vectors.shape[1], threads)
    request = rows.request(
        targets[0],
        k,
        metric="cosine",
        dims=vectors.shape[1],
        where=where,
        exclude=list(excluded),
        num_threads=threads,
    )
    return answered(request, inputs, source)


def _answering(
    rows: Snapshot, method: Method
) -> Callable[[Request, _analogy.InputRows, matrix.Matrix], TopK]:
    """The function of a method that answers a request, given input rows and their matrix."""
    if method == "3cosadd":
        return lambda request, _inputs, _source: rows.search(request)
    base.able(rows.store, f"method={method!r}", "multiply")
    return rows.multiply
