"""Pictures of records, as SVG on white, and the README's table: the same records give the same bytes.

    python bench/pictures.py bench/records.jsonl                 to docs/pictures/; the table is printed
    python bench/pictures.py bench/records.jsonl --to elsewhere

`python bench/published.py --json bench/records.jsonl` writes the records. Colors are plain attributes and
texts are texts, so that every viewer and printer shows them; markers differ where colors do.
"""

from __future__ import annotations

import argparse
import io
import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import table
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fastvec.benchmark import record

Record = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]

INK, FAINT, PAPER = "#1f2328", "#8b949e", "#ffffff"
SERIES = {
    "Index": ("#c11226", "o"),
    "knn": ("#a84300", "^"),
    "numpy": ("#0858ba", "s"),
    "torch": ("#6f3fc4", "D"),
    "faiss": ("#116329", "v"),
    "scikit-learn": ("#7d4e00", "P"),
    "usearch": ("#99286e", "X"),
    "numkong": ("#136061", "*"),
    "scipy": ("#424a53", "p"),
    "gensim": ("#4d6b00", "h"),
    "semantic_search": ("#7a4a2b", "d"),
    "faiss-panorama": ("#0a3069", "<"),
    "torch-bfloat16": ("#6f3fc4", "D"),
    "faiss-8-bit": ("#116329", "8"),
    "faiss-ivf": ("#0858ba", "s"),
    "faiss-hnsw": ("#a84300", "^"),
    "faiss-pq": ("#424a53", "p"),
    "turbovec": ("#136061", "P"),
    "turbovec-4-bit": ("#136061", "P"),
}
"""The color and the marker of each competitor, or of its family."""

WORDS = {"n": "vectors", "dims": "dimensions", "m": "queries at once", "k": "nearest"}
VERSIONS = (
    "numpy",
    "torch",
    "faiss-cpu",
    "usearch",
    "numkong",
    "scikit-learn",
    "scipy",
    "gensim",
    "turbovec",
)
STYLE = {
    "svg.hashsalt": "fastvec",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
LIMIT = "reading float32 once"
EXPLAINED = (
    "Dashed: a bare loop that reads all rows as float32, the least that a scan of them can take; "
    "an Index reads 8-bit codes, so it may take less."
)


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
    batches = [r["facts"]["m"] for r in chosen]
    _line(axes, "Index", [(m, 1.0) for m in batches])
    ends.append(((batches[-1], 1.0), "Index"))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xticks(batches, [f"{m:,}" for m in batches])
    axes.set_xlim(0.8, max(batches) * 14)
    _plain(axes)
    axes.set_xlabel("queries at once")
    axes.set_ylabel("time, times that of fastvec Index")
    _title(figure, "Exact search: how much longer others take", chosen, "n", "dims", "k")
    _labels(figure, axes, ends)
    return figure


def scaling(records: Sequence[Record]) -> Figure:
    """Time over rows and over dimensions, beside what reading all rows takes."""
    figure, panels = _figure(2)
    labels, drawn = [], []
    for axes, (key, label) in zip(panels, (("n", "vectors"), ("dims", "dimensions")), strict=True):
        axes.set_ymargin(0.12)
        chosen = _of_figure(records, key, key)
        drawn += chosen
        ends = []
        for name in ("Index", "numpy", "torch", "faiss"):
            points = [(r["facts"][key], _find(r, name)["median"]) for r in chosen if _find(r, name)]
            _line(axes, name, points)
            ends.append((points[-1], name))
        reading = [(r["facts"][key], r["limits"]["read rows"]["median"]) for r in chosen]
        axes.plot(*zip(*reading, strict=True), color=INK, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        places = [r["facts"][key] for r in chosen]
        axes.set_xticks(places, [_short(place) if key == "n" else f"{place:,}" for place in places])
        least = min(places) * 0.8
        axes.set_xlim(least, least * (max(places) / least) ** (1 / 0.57))  # room for names
        labels.append((axes, [*ends, (reading[-1], LIMIT)]))
        _plain(axes)
        axes.set_xlabel(label)
        axes.set_ylabel("ms a call")
        other = "dims" if key == "n" else "n"
        axes.set_title(f"{chosen[0]['facts'][other]:,} {WORDS[other]}", fontsize=10)
    _title(figure, "Exact search: time by rows and dimensions", drawn, "m", "k", note=EXPLAINED)
    for axes, ends in labels:
        _labels(figure, axes, ends)
    return figure


def recall(records: Sequence[Record]) -> Figure:
    """Queries a second against recall."""
    chosen = _of_figure(records, "recall", "m")
    figure, (axes,) = _figure(1)
    points = _recall_points(axes, chosen[0])
    axes.set_xlabel("recall of the ten nearest (open marks: inexact by design)")
    axes.set_ylabel("queries a second")
    _title(figure, "Recall and speed", chosen, "n", "dims", "m")
    _labels(figure, axes, [(point[:2], point[2]) for point in points], around=True)
    return figure


def certified(records: Sequence[Record]) -> Figure:
    """Queries a second against the recall that ``fastvec.audit`` certifies, a panel for each kind of data."""
    chosen = _of_figure(records, "audit", "n")
    figure, panels = _figure(len(chosen))
    drawn = []
    for axes, found in zip(panels, chosen, strict=True):
        points = _recall_points(axes, found)
        facts = found["facts"]
        axes.set_title(f"{facts['n']:,} {facts['data']} vectors, {facts['dims']} dimensions", fontsize=10)
        axes.set_xlabel("certified recall of the ten nearest")
        drawn.append((axes, points))
    panels[0].set_ylabel("queries a second")
    _title(figure, "What inexact indexes find, certified by fastvec.audit", chosen, "m")
    for axes, points in drawn:
        _labels(figure, axes, [(point[:2], point[2]) for point in points], around=True)
    return figure


Point = tuple[float, float, str, str]
"""Recall, queries a second, the name and the precision of a competitor."""


def _family(name: str) -> str:
    """Competitors that differ in a number at the end of their names are of one family."""
    return name.rstrip("0123456789").rstrip("-")


def _series(name: str) -> tuple[str, str]:
    return SERIES.get(name) or SERIES.get(_family(name), (INK, "o"))


def _recall_points(axes: Axes, found: Record) -> list[Point]:
    """Draw a point for each competitor, with room for names on both sides; families are joined by lines."""
    points = []
    for competitor in found["competitors"]:
        speed = 1e3 * found["facts"]["m"] / competitor["median"]
        points.append((competitor["quality"]["recall"], speed, competitor["name"], competitor["precision"]))
    axes.set_yscale("log")
    least = min(point[0] for point in points)
    axes.set_xlim(least - 0.45 * (1 - least) - 0.01, 1 + 0.45 * (1 - least) + 0.01)
    speeds = [point[1] for point in points]
    axes.set_ylim(min(speeds) / 1.6, max(speeds) * 1.6)
    for share, speed, name, precision in points:
        color, marker = _series(name)
        marker = "*" if name == "Index" else marker
        filled = color if precision != "inexact" else PAPER
        size = 180 if name == "Index" else 40
        axes.scatter([share], [speed], s=size, marker=marker, facecolors=filled, edgecolors=color, zorder=3)
    for family in dict.fromkeys(_family(point[2]) for point in points):
        line = sorted(point[:2] for point in points if _family(point[2]) == family and point[2] != family)
        axes.plot([x for x, _ in line], [y for _, y in line], color=FAINT, linewidth=1)
    _plain(axes, ticks=False)
    ticks = [tick for tick in axes.get_xticks() if least - 0.05 <= tick <= 1.0001]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return points


PICTURES: dict[str, Callable[[Sequence[Record]], Figure]] = {
    "speedup": speedup,
    "scaling": scaling,
    "recall": recall,
    "certified": certified,
}


def _of_figure(records: Sequence[Record], figure: str, key: str) -> list[Record]:
    """The records for a picture, in rising order of a fact, all of one machine."""
    chosen = [r for r in records if r.get("facts", {}).get("figure") == figure]
    if not chosen:
        raise SystemExit(f"no record is for the picture by {figure}: run bench/published.py or bench/all.py")
    return sorted(chosen, key=lambda r: float(r["facts"][key]))


def _find(found: Record, name: str) -> Any:
    return next((c for c in found["competitors"] if c["name"] == name), None)


def _ratio(found: Record, name: str) -> float:
    pairs = zip(_find(found, name)["values"], _find(found, "Index")["values"], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.2, 5.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for one in axes:
        one.grid(alpha=0.35, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _line(axes: Axes, name: str, points: Sequence[tuple[float, float]]) -> None:
    color, marker = SERIES[name]
    width = 2.5 if name == "Index" else 1.4
    axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=5, linewidth=width)


def _labels(
    figure: Figure, axes: Axes, ends: Iterable[tuple[tuple[float, float], str]], around: bool = False
) -> None:
    """Names beside points, where they hide neither each other nor a point; the last thing drawn.

    It needs the layout, which is fixed from here on. ``around``: names may stand on all sides.
    """
    figure.canvas.draw()
    figure.set_layout_engine("none")
    ends = sorted(ends, key=lambda end: end[0][1])
    places = [axes.transData.transform(point) for point, _ in ends]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places] if around else []
    inside = axes.get_window_extent()
    # Beside the point first; then further and further up and down.
    heights = [0.0] + [sign * step for step in range(4, 200, 4) for sign in (1, -1)]
    sides = (1, -1) if around else (1,)
    for (point, name), at in zip(ends, places, strict=True):
        text = axes.annotate(
            "fastvec Index" if name == "Index" else "fastvec knn" if name == "knn" else name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            fontsize=9 if around else 10,
            color=INK if name == LIMIT else _series(name)[0],
            fontweight="bold" if name == "Index" else "normal",
        )
        for height, side in ((height, side) for height in heights for side in sides):
            text.set_ha("left" if side > 0 else "right")
            text.set_position((9 * side, height))
            box = _box(text)
            fits = inside.y0 <= box.y0 and box.y1 <= inside.y1 and inside.x0 <= box.x0 and box.x1 <= inside.x1
            if fits and not any(box.overlaps(other) for other in taken):
                break
        else:
            raise SystemExit(f"there is no room for the name {name}")
        taken.append(box)
        if abs(height) > 8:  # a thin line says whose name it is
            end = axes.transData.inverted().transform((at[0] + 8 * side, box.y0 + box.height / 2))
            axes.plot(*zip(point, end, strict=True), color=FAINT, linewidth=0.6, zorder=1)


def _box(text: Text) -> Bbox:
    """The pixels of a text, and two more around it."""
    return Bbox.from_extents(*(text.get_window_extent().padded(1).extents))


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


def _title(figure: Figure, title: str, chosen: Sequence[Record], *keys: str, note: str = "") -> None:
    """Above what it shows; below how it was measured, as the records say."""
    facts = chosen[0]["facts"]
    data = " and ".join(dict.fromkeys(found["facts"]["data"] for found in chosen))
    asked = ", ".join(f"{facts[key]:,} {WORDS[key]}" for key in keys)
    lines = [f"{asked}, {facts['metric']}, {data} data. {_rounds(chosen)}, answers checked first."]
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    text = "\n".join(
        line
        for long in [*lines, *filter(None, [note]), *_machine(chosen)]
        for line in textwrap.wrap(long, 145)
    )
    figure.supxlabel(text, fontsize=8, x=0.01, ha="left")


def _rounds(chosen: Sequence[Record]) -> str:
    """The rounds of each point, from left to right where they differ."""
    counts = [found["rounds"] for found in chosen]
    if len(set(counts)) == 1:
        return f"Medians of {counts[0]} interleaved rounds a point"
    return f"Medians of interleaved rounds ({', '.join(map(str, counts))}, from left to right)"


def _machine(chosen: Sequence[Record]) -> list[str]:
    """What the points were measured on and with; all of one picture must agree, but for the time."""

    def only(what: str, values: Iterable[Any]) -> Any:
        found = list(dict.fromkeys(values))
        if len(found) > 1:
            raise SystemExit(f"the records of one picture differ in the {what}: {', '.join(map(str, found))}")
        return found[0]

    machines = [found["machine"] for found in chosen]
    cpu = only("processor", (m["cpu"] for m in machines))
    kernel = only("micro-kernel", (m["micro_kernel"] for m in machines))
    threads = only("threads", (m["threads"] for m in machines))
    commit = only("commit", (m.get("commit") for m in machines))
    versions = dict(only("versions", (tuple(sorted(m["versions"].items())) for m in machines)))
    used = {name.split("-")[0] for found in chosen for name in (c["name"] for c in found["competitors"])}
    used |= {"torch"} if "semantic_search" in used else set()
    named = [name for name in VERSIONS if name.split("-")[0] in used and name in versions]
    written = ", ".join(f"{name} {versions[name]}" for name in named)
    dates = sorted(found["date"][:10] for found in chosen)
    return [
        f"{cpu}, micro-kernel {kernel}, {threads} threads; {dates[0]}"
        + (f" to {dates[-1]}" if dates[-1] != dates[0] else "")
        + (f", commit {commit}" if commit else "")
        + ".",
        *([f"{written}."] if written else []),
    ]


def svg(figure: Figure) -> str:
    """The figure as text."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": "fastvec", "Title": figure.get_suptitle()}
    figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def main() -> None:
    """Draw all pictures, and print the table."""
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
    print(*table.lines(records), sep="\n")


if __name__ == "__main__":
    main()
