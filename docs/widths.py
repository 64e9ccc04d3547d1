"""Which width of a model is enough for which task: one model at several widths, on tasks of MTEB's kinds.

    pip install mteb 'fastvec[quickstart]' gensim
    python docs/widths.py [MODEL] [--base-url URL] [--widths 512 256 …]

Without MODEL, the offline encoder is evaluated (512 dimensions). The tasks are made of what is installed:
docstrings of Python's standard library, and gensim's copies of WordSim-353 and SimLex-999. Nothing is
downloaded. Each text is embedded once, at full width; narrower rows are truncated and renormalized.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import sysconfig
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# k-means of a thousand rows spends more time waiting for a second thread than computing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import mteb
import numpy as np
from datasets import Dataset, DatasetDict, disable_progress_bars
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SearchEncoderWrapper

from fastvec.integrations.mteb import Encoder, SearchIndex
from fastvec.offline import OfflineEmbedder
from fastvec.openai import OpenAIEmbedder

PACKAGES = ("asyncio", "email", "tkinter", "unittest", "xml", "logging", "multiprocessing", "http")
EACH = 60  # docstrings of a package


def metadata(name: str, kind: str, score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name, type=kind, main_score=score, description="made of installed texts", reference=None,
        dataset={"path": "none", "revision": "none"}, category="t2t", modalities=["text"],
        eval_splits=["test"], eval_langs=["eng-Latn"], date=None, domains=None, task_subtypes=None,
        license=None, annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation="",
    )  # fmt: skip


def docstrings() -> list[tuple[str, str, str]]:
    """Package, first sentence and the rest of the first paragraph, where there is a rest."""
    found = []
    for package in PACKAGES:
        rows = {}
        for path in sorted((Path(sysconfig.get_paths()["stdlib"]) / package).rglob("*.py")):
            if {"test", "tests"} & set(path.parts):
                continue
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                    first, _, rest = " ".join((ast.get_docstring(node) or "").split()).partition(". ")
                    if len(first) > 15 and len(rest) > 30:
                        rows.setdefault(first, rest[:400])
        found += [(package, first, rest) for first, rest in list(rows.items())[:EACH]]
    return found


def split(**columns: Any) -> DatasetDict:
    return DatasetDict({"test": Dataset.from_dict(columns)})


class Loaded:
    """Data that is given, not downloaded."""

    def load_data(self, **_: Any) -> None:
        self.data_loaded = True


class Package(Loaded, AbsTaskClassification):
    metadata = metadata("Package", "Classification", "accuracy")

    def __init__(self, texts: list[tuple[str, str, str]]) -> None:
        super().__init__()
        columns = {
            "text": [first for _, first, _ in texts],
            "label": [PACKAGES.index(row[0]) for row in texts],
        }
        parts = [{name: values[start::2] for name, values in columns.items()} for start in (0, 1)]
        self.dataset = DatasetDict(
            {"train": Dataset.from_dict(parts[0]), "test": Dataset.from_dict(parts[1])}
        )


class PackageClusters(Loaded, AbsTaskClustering):
    metadata = metadata("PackageClusters", "Clustering", "v_measure")
    max_fraction_of_documents_to_embed = None
    max_documents_per_cluster = 1024  # drawn with replacement, for each of ten runs

    def __init__(self, texts: list[tuple[str, str, str]]) -> None:
        super().__init__()
        sentences, labels = [first for _, first, _ in texts], [PACKAGES.index(row[0]) for row in texts]
        self.dataset = split(sentences=sentences, labels=labels)


class SameDocstring(Loaded, AbsTaskPairClassification):
    """Whether a sentence and a paragraph are of one docstring; the others are of the same package."""

    metadata = metadata("SameDocstring", "PairClassification", "max_ap")

    def __init__(self, texts: list[tuple[str, str, str]]) -> None:
        super().__init__()
        first, rest = [row[1] for row in texts], [row[2] for row in texts]
        labels = [1] * len(texts) + [0] * len(texts)
        self.dataset = split(sentence1=first * 2, sentence2=[*rest, *rest[1:], rest[0]], labels=labels)


class Paragraph(Loaded, AbsTaskRetrieval):
    """The rest of a docstring's paragraph, by its first sentence."""

    metadata = metadata("Paragraph", "Retrieval", "ndcg_at_10")
    k_values = (1, 10)

    def __init__(self, texts: list[tuple[str, str, str]]) -> None:
        super().__init__()
        rows = {
            letter: Dataset.from_list(
                [{"id": f"{letter}{i}", "text": row[at]} for i, row in enumerate(texts)]
            )
            for letter, at in (("q", 1), ("d", 2))
        }
        relevant = {f"q{i}": {f"d{i}": 1} for i in range(len(texts))}
        part = {"corpus": rows["d"], "queries": rows["q"], "relevant_docs": relevant, "top_ranked": None}
        self.dataset = {"default": {"test": part}}


class Words(Loaded, AbsTaskSTS):
    """How alike two words are, as people say."""

    min_score, max_score = 0, 10
    file: str

    def __init__(self) -> None:
        super().__init__()
        spec = find_spec("gensim")
        assert spec is not None and spec.origin is not None  # noqa: PT018
        lines = (Path(spec.origin).parent / "test" / "test_data" / self.file).read_text("utf-8").splitlines()
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        a, b, scores = zip(*[row[:3] for row in rows if row[2].replace(".", "").isdigit()], strict=True)
        self.dataset = split(sentence1=a, sentence2=b, score=list(map(float, scores)))


class WordSim353(Words):
    metadata = metadata("WordSim353", "STS", "cosine_spearman")
    file = "wordsim353.tsv"


class SimLex999(Words):
    metadata = metadata("SimLex999", "STS", "cosine_spearman")
    file = "simlex999.txt"


class Once:
    """An embedder that embeds each text once."""

    def __init__(self, embedder: Any) -> None:
        self.embedder, self.rows, self.provenance = embedder, {}, embedder.provenance
        self.prefixes = embedder.prefixes

    def embed(self, texts: list[str], **_: Any) -> Any:
        new = list(dict.fromkeys(text for text in texts if text not in self.rows))
        if new:
            self.rows.update(zip(new, self.embedder.embed(new), strict=True))
        return np.array([self.rows[text] for text in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description="One model at several widths, on small offline tasks.")
    parser.add_argument("model", nargs="?", default="offline")
    parser.add_argument("--base-url")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 256, 128, 64, 32, 16])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    disable_progress_bars()
    offline = options.model == "offline"
    embedder = Once(
        OfflineEmbedder() if offline else OpenAIEmbedder(options.model, base_url=options.base_url)
    )
    texts = docstrings()
    makers = [
        lambda: Package(texts), lambda: PackageClusters(texts), lambda: SameDocstring(texts),
        lambda: Paragraph(texts), WordSim353, SimLex999,
    ]  # fmt: skip
    print(f"{len(texts)} docstrings; model {options.model}\n")
    for row, make_task in enumerate(makers):
        scores = []
        for width in options.widths:
            model = Encoder(embedder, dims=width)
            search = SearchEncoderWrapper(model, index_backend=SearchIndex(model))
            result = mteb.evaluate(search, make_task(), cache=None, show_progress_bar=False)
            scores.append(result.task_results[0].get_score())
        task = make_task().metadata
        if row == 0:
            print("| task | score |" + "".join(f" {width} |" for width in options.widths))
            print("|---|---|" + "--:|" * len(options.widths))
        line = "".join(f" {score:.3f} |" for score in scores)
        print(f"| {task.name} ({task.type}) | {task.main_score} |{line}", flush=True)


if __name__ == "__main__":
    main()
