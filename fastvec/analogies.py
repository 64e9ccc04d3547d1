"""Analogies: a is to b as c is to what?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _arguments, _device, _row_numbers
from ._request import Request, changed, one_shot
from .kernels import analogy as _analogy
from .kernels import cosmul, filters, matrix
from .results import Float32, TopK

METHODS = ("3cosadd", "3cosmul")


def analogy(
    vectors: npt.ArrayLike,
    positive: Any,
    negative: Any,
    k: int = 1,
    *,
    method: str = "3cosadd",
    exclude_inputs: bool = True,
    dims: int | None = None,
    where: npt.ArrayLike | None = None,
    device: str = "cpu",
    num_threads: int | None = None,
) -> TopK:
    """Rows that are to the positive inputs as the negative ones are not: king − man + woman ≈ queen.

    "3cosadd" ranks by the cosine with Σ unit(positive) − Σ unit(negative), rounded to
    float32 (Mikolov, Yih and Zweig 2013, https://aclanthology.org/N13-1090). "3cosmul"
    ranks by Π((1 + cos⁺)/2) ÷ (Π((1 + cos⁻)/2) + 0.001) over the inputs' cosines (Levy
    and Goldberg 2014, https://aclanthology.org/W14-1618); its scores are not cosines.

    Args:
        vectors: (n, width), real numbers.
        positive: row numbers (questions, p), a list of lists, or (p,) for one question.
        negative: the same, (questions, q) …; may be empty.
        k: answers to each question, at least 1; filled up with index −1 as in ``knn``.
        method: "3cosadd" or "3cosmul".
        exclude_inputs: leave the inputs out of the answers.
        dims: use only the first ``dims`` columns.
        where: rows that may be returned: bool (n,), or row numbers.
        device: "cpu", or "cuda" for "3cosadd" on an NVIDIA device, as in ``knn``.
        num_threads: threads of this call; None: ``get_num_threads()``.

    Returns:
        TopK of shape (questions, k), or (k,) for one question.

    Raises:
        ValueError: on a question without positive input, and as in ``knn``.
        TypeError: on row numbers that are not integers, and as in ``knn``.
        NotImplementedError: on "3cosmul" with another device than "cpu".
        IndexError: on row numbers that are negative or too large.

    Example:
        >>> import fastvec
        >>> words = ["man", "woman", "king", "queen"]
        >>> vectors = [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1]]
        >>> words[fastvec.analogy(vectors, [2, 1], [0]).indices[0]]
        'queen'
    """
    device = _arguments.device(device)
    base = _device.host_rows(_device.matrix(_device.given(vectors, "vectors", device)))
    question = (positive, negative, k, method, exclude_inputs, dims, where, num_threads)
    if device == "cuda":
        return answer((base,), *question, search=_device.one_shot, encoded=False, device=device)
    return answer((base,), *question, search=lambda request: request.answer(one_shot(request)), encoded=False)


def answer(
    vectors: tuple[Float32, ...],
    positive: Any,
    negative: Any,
    k: int,
    method: str,
    exclude_inputs: bool,
    dims: int | None,
    where: npt.ArrayLike | None,
    num_threads: int | None,
    *,
    search: Callable[[Request], TopK],
    encoded: bool,
    device: str = "cpu",
) -> TopK:
    """Answer questions over a canonical matrix; ``search`` answers the search that 3CosAdd becomes.

    As in a ``Request``, only rows that are encoded already are in several blocks.
    """
    exclude_inputs = _arguments.flag(exclude_inputs, "exclude_inputs")
    method = _arguments.one_of(method, "method", METHODS)
    if method != "3cosadd":
        _device.only_on_cpu(device, f"method={method!r}")
    base = matrix.of(vectors)
    width = _arguments.prefix(dims, vectors[0].shape[1])
    threads = _arguments.num_threads(num_threads)
    offsets, middle, rows, one = _row_numbers.questions(positive, negative, base.rows)
    questions = _analogy.Questions(offsets, middle, rows)
    excluded = filters.Exclusions.of_runs(offsets, rows) if exclude_inputs else None
    targets, bad = _analogy.targets(questions, base, width, threads)
    if bad >= 0 and encoded:
        raise changed(bad)
    _arguments.refuse_row(bad, vectors[0][:, :width], "vectors")
    query = targets[0] if one else targets
    request = Request(query, vectors, k, "cosine", width, where, excluded, threads, encoded=encoded)
    if method == "3cosadd":
        return search(request)
    if not encoded:
        _arguments.check_finite(vectors[0][:, :width], "vectors", threads)
    return _multiplied(questions, base, request)


def answer_vectors(
    vectors: tuple[Float32, ...],
    inputs: Float32,
    positives: int,
    excluded: Sequence[int],
    k: int,
    method: str,
    *,
    search: Callable[[Request], TopK],
    device: str,
) -> TopK:
    """Answer a question whose inputs are vectors, the positive ones first, over rows that are encoded.

    It is what ``answer`` gives for the same vectors as rows. Of ``vectors``, the first columns count, as many
    as ``inputs`` has.
    """
    method = _arguments.one_of(method, "method", METHODS)
    if method != "3cosadd":
        _device.only_on_cpu(device, f"method={method!r}")
    if not positives:
        raise ValueError("positive is empty; a question needs at least one positive input")
    threads = _arguments.num_threads(None)
    _arguments.check_finite(inputs, "positive and negative", threads)
    rows = np.arange(len(inputs))
    questions = _analogy.Questions(np.array([0, len(rows)]), np.array([positives]), rows)
    given = matrix.of((inputs,))
    targets, _ = _analogy.targets(questions, given, inputs.shape[1], threads)
    query = (targets[0], vectors, k, "cosine", inputs.shape[1], None, list(excluded), threads)
    request = Request(*query, encoded=True)
    return search(request) if method == "3cosadd" else _multiplied(questions, given, request)


def _multiplied(questions: _analogy.Questions, given: matrix.Matrix, request: Request) -> TopK:
    cosmul.multiply(
        questions,
        given,
        request.matrix,
        request.dims,
        request.allowed,
        request.exclusions,
        request.scores,
        request.indices,
        request.num_threads,
    )
    return request.result()
