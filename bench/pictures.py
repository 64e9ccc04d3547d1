"""Pictures of records, as SVG for light and dark pages: the same records give the same bytes.

    python bench/pictures.py bench/records.jsonl                 to docs/pictures/
    python bench/pictures.py bench/records.jsonl --to elsewhere

`python bench/all.py --full --json bench/records.jsonl` writes the records.
"""

from __future__ import annotations

import argparse
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from fastvec.benchmark import record

Record = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]

# What is drawn in the first becomes the second on a light page and the third on a dark one.
INK, FAINT = ("#010101", "#1f2328", "#e6edf3"), ("#020202", "#8b949e", "#6e7681")
SERIES = {
    "Index": ("#030301", "#d1242f", "#ff7b72"),
    "knn": ("#030302", "#bf5700", "#ffa657"),
    "numpy": ("#030303", "#0969da", "#79c0ff"),
    "torch": ("#030304", "#8250df", "#d2a8ff"),
    "faiss": ("#030305", "#1a7f37", "#56d364"),
    "scikit-learn": ("#030306", "#9a6700", "#e3b341"),
    "usearch": ("#030307", "#bf3989", "#ff9bce"),
    "numkong": ("#030308", "#1b7c83", "#39c5cf"),
    "scipy": ("#030309", "#57606a", "#b1bac4"),
    "gensim": ("#03030a", "#4d6b00", "#a5c261"),
    "semantic_search": ("#03030b", "#7a4a2b", "#d4a27f"),
    "faiss-panorama": ("#03030c", "#0f5323", "#aff5b4"),
}
MARKERS = dict(zip(SERIES, "o^sDvPX*phd<", strict=True))
WORDS = {"n": "vectors", "dims": "dimensions", "m": "queries at once", "k": "nearest"}
STYLE = {
    "svg.hashsalt": "fastvec",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK[0]),
    "axes.edgecolor": FAINT[0],
    "grid.color": FAINT[0],
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def speedup(records: Sequence[Record]) -> Figure:
    """How many times as long as Index.search others take, by batch."""
    chosen = _of_figure(records, "batch", "m")
    figure, (axes,) = _figure(1)
    names = [name for name in SERIES if any(_find(r, name) for r in chosen) and name != "Index"]
    ends = []
    for name in names:
        points = [(r["facts"]["m"], _ratio(r, name)) for r in chosen if _find(r, name)]
        _line(axes, name, points)
        ends.append((points[-1], name))
    axes.axhline(1, color=SERIES["Index"][0], linewidth=2.5)
    axes.text(1, 0.94, "fastvec Index = 1", color=SERIES["Index"][0], va="top", fontweight="bold")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    batches = [r["facts"]["m"] for r in chosen]
    axes.set_xticks(batches, [f"{m:,}" for m in batches])
    axes.set_xlim(0.8, max(batches) * 14)
    _plain(axes)
    axes.set_xlabel("queries at once")
    axes.set_ylabel("time, times that of fastvec Index")
    _title(figure, "Exact search: how much longer others take", chosen[0], "n", "dims", "k")
    _labels(axes, ends)
    return figure


def scaling(records: Sequence[Record]) -> Figure:
    """Time over rows and over dimensions, with the limit of this machine."""
    figure, panels = _figure(2)
    labels = []
    for axes, (key, label) in zip(panels, (("n", "vectors"), ("dims", "dimensions")), strict=True):
        chosen = _of_figure(records, key, key)
        ends = []
        for name in ("Index", "numpy", "torch", "faiss"):
            points = [(r["facts"][key], _find(r, name)["median"]) for r in chosen if _find(r, name)]
            _line(axes, name, points)
            ends.append((points[-1], name))
        limit = [(r["facts"][key], _limit(r)) for r in chosen]
        axes.plot(*zip(*limit, strict=True), color=INK[0], linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        places = [r["facts"][key] for r in chosen]
        axes.set_xticks(places, [_short(place) if key == "n" else f"{place:,}" for place in places])
        axes.set_xlim(min(places) * 0.8, max(places) * (max(places) / min(places)) ** 0.42)
        labels.append((axes, [*ends, (limit[-1], "limit")]))
        _plain(axes)
        axes.set_xlabel(label)
        axes.set_ylabel("ms a call")
        other = "dims" if key == "n" else "n"
        axes.set_title(f"{chosen[0]['facts'][other]:,} {WORDS[other]}", fontsize=10)
    _title(figure, "Exact search: time, and the limit of the machine", chosen[0], "m", "k")
    for axes, ends in labels:
        _labels(axes, ends)
    return figure


def recall(records: Sequence[Record]) -> Figure:
    """Queries a second against recall."""
    (found,) = _of_figure(records, "recall", "m")
    figure, (axes,) = _figure(1)
    points = _recall_points(axes, found)
    axes.set_xlabel("recall of the ten nearest (open marks: inexact by design)")
    axes.set_ylabel("queries a second")
    _title(figure, "Recall and speed", found, "n", "dims", "m")
    _recall_labels(axes, points)
    return figure


def certified(records: Sequence[Record]) -> Figure:
    """Queries a second against the recall that ``fastvec.audit`` certifies, a panel for each kind of data."""
    chosen = _of_figure(records, "audit", "n")
    figure, panels = _figure(len(chosen))
    drawn = []
    for axes, found in zip(panels, chosen, strict=True):
        points = _recall_points(axes, found, 0.5)
        for family in sorted({_family(point) for point in points}):
            line = sorted(point[:2] for point in points if _family(point) == family)
            axes.plot(*zip(*line, strict=True), color=FAINT[0], linewidth=1)
        facts = found["facts"]
        axes.set_title(f"{facts['n']:,} {facts['data']} vectors, {facts['dims']} dimensions", fontsize=10)
        axes.set_xlabel("certified recall of the ten nearest")
        drawn.append((axes, points))
    panels[0].set_ylabel("queries a second")
    both = {**chosen[0]["facts"], "data": " and ".join(found["facts"]["data"] for found in chosen)}
    title = "What inexact indexes find, certified by fastvec.audit"
    _title(figure, title, {**chosen[0], "facts": both}, "m")
    for axes, points in drawn:
        _recall_labels(axes, points)
    return figure


Point = tuple[float, float, str, str]
"""Recall, queries a second, the name and the precision of a competitor."""


def _family(point: Point) -> str:
    """Competitors that differ in a number at the end of their names are of one family."""
    return point[2].rstrip("0123456789")


def _recall_points(axes: Axes, found: Record, room: float = 0.3) -> list[Point]:
    """Draw a point for each competitor; ``room`` is for names on the right, a share of the width."""
    points = []
    for competitor in found["competitors"]:
        speed = 1e3 * found["facts"]["m"] / competitor["median"]
        points.append((competitor["quality"]["recall"], speed, competitor["name"], competitor["precision"]))
    axes.set_yscale("log")
    least = min(point[0] for point in points)
    axes.set_xlim(least - 0.2 * (1 - least) - 0.01, 1 + room * (1 - least) + 0.01)
    for share, speed, name, precision in points:
        color = SERIES.get(name, INK)[0]
        filled = color if precision != "inexact" else "none"
        marker = "*" if name == "Index" else MARKERS.get(name, "o")
        size = 180 if name == "Index" else 40
        axes.scatter([share], [speed], s=size, marker=marker, facecolors=filled, edgecolors=color, zorder=3)
    _plain(axes, ticks=False)
    ticks = [tick for tick in axes.get_xticks() if least - 0.05 <= tick <= 1.0001]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return points


def _recall_labels(axes: Axes, points: Sequence[Point]) -> None:
    for inexact in (False, True):
        some = [((p[0], p[1]), p[2]) for p in points if (p[3] == "inexact") == inexact]
        _labels(axes, some, least_gap=13, left=inexact)


PICTURES: dict[str, Callable[[Sequence[Record]], Figure]] = {
    "speedup": speedup,
    "scaling": scaling,
    "recall": recall,
    "certified": certified,
}


def _of_figure(records: Sequence[Record], figure: str, key: str) -> list[Record]:
    chosen = [r for r in records if r.get("facts", {}).get("figure") == figure]
    if not chosen:
        raise SystemExit(
            f"no record is for the picture by {figure}: run bench/bench_search.py or bench/all.py"
        )
    return sorted(chosen, key=lambda r: float(r["facts"][key]))


def _find(found: Record, name: str) -> Any:
    return next((c for c in found["competitors"] if c["name"] == name), None)


def _ratio(found: Record, name: str) -> float:
    pairs = zip(_find(found, name)["values"], _find(found, "Index")["values"], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _limit(found: Record) -> float:
    """The bare loop that binds Index in this race."""
    names = _find(found, "Index")["shares"]
    return max(found["limits"][name]["median"] for name in names)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for one in axes:
        one.patch.set_alpha(0)
        one.grid(alpha=0.35, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _line(axes: Axes, name: str, points: Sequence[tuple[float, float]]) -> None:
    width = 2.5 if name == "Index" else 1.4
    axes.plot(
        *zip(*points, strict=True), color=SERIES[name][0], marker=MARKERS[name], markersize=5, linewidth=width
    )


def _labels(
    axes: Axes, ends: Iterable[tuple[tuple[float, float], str]], least_gap: float = 12, left: bool = False
) -> None:
    """Names beside points, moved up where they would overlap; the last thing drawn: it needs the layout."""
    axes.figure.canvas.draw()
    placed: list[tuple[float, float]] = []
    for (x, y), name in sorted(ends, key=lambda end: end[0][1]):
        across, at = (72 / axes.figure.dpi * part for part in axes.transData.transform((x, y)))
        height = at
        for other_across, other in sorted(placed, key=lambda place: place[1]):
            if abs(other_across - across) < 70 and abs(height - other) < least_gap:
                height = other + least_gap
        placed.append((across, height))
        axes.annotate(
            "fastvec Index" if name == "Index" else name,
            (x, y),
            xytext=(-9 if left else 9, height - at),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=SERIES.get(name, INK)[0],
            fontweight="bold" if name == "Index" else "normal",
        )


def _plain(axes: Axes, ticks: bool = True) -> None:
    """Numbers as people write them, on logarithmic axes too."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.minorticks_off()
    if ticks:
        axes.xaxis.minorticks_off()


def _short(number: float) -> str:
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{sign}"
    return f"{number:g}"


def _title(figure: Figure, title: str, found: Record, *keys: str) -> None:
    """Above what it shows; below how it was measured."""
    machine, facts = found["machine"], found["facts"]
    asked = ", ".join(f"{facts[key]:,} {WORDS[key]}" for key in keys)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(
        f"{asked}, {facts['metric']}, {facts['data']} data. Medians of {found['rounds']} interleaved rounds, "
        f"answers checked first.\n{machine['cpu']}, {machine['micro_kernel']}, {machine['threads']} threads.",
        fontsize=8,
        x=0.01,
        ha="left",
    )


def svg(figure: Figure) -> str:
    """The figure, its colors those of the page's scheme."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": "fastvec", "Title": figure.get_suptitle()}
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    text = buffer.getvalue()
    light, dark = [], []
    for number, (drawn, on_light, on_dark) in enumerate([INK, FAINT, *SERIES.values()]):
        text = text.replace(drawn, f"var(--c{number})")
        light.append(f"--c{number}:{on_light}")
        dark.append(f"--c{number}:{on_dark}")
    style = (
        f"<style>svg{{{';'.join(light)}}}@media(prefers-color-scheme:dark){{svg{{{';'.join(dark)}}}}}</style>"
    )
    return text.replace("<defs>", f"{style}\n <defs>", 1)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    records = record.read(options.records)
    options.to.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        with rc_context(STYLE):
            text = svg(draw(records))
        (options.to / f"{name}.svg").write_text(text, encoding="utf-8", newline="\n")
        print(options.to / f"{name}.svg")


if __name__ == "__main__":
    main()
