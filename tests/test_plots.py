"""Pictures: the content of axes, files that are the same every time, and Chinese labels."""

import warnings

import numpy as np
import pytest

import fastvec

pytest.importorskip("matplotlib")
from matplotlib import pyplot

from fastvec import plots


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


@pytest.fixture
def no_cjk_font(monkeypatch):
    monkeypatch.setattr(plots, "CJK_FONTS", ())
    monkeypatch.setattr(plots, "_packaged_font", lambda: None)
    plots._cjk_font.cache_clear()
    plots._warn_once.cache_clear()
    yield
    plots._cjk_font.cache_clear()
    plots._warn_once.cache_clear()


def texts(labels):
    return [label.get_text() for label in labels]


def test_heatmap_shows_every_score():
    scores = fastvec.cosine_similarity([[1, 0], [1, 1], [0, -1]])
    ax = plots.heatmap(["a", "b", "c"], scores)
    assert np.array_equal(ax.images[0].get_array(), scores)
    assert texts(ax.get_xticklabels()) == texts(ax.get_yticklabels()) == ["a", "b", "c"]
    assert texts(ax.texts)[:3] == ["1.00", "0.71", "0.00"]
    assert ax.images[0].get_clim() == (-1, 1)


def test_many_labels_have_colors_only():
    assert not plots.heatmap([str(i) for i in range(13)], np.eye(13)).texts


def test_quality_draws_a_line_for_every_test():
    ax = plots.quality([64, 256], {"analogies": [0.1, 0.5], "pairs": [float("nan"), -0.2]})
    assert texts(ax.get_legend().get_texts()) == ["analogies", "pairs"]
    assert ax.lines[0].get_xydata().tolist() == [[64, 0.1], [256, 0.5]]
    assert texts(ax.get_xticklabels()) == ["64", "256"]
    assert ax.get_ylim()[0] < -0.2


def test_passed_axes_are_used_and_returned():
    _, axes = pyplot.subplots(1, 2)
    assert plots.heatmap(["a"], [[1]], ax=axes[0]) is axes[0]
    assert plots.quality([1], {"x": [1]}, ax=axes[1]) is axes[1]


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        plots.heatmap(["a", "b"], [[1]])
    with pytest.raises(ValueError, match="'x' has 1"):
        plots.quality([1, 2], {"x": [1]})


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_picture_gives_the_same_file(tmp_path, suffix):
    for name in ("a", "b"):
        plots.save(
            tmp_path / f"{name}.{suffix}", lambda ax: plots.heatmap(["x", "y"], np.eye(2), ax=ax), (3, 3)
        )
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def draw_chinese(path):
    plots.save(path, lambda ax: plots.heatmap(["男人", "é"], np.eye(2), ax=ax), (3, 3))


def test_chinese_labels_without_a_font_are_one_warning(tmp_path, no_cjk_font):
    with pytest.warns(UserWarning, match="noto-cjk-sans-otc") as caught:
        draw_chinese(tmp_path / "a.png")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_chinese(tmp_path / "b.png")


def test_chinese_labels_with_a_font_are_drawn(tmp_path):
    if plots._cjk_font() is None:
        pytest.skip("this machine has no Chinese font")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_chinese(tmp_path / "a.png")


def test_latin_labels_need_no_other_font(tmp_path, no_cjk_font):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save(tmp_path / "a.png", lambda ax: plots.heatmap(["naïve", "Ω"], np.eye(2), ax=ax), (3, 3))


def test_without_matplotlib(run_python):
    code = "import sys; sys.modules['matplotlib'] = None; import fastvec; fastvec.plots.heatmap(['a'], [[1]])"
    assert "pip install 'fastvec[plot]'" in run_python("-c", code).stderr
