"""Peers that compute with torch on the processor, among them sentence-transformers' way to search.

Each function prepares (not timed) and returns what is timed; ``peers.py`` has their rows.
"""

from __future__ import annotations

import functools
import heapq
from typing import Any

import numpy as np

from .corpus import Array, Corpus, Run, gathered, gathering_pays


def torch_search(corpus: Corpus, *, bfloat16: bool = False) -> Run:
    """All scores at once, and ``topk``."""
    if gathering_pays(corpus):
        return gathered(functools.partial(torch_search, bfloat16=bfloat16), corpus)
    import torch

    kind = torch.bfloat16 if bfloat16 else torch.float32
    matrix = torch.from_numpy(corpus.vectors).to(kind)
    power = {"cosine": None, "dot": None, "euclidean": 2.0, "manhattan": 1.0}[corpus.metric]
    forbidden = None if corpus.where is None else torch.from_numpy(~corpus.where)

    def run(queries: Array) -> tuple[Array, Array]:
        given = torch.from_numpy(queries).to(kind)
        scores = given @ matrix.T if power is None else -torch.cdist(given, matrix, p=power)
        if forbidden is not None:
            scores.masked_fill_(forbidden, -torch.inf)
        values, indices = scores.topk(corpus.k)
        return values.float().numpy(), indices.numpy()

    return run


def torch_similarity(corpus: Corpus) -> Run:
    """Both matrices normalized, and one product."""
    import torch
    from torch.nn.functional import normalize

    vectors = torch.from_numpy(corpus.vectors)
    return lambda queries: (normalize(torch.from_numpy(queries)) @ normalize(vectors).T).numpy()


def torch_select(k: int) -> Run:
    """``topk``."""
    import torch

    return lambda scores: tuple(part.numpy() for part in torch.from_numpy(scores).topk(k))


def semantic_search(corpus: Corpus) -> Run:
    """sentence-transformers' ``util.semantic_search``: chunks of 100 queries, topk, a heap, sorted lists."""
    import torch
    from torch.nn.functional import normalize

    matrix = torch.from_numpy(corpus.vectors)

    def run(queries: Array) -> list[list[dict[str, Any]]]:
        given, answers = torch.from_numpy(queries), []
        for q in range(0, len(given), 100):
            hits: list[list[tuple[float, int]]] = [[] for _ in given[q : q + 100]]
            for x in range(0, len(matrix), 500_000):
                scores = normalize(given[q : q + 100]) @ normalize(matrix[x : x + 500_000]).T
                values, indices = torch.topk(scores, min(corpus.k, scores.shape[1]), sorted=False)
                for heap, some, places in zip(hits, values.tolist(), indices.tolist(), strict=True):
                    for score, place in zip(some, places, strict=True):
                        push = heapq.heappush if len(heap) < corpus.k else heapq.heappushpop
                        push(heap, (score, x + place))
            for heap in hits:
                ranked = sorted(heap, key=lambda hit: -hit[0])
                answers.append([{"corpus_id": place, "score": score} for score, place in ranked])
        return answers

    return run


def read_hits(answers: list[list[dict[str, Any]]]) -> tuple[Array, Array]:
    """Lists of hits as scores and indices."""
    scores = np.array([[hit["score"] for hit in hits] for hits in answers])
    return scores, np.array([[hit["corpus_id"] for hit in hits] for hits in answers])
