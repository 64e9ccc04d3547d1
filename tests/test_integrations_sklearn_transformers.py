"""Steps of scikit-learn's pipelines: embeddings of texts by a server, and embeddings of fewer columns."""

import pickle

import numpy as np
import pytest
from assertions import words
from data import gaussian
from embedding_server import KEY, OTHER, OTHER_WIDTH, hashed_rows

import fastvec
from fastvec.integrations import sklearn as ours

pytest.importorskip("sklearn")
TEXTS = ["king", "queen", "man", "woman"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_truncated(dtype):
    rows = gaussian(30, 24, 1).astype(dtype)
    rows[3, :8] = 0
    for renormalize in (True, False):
        step = ours.TruncateDims(8, renormalize=renormalize)
        kept = step.fit_transform(rows)
        assert kept.dtype == dtype
        assert not np.shares_memory(kept, rows)
        right = fastvec.truncate(rows, 8, renormalize=renormalize)
        np.testing.assert_allclose(kept, right, rtol=1e-6)
        assert not kept[3].any()
    np.testing.assert_array_equal(step.get_feature_names_out(), [f"x{i}" for i in range(8)])
    assert ours.TruncateDims().fit_transform(rows).shape == rows.shape


@pytest.mark.parametrize(
    ("dims", "error"), [(0, ValueError), (25, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_wrong_dims(dims, error):
    with pytest.raises(error, match=words("dims", "integer" if error is TypeError else "24")):
        ours.TruncateDims(dims).fit(gaussian(5, 24, 1))


@pytest.fixture
def vectorizer(server, make, monkeypatch):
    """A vectorizer for the test server; ``make`` keeps settings of this machine out."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def vectorizer(model=OTHER, **options):
        return ours.OpenAIVectorizer(model, **({"base_url": server.url} | options))

    return vectorizer


def test_fit_sends_nothing(server, vectorizer):
    step = vectorizer().fit(TEXTS)
    assert not server.requests
    with pytest.raises(ValueError, match=words("width", OTHER)):
        step.get_feature_names_out()
    rows = step.transform(np.array(TEXTS))
    assert len(server.requests) == 1
    np.testing.assert_array_equal(rows, hashed_rows(TEXTS, OTHER_WIDTH))
    names = step.get_feature_names_out()
    assert (names[0], len(names)) == ("openaivectorizer0", OTHER_WIDTH)


def test_dims_are_asked_for(server, vectorizer):
    rows = vectorizer("text-embedding-3-small", dims=16).fit_transform(TEXTS)
    assert rows.shape == (4, 16)
    assert server.requests[0]["dimensions"] == 16
    assert len(vectorizer("text-embedding-3-small").fit(TEXTS).get_feature_names_out()) == 1536


def test_an_embedder_is_shared_and_its_rows_are_truncated(server, make):
    from sklearn.base import clone

    embedder = make()
    step = ours.OpenAIVectorizer(embedder, dims=8)
    assert clone(step).model is embedder
    rows = clone(step).fit_transform(TEXTS)
    np.testing.assert_array_equal(rows, fastvec.truncate(hashed_rows(TEXTS, OTHER_WIDTH), 8))


def test_a_grid_of_widths_asks_once(server, vectorizer, tmp_path):
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    texts = [f"{word} {i}" for i in range(6) for word in ("red", "blue")]
    pipeline = make_pipeline(
        vectorizer(cache=tmp_path / "rows"),
        ours.TruncateDims(),
        ours.KNeighborsClassifier(1, metric="cosine"),
    )
    search = GridSearchCV(pipeline, {"truncatedims__dims": [4, 16]}, cv=2).fit(texts, np.arange(12) % 2)
    assert search.predict(texts).shape == (12,)
    assert sum(len(request["input"]) for request in server.requests) == 12


def test_columns_of_a_frame(vectorizer):
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer

    frame = pandas.DataFrame({"text": TEXTS, "number": [1.0, 2.0, 3.0, 4.0]})
    step = make_column_transformer((vectorizer(), "text"), ("passthrough", ["number"]))
    rows = step.set_output(transform="pandas").fit_transform(frame)
    assert rows.shape == (4, OTHER_WIDTH + 1)
    np.testing.assert_allclose(rows.to_numpy()[:, :OTHER_WIDTH], hashed_rows(TEXTS, OTHER_WIDTH))


def test_no_key_is_shown_or_stored(vectorizer):
    step = vectorizer().fit(TEXTS)
    stored = pickle.dumps(step)
    assert KEY.encode() not in stored
    assert KEY not in repr(step) + step._repr_html_()
    np.testing.assert_array_equal(pickle.loads(stored).transform(TEXTS), step.transform(TEXTS))


def test_wrong_arguments(make, vectorizer):
    with pytest.raises(ValueError, match=words("single text", "list")):
        vectorizer().fit("king")
    with pytest.raises(ValueError, match=words("base_url", "cache")):
        ours.OpenAIVectorizer(make(), cache="rows").fit(TEXTS)
    with pytest.raises(TypeError, match=words("int", "embed")):
        ours.OpenAIVectorizer(3).fit(TEXTS)
    with pytest.raises(TypeError, match="str"):
        vectorizer().fit_transform(["king", 3])
