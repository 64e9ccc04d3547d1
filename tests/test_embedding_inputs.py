"""What `embed` accepts and refuses: texts, the number and size of texts in a request, `out`."""

import numpy as np
import pytest
from embedding_server import OTHER, WORDS, hashed_rows
from hypothesis import given
from hypothesis import strategies as st

from fastvec._embedding.job import Job
from fastvec._embedding.sizes import Size
from fastvec.models import Model, describe


def test_identical_texts_are_sent_once(server, make):
    texts = ["a", "b", "a", "c", "b", "a"]
    np.testing.assert_array_equal(make().embed(texts), hashed_rows(texts, 64))
    assert server.requests[0]["input"] == ["a", "b", "c"]


def test_many_texts_go_in_requests_of_2048(server, make):
    texts = [f"text {number % 4100}" for number in range(4200)]
    np.testing.assert_array_equal(make().embed(texts), hashed_rows(texts, 64))
    assert sorted(len(request["input"]) for request in server.requests) == [4, 2048, 2048]


def batches(texts, model):
    """The texts of each request, including repeated ones."""
    job = Job([], model, None, None)
    job._blocks = lambda: [texts]
    job._meet = lambda block: [(number, text, b"%d" % number) for number, text in enumerate(block)]
    room = Size(model.max_texts_per_request, model.max_tokens_per_request)
    requests = job.requests(lambda: room, lambda digests: {})
    return [request.texts for request in requests if request is not None]


def test_requests_stay_below_the_limit_of_tokens():
    known, unknown = describe("text-embedding-3-small"), describe(OTHER)
    assert list(map(len, batches(["男" * 1000] * 250, known))) == [100, 100, 50]
    # A text beyond the limit of one input is refused by the server; it must not be counted beyond that here.
    assert list(map(len, batches(["x" * 100_000] * 40, known))) == [36, 4]
    assert list(map(len, batches(["x" * 400_000] * 2 + ["y"], unknown))) == [1, 1, 1]
    assert list(map(len, batches(["x"] * 2048, known))) == [2048]


@given(st.lists(st.tuples(st.sampled_from("x男"), st.integers(1, 12))), st.integers(1, 5), st.integers(1, 20))
def test_requests_hold_all_texts_in_order_and_no_more_than_allowed(texts, most_texts, most_tokens):
    texts = ["king", *(letter * length for letter, length in texts)]
    model = Model("any", max_texts_per_request=most_texts, max_tokens_per_request=most_tokens)
    requests = batches(texts, model)
    assert [text for request in requests for text in request] == texts
    sizes = [sum(len(text.encode()) for text in request) for request in requests]
    for request, size, following in zip(requests, sizes, [*requests[1:], None], strict=True):
        assert 1 <= len(request) <= most_texts
        assert size <= most_tokens or len(request) == 1
        if following is not None and len(request) < most_texts:
            assert size + len(following[0].encode()) > most_tokens


BAD_TEXTS = {
    "a single text": ("king", TypeError, r"not a single str: pass \[text\]"),
    "bytes": (b"king", TypeError, "not a single bytes"),
    "a number": (["king", 3], TypeError, r"texts\[1\] is of type int"),
    "none": (["king", "man", None], TypeError, r"texts\[2\] is of type NoneType"),
    "not iterable": (7, TypeError, "not int"),
    "a set": ({"king"}, TypeError, "not set"),
    "empty": (["king", ""], ValueError, "empty or whitespace only: see position 1"),
    "blank": ([" ", "king", "\n\t", "\u3000"], ValueError, "see positions 0, 2, 3"),
    "a lone surrogate": (["king", "\ud800"], ValueError, r"texts\[1\] holds a lone surrogate"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_nothing_is_sent_if_a_text_is_bad(server, make, case):
    texts, kind, message = BAD_TEXTS[case]
    with pytest.raises(kind, match=message):
        make().embed(texts)
    assert server.requests == []


@pytest.mark.parametrize("texts", [tuple(WORDS), np.array(WORDS), (word for word in WORDS)], ids=type)
def test_ordered_iterables_of_texts(make, texts):
    np.testing.assert_array_equal(make().embed(texts), hashed_rows(WORDS, 64))


def test_no_texts(server, make):
    assert make("text-embedding-3-small").embed([]).shape == (0, 1536)
    assert make(dims=5).embed([]).shape == (0, 5)
    out = np.empty((0, 5), np.float32)
    assert make().embed([], out=out) is out
    assert server.requests == []
    embedder = make()
    with pytest.raises(ValueError, match="not known yet: pass dims"):
        embedder.embed([])
    embedder.embed(WORDS)
    assert embedder.embed([]).shape == (0, 64)


def test_out_is_filled_and_returned(make, tmp_path):
    path = tmp_path / "rows.npy"
    out = np.lib.format.open_memmap(path, "w+", np.float32, (6, 64))
    assert make().embed(WORDS, out=out) is out
    out.flush()
    np.testing.assert_array_equal(np.load(path), hashed_rows(WORDS, 64))
    cut = np.empty((6, 48), np.float32)
    assert make(dims=48).embed(WORDS, out=cut) is cut


def read_only():
    rows = np.empty((6, 1536), np.float32)
    rows.flags.writeable = False
    return rows


BAD_OUT = {
    "a list": lambda: [[0.0]],
    "float64": lambda: np.empty((6, 1536)),
    "foreign-endian": lambda: np.empty((6, 1536), np.dtype(np.float32).newbyteorder()),
    "too few rows": lambda: np.empty((5, 1536), np.float32),
    "another width": lambda: np.empty((6, 1535), np.float32),
    "1-D": lambda: np.empty(6, np.float32),
    "strided": lambda: np.empty((6, 3072), np.float32)[:, ::2],
    "Fortran order": lambda: np.empty((1536, 6), np.float32).T,
    "read-only": read_only,
}


@pytest.mark.parametrize("case", BAD_OUT)
def test_nothing_is_sent_if_out_does_not_fit(server, make, case):
    with pytest.raises(ValueError, match="out must be"):
        make("text-embedding-3-small").embed(WORDS, out=BAD_OUT[case]())
    assert server.requests == []


def test_out_must_have_the_width_that_a_model_turns_out_to_have(make):
    with pytest.raises(ValueError, match="out has 63 columns, but model 'another-model' answers 64"):
        make().embed(WORDS, out=np.empty((6, 63), np.float32))
