"""Pictures (``pip install 'fastvec[plot]'``): a similarity matrix, and quality against width.

Functions draw on ``ax``, or on new axes, and return the axes. Chinese, Japanese and Korean labels are drawn
in the first font of ``CJK_FONTS`` that is installed.
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
_MOST_NUMBERS = 12  # labels; with more, a number does not fit into its square


def heatmap(labels: Sequence[str], scores: npt.ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Draw a matrix of similarities as colored squares, with numbers in them for up to twelve labels.

    Args:
        labels: n names of the rows, and of the columns.
        scores: (n, n), such as ``cosine_similarity(vectors)``.
        ax: axes to draw on; None: new axes.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes do not fit.
        ModuleNotFoundError: if matplotlib is not installed.

    Example:
        >>> import fastvec
        >>> ax = fastvec.plots.heatmap(["a", "b"], [[1, 0.2], [0.2, 1]])
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['a', 'b']
    """
    from ._arrays import any_array  # which loads Numba

    values = np.asarray(any_array(scores, "scores"), np.float64)
    n = len(labels)
    if values.shape != (n, n):
        raise ValueError(f"scores has shape {values.shape}; {n} labels need ({n}, {n})")
    ax = _axes(ax)
    # 0 is white and ±1 have full color, so that colors mean the same in every picture.
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
    """Draw quality against width, a line for every test, to help choose ``dims``.

    Args:
        widths: numbers of dimensions, in rising order.
        series: the scores of each test by its name, one score per width.
        ax: axes to draw on; None: new axes.

    Returns:
        The axes.

    Raises:
        ValueError: if a series has another length than ``widths``.
        ModuleNotFoundError: if matplotlib is not installed.

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
    """The format of a picture, such as "png", that the suffix of a path names.

    Args:
        path: the path of a picture to make.

    Returns:
        The format.

    Raises:
        ValueError: if no such format can be made.
        ModuleNotFoundError: if matplotlib is not installed.

    Example:
        >>> check("similarity.PNG")
        'png'
    """
    _matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"Format {kind!r} of {path} is not a format of pictures; use .png, .svg or .pdf")
    return kind


def save(path: str | Path, draw: Callable[[Axes], Any], size: tuple[float, float]) -> None:
    """Draw on new axes of ``size`` inches, without a display, and write a file, whole or not at all.

    Args:
        path: the file, with suffix .png, .svg or .pdf.
        draw: a function that is called with the axes.
        size: width and height in inches.

    Raises:
        ValueError: if the suffix is another one, or ``path`` is a pipe or a device.
        OSError: as from writing files.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    kind = check(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from .files.atomic import replacing

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    # Without dates, the same picture gives the same file.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with (
        replacing(Path(path)) as file,
        rc_context({"svg.hashsalt": "fastvec", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        # matplotlib warns about every character; _warn_once has warned about all.
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
    """Draw labels that the usual font lacks in a font that has them; warn once if there is none."""
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
    """Whether a character is past U+2E80, where CJK begins; matplotlib's own font has those before."""
    return character >= "\u2e80"


@functools.cache
def _cjk_font() -> str | None:
    """The name of a CJK font that is installed or in the package noto-cjk-sans-otc, or None."""
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
