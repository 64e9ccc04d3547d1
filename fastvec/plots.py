"""Pictures (``pip install 'fastvec[plot]'``): a similarity matrix, and quality against width.

Functions draw on ``ax``, or on new axes, and return them. Chinese, Japanese and Korean labels are
drawn in the first font of ``CJK_FONTS`` that the machine has.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CJK_FONTS = (
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "SimHei",
    "Noto Sans CJK JP",
)
_MOST_NUMBERS = 12  # words; with more, a number no longer fits its square


def heatmap(labels: Sequence[str], scores: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """A matrix of similarities as colored squares, with numbers in them up to twelve labels.

    Args:
        labels: n names, of rows and columns.
        scores: (n, n), such as ``cosine_similarity(vectors)``.
        ax: axes to draw on; None: new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes do not fit.
        ModuleNotFoundError: without matplotlib.

    Example:
        >>> import fastvec
        >>> ax = fastvec.plots.heatmap(["a", "b"], [[1, 0.2], [0.2, 1]])
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['a', 'b']
    """
    values = np.asarray(scores, np.float64)
    n = len(labels)
    if values.shape != (n, n):
        raise ValueError(f"scores has shape {values.shape}; {n} labels need ({n}, {n})")
    ax = _axes(ax)
    # Zero is white and ±1 are full: colors mean the same in every picture.
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_xticks(range(n), labels, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), labels)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    if n <= _MOST_NUMBERS:
        for row in range(n):
            for column in range(n):
                value = values[row, column]
                color = "white" if abs(value) > 0.65 else "black"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
    bar.set_label("cosine similarity")
    bar.outline.set_visible(False)
    _readable([*ax.get_xticklabels(), *ax.get_yticklabels()])
    return ax


def quality(widths: Sequence[int], series: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Quality against width, a line for every test, to choose ``dims`` by.

    Args:
        widths: dimensions, rising.
        series: name of a test to its scores, one a width.
        ax: axes to draw on; None: new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if a series has another length than ``widths``.
        ModuleNotFoundError: without matplotlib.

    Example:
        >>> import fastvec
        >>> ax = fastvec.plots.quality([64, 128], {"analogies": [0.3, 0.5]})
        >>> ax.get_xlabel()
        'dimensions'
    """
    for name, scores in series.items():
        if len(scores) != len(widths):
            raise ValueError(f"series {name!r} has {len(scores)} scores for {len(widths)} widths")
    ax = _axes(ax)
    for name, scores in series.items():
        ax.plot(widths, scores, marker="o", label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.minorticks_off()
    low = min((s for scores in series.values() for s in scores if not np.isnan(s)), default=0.0)
    ax.set_ylim(min(0.0, low * 1.05), 1)
    ax.set_xlabel("dimensions")
    ax.set_ylabel("accuracy, correlation")
    ax.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    legend = ax.legend(frameon=False, loc="best")
    _readable(legend.get_texts())
    return ax


def check(path: str | Path) -> str:
    """The kind of picture that a path's suffix names, such as "png".

    Args:
        path: of a picture to make.

    Returns:
        The kind.

    Raises:
        ValueError: if it names none that can be made.
        ModuleNotFoundError: without matplotlib.

    Example:
        >>> check("similarity.PNG")
        'png'
    """
    _matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"Format {kind!r} of {path} is not a picture's; use .png, .svg or .pdf")
    return kind


def save(path: str | Path, draw: Callable[[Axes], Any], size: tuple[float, float]) -> None:
    """Draw on new axes of ``size`` inches and write them to a file, without a display, whole or not at all.

    Args:
        path: .png, .svg or .pdf.
        draw: called with the axes.
        size: width and height.

    Raises:
        ValueError: if the suffix is another one, or a pipe or device is there.
        OSError: as from writing files.
        ModuleNotFoundError: without matplotlib.
    """
    kind = check(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from .files.atomic import replacing

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    # The same picture gives the same file.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with (
        replacing(Path(path)) as file,
        rc_context({"svg.hashsalt": "fastvec", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        # Said for every character; _warn_once has said it for all.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format=kind, dpi=150, metadata=metadata, bbox_inches="tight", pad_inches=0.1)


def _axes(ax: Axes | None) -> Axes:
    _matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _matplotlib() -> None:
    try:
        import matplotlib as _matplotlib  # noqa: F401
    except ModuleNotFoundError as missing:
        if missing.name != "matplotlib":
            raise
        raise ModuleNotFoundError(
            "pictures need the package matplotlib: pip install 'fastvec[plot]'", name="matplotlib"
        ) from None


def _readable(texts: Sequence[Any]) -> None:
    """Let labels that the usual font lacks be drawn in one that has them; say once if there is none."""
    if not any(_beyond_latin(character) for text in texts for character in text.get_text()):
        return
    from matplotlib import rcParams

    font = _cjk_font()
    if font is None:
        _warn_once()
        return
    for text in texts:
        text.set_fontfamily([*rcParams["font.family"], font])


def _beyond_latin(character: str) -> bool:
    """Chinese, Japanese and Korean scripts begin here; what lies below, matplotlib's own font has."""
    return character >= "\u2e80"


@functools.cache
def _cjk_font() -> str | None:
    """A font of this machine or of the package noto-cjk-sans-otc."""
    from matplotlib import font_manager

    names = {entry.name for entry in font_manager.fontManager.ttflist}
    for name in CJK_FONTS:
        if name in names:
            return name
    return _packaged_font()


def _packaged_font() -> str | None:
    import importlib.util

    from matplotlib import font_manager

    spec = importlib.util.find_spec("noto_cjk_sans_otc")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.tt[cf]")) + sorted(Path(folder).rglob("*.ot[cf]")):
            font_manager.fontManager.addfont(file)
            return str(font_manager.FontProperties(fname=file).get_name())
    return None


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        "no font here has Chinese, Japanese or Korean characters, which are drawn as boxes; "
        "install one (pip install noto-cjk-sans-otc, or apt install fonts-noto-cjk)",
        UserWarning,
        stacklevel=4,
    )
