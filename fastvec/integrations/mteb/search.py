"""An index for mteb's search of encoded documents."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import fastvec
from fastvec.choices import Device, Metric

METRICS = ("cosine", "dot", "euclidean")

Answer = tuple[list[list[float]], list[list[int]]]
"""For each query, the scores of its documents, best first, and their numbers."""


class SearchIndex:
    """What ``SearchEncoderWrapper(model, index_backend=…)`` of mteb takes: documents, searched exactly.

    Documents may be added in parts, in any type that fastvec takes; numbers are in the order of adding.

    Args:
        model: the model that is evaluated; its ``mteb_model_meta`` names the metric. If that names none, or
            None is given, the metric is the cosine, as in mteb.
        metric: "cosine", "dot" or "euclidean" (scores are negated distances), instead of the model's.
        device: as for ``fastvec.Index``.

    Raises:
        ValueError: the metric is another one.

    Example:
        >>> import numpy as np
        >>> from fastvec.integrations.mteb import SearchIndex
        >>> index = SearchIndex(metric="dot")
        >>> index.add_documents(np.array([[0, 1], [1, 0]]), ["a", "b"])
        >>> index.add_documents(np.array([[2, 0]]), ["c"])
        >>> index.search(np.array([[1, 0]]), top_k=2)
        ([[2.0, 1.0]], [[2, 1]])
        >>> index.search(np.array([[1, 0]]), top_k=2, top_ranked={"q": ["a", "b"]}, query_idx_to_id={0: "q"})
        ([[1.0, 0.0]], [[1, 0]])
    """

    def __init__(self, model: Any = None, *, metric: Metric | None = None, device: Device = "cpu") -> None:
        named = getattr(getattr(model, "mteb_model_meta", None), "similarity_fn_name", None)
        chosen = metric or getattr(named, "value", named) or "cosine"
        if chosen not in METRICS:
            raise ValueError(f"the metric is {chosen!r}; an Index of fastvec has one of {', '.join(METRICS)}")
        self.metric = cast(Metric, str(chosen))
        self.device = device
        self._index: fastvec.Index | None = None
        self._documents: list[str] = []

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents.

        Args:
            embeddings: (n, dims) numbers: an array or a tensor.
            idxs: their n identifiers.

        Raises:
            ValueError: there are not n identifiers, or as ``fastvec.Index``.
        """
        if len(idxs) != len(embeddings):
            raise ValueError(f"embeddings and idxs differ in number: {len(embeddings):,} and {len(idxs):,}")
        if self._index is None:
            self._index = fastvec.Index(embeddings, metric=self.metric, device=self.device)
        else:
            self._index.add(embeddings)
        self._documents.extend(idxs)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[..., Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> Answer:
        """The nearest documents of each query, or of those that are to be reranked for it.

        Args:
            embeddings: (m, dims) numbers: the queries.
            top_k: how many documents of each; fewer if there are fewer.
            similarity_fn: not used; the metric is that of this index.
            top_ranked: the identifiers of the documents to be reranked, by identifier of the query; a query
                that is not there gets no documents.
            query_idx_to_id: the identifier of each query, needed with ``top_ranked``.

        Returns:
            For each query a list of scores, and a list of the documents' numbers: in the order of adding, or,
            with ``top_ranked``, in that query's list.

        Raises:
            ValueError: no documents were added, ``query_idx_to_id`` is missing, or as ``Index.search``.
            KeyError: a document to be reranked was not added.
        """
        if self._index is None:
            raise ValueError("there are no documents: call add_documents first")
        if top_ranked is None:
            found = self._index.search(embeddings, min(top_k, len(self._index)))
            return found.scores.tolist(), found.indices.tolist()
        if query_idx_to_id is None:
            raise ValueError("top_ranked is given, so query_idx_to_id must be, too: it names the queries")
        lists = [top_ranked.get(query_idx_to_id[number], ()) for number in range(len(embeddings))]
        return self._reranked(self._index.vectors, embeddings, top_k, lists)

    def clear(self) -> None:
        """Forget all documents."""
        self._index = None
        self._documents = []

    def _reranked(self, vectors: Any, queries: Any, top_k: int, lists: Sequence[Sequence[str]]) -> Answer:
        numbers = {document: number for number, document in enumerate(self._documents)}
        scores: list[list[float]] = []
        places: list[list[int]] = []
        for query, documents in zip(queries, lists, strict=True):
            unknown = next((document for document in documents if document not in numbers), None)
            if unknown is not None:
                raise KeyError(f"document {unknown!r} is to be reranked, but was not added")
            if not documents:
                scores.append([])
                places.append([])
                continue
            rows = vectors[[numbers[document] for document in documents]]
            found = fastvec.knn(query, rows, min(top_k, len(rows)), metric=self.metric)
            scores.append(found.scores.tolist())
            places.append(found.indices.tolist())
        return scores, places
