"""Real embeddings of real texts: first sentences of docstrings, by the offline encoder (512 dimensions).

The texts are those of Python's standard library and of the installed packages, so they differ from one
installation to another; ``data.digest`` says whether two are the same.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from .corpus import Array
from .generated import QUERIES

DIMS = 512
_SHORTEST, _LONGEST = 16, 200
"""Characters of a text."""

_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages"}
"""Folders whose files are not read."""


def docstrings(
    rows: int,
    *,
    cache: Path | None = None,
    progress: bool | Callable[[int, int | None], object] = False,
) -> tuple[Array, Array]:
    """Embedded texts; queries are other texts, none of which is among the rows.

    Embedding takes some milliseconds a text. The standard library is read first, then packages by name, until
    there are enough texts.

    Args:
        rows: at most as many as there are texts here.
        cache: a file in which embedded texts are kept, so that the next run finds them.
        progress: as in ``OpenAIEmbedder.embed``.

    Raises:
        ValueError: there are fewer texts, or ``cache`` is not a cache of fastvec.
        ImportError: the encoder is not installed.
    """
    from .._embedders import OfflineEmbedder

    embedder = OfflineEmbedder()
    chosen = texts(QUERIES + rows)
    if cache is not None:
        embedder._keep_in(cache)
    try:
        vectors = embedder.embed(chosen, progress=progress)
    finally:
        embedder._close()
    return vectors[QUERIES:].copy(), vectors[:QUERIES].copy()


def texts(count: int) -> list[str]:
    """Different texts, in an order that depends on nothing but the texts.

    Raises:
        ValueError: there are fewer.
    """
    found: dict[str, None] = {}
    for path in _sources():
        found.update(dict.fromkeys(_sentences(path)))
        if len(found) >= count:
            break
    else:
        here = max(0, len(found) - QUERIES)
        raise ValueError(
            f"the docstrings that are installed here make {here:,} rows, not {count - QUERIES:,}: ask for at "
            f"most {here:,}, or install more packages"
        )
    return sorted(list(found)[:count], key=lambda text: hashlib.sha256(text.encode()).digest())


def _sources() -> Iterator[Path]:
    """Python files of the standard library, then those of packages by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if not _LEFT_OUT & set(path.relative_to(library).parts):
            yield path
    names: dict[str, importlib.metadata.Distribution] = {}
    for package in importlib.metadata.distributions():
        names.setdefault(package.name.lower(), package)  # the first one found is the one that is imported
    for _, package in sorted(names.items()):
        for file in sorted(package.files or [], key=str):
            path = Path(str(package.locate_file(file)))
            if file.suffix == ".py" and not _LEFT_OUT & set(file.parts) and path.is_file():
                yield path


def _sentences(path: Path) -> Iterator[str]:
    """The first sentence of every docstring of a class or function in a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what others write
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # files for other versions of Python, and broken ones for tests
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
            sentence = " ".join(paragraph.split()).split(". ")[0]
            if _SHORTEST <= len(sentence) <= _LONGEST and " " in sentence:
                yield sentence
