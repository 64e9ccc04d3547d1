"""From texts to answers, offline: embed 10,000 texts, search them, find duplicates, cluster, draw.

    pip install 'fastvec[arrow,plot,quickstart]'
    python docs/texts.py FOLDER

The texts are first sentences of docstrings of Python's standard library, NumPy and Numba, which are installed
wherever this runs. Embedding them takes longest by far, some 20 seconds on one processor; every other step
takes seconds or less.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

import fastvec
from fastvec import files, plots

TEXTS = 10_000
LONGEST = 72  # characters
SAME = 0.97  # texts with at least this cosine count as duplicates
CLUSTERS = 24


def docstrings(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and first sentence of every class and function in a folder whose first sentence is short."""
    for path in sorted(folder.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.relative_to(folder).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # files that are broken on purpose, for tests
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
                sentence = " ".join(paragraph.split()).split(". ")[0]
                if " " in sentence and len(sentence) <= LONGEST:
                    yield node.name, sentence


def write_texts(path: Path) -> None:
    """Write a CSV file with the columns package, name and text."""
    folders = {"python": Path(sysconfig.get_paths()["stdlib"])}
    for package in ("numpy", "numba"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None  # noqa: PT018
        folders[package] = Path(spec.origin).parent
    rows = [(package, *row) for package, folder in folders.items() for row in docstrings(folder)]
    chosen = np.linspace(0, len(rows) - 1, min(TEXTS, len(rows))).astype(int)  # some of each package
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("package", "name", "text"))
        writer.writerows(rows[number] for number in chosen)


def shell(*arguments: str | Path) -> None:
    """Show a command line and run it."""
    words = [str(argument) for argument in arguments]
    print("\n$ fastvec", *(f'"{word}"' if " " in word else word for word in words), flush=True)
    subprocess.run([sys.executable, "-m", "fastvec", *words], check=True)


def clusters(vectors: Any, count: int) -> tuple[Any, Any]:
    """Spherical k-means (Dhillon and Modha 2001): the cluster of each unit row, and the centers."""
    centers = vectors[np.random.default_rng(0).choice(len(vectors), count, replace=False)]
    label = np.full(len(vectors), -1)
    for _ in range(50):
        nearest = fastvec.knn(vectors, centers, 1).indices[:, 0]
        if np.array_equal(nearest, label):
            break
        label, sums = nearest, np.zeros_like(centers)
        np.add.at(sums, label, vectors)
        centers = np.where(sums.any(axis=1, keepdims=True), fastvec.normalize(sums), centers)
    return label, centers


def draw(ax: Any, vectors: Any, label: Any, names: list[str]) -> None:
    """Draw the rows along the two directions in which they differ most, with a color for each cluster."""
    centered = vectors - vectors.mean(axis=0)
    directions = np.linalg.eigh(centered.T @ centered)[1][:, :-3:-1]
    x, y = (centered @ directions).T
    counts = np.bincount(label, minlength=len(names))
    colors = colormaps["turbo"](np.linspace(0, 1, len(names)))
    for color, number in zip(colors, np.argsort(-counts, kind="stable"), strict=True):
        inside = label == number
        ax.scatter(x[inside], y[inside], color=color, s=2, linewidths=0, label=names[number])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=6, markerscale=3, frameon=False)
    ax.set_title(f"{len(vectors):,} texts, {len(names)} clusters")
    ax.set_axis_off()


def main(folder: Path) -> None:
    """Run every step, with the files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    source, stored, picture = (folder / f"docstrings.{kind}" for kind in ("csv", "arrow", "png"))
    write_texts(source)
    shell("embed", source, "-o", stored, "--model", "offline", "--keep", "package,name", "--force")
    shell("search", stored, "delete a directory and everything in it", "--k", "5")
    shell("search", stored, "inverse of a matrix", "--k", "5", "--where", "package=numpy")

    labeled = files.read(stored, repeated=True)
    texts, names, index = labeled.words, labeled.columns["name"], labeled.index()
    first, group, sizes = np.unique(index.duplicates(SAME), return_inverse=True, return_counts=True)
    different = len(set(texts))
    print(f"\n{len(texts):,} texts, {different:,} different ones, {len(first):,} groups of duplicates")
    print("Most frequent:")
    for number in np.argsort(-sizes, kind="stable")[:5]:
        row = int(np.argmax(group == number))
        print(f"  {sizes[number]:4} times, as in {names[row]}: {texts[row]}")

    vectors = fastvec.normalize(index.vectors[first])
    label, centers = clusters(vectors, CLUSTERS)
    titles = [texts[first[row]] for row in fastvec.knn(centers, vectors, 1).indices[:, 0]]
    counts = np.bincount(label, minlength=CLUSTERS)
    print("\nClusters, by the text nearest to their center:")
    for number in np.argsort(-counts, kind="stable"):
        print(f"  {counts[number]:5} texts: {titles[number]}")
    plots.save(picture, lambda ax: draw(ax, vectors, label, titles), (9, 7))
    print(f"\n{picture}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docstrings"))
