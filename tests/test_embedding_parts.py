"""Jobs, batches, and what is known of a server, each by itself: no request is sent."""

import numpy as np
import pytest

from fastvec._embedding import answers
from fastvec._embedding.errors import EmbeddingError
from fastvec._embedding.job import Job, check_out
from fastvec._embedding.output_types import FLOAT
from fastvec._embedding.server import Limits, Server
from fastvec._embedding.sizes import Size
from fastvec._embedding.texts import Batch, check
from fastvec.models import Model

MODEL = Model("any", takes_dimensions=True)
TEXTS = ["a", "b", "a", "c", "b", "d"]
ROWS = [np.array([row, row + 0.5], np.float32) for row in range(6)]


def batch_of(*texts):
    batch = Batch(MODEL)
    for row, text in enumerate(texts):
        batch.add(text, row, text.encode())
    return batch


def server_of(model=MODEL, dims=None, **limits):
    return Server(model, dims, "https://server", "server", {}, Limits(**limits), None)


def test_where_a_batch_is_cut():
    batch = batch_of("aaaa", "bb", "c", "dd", "eeeeeeee", "f")
    assert batch.places(Size(2, 100)) == [2, 4]
    assert batch.places(Size(9, 6)) == [2, 4, 5]
    assert batch.places(Size(6, 18)) == []
    assert batch.places(Size(6, 17)) == [5]
    assert batch.part([1, 4]).texts == ["bb", "eeeeeeee"]
    assert batch.part([1, 4]).tokens == 10


def test_texts_of_as_many_tokens_as_the_model_takes():
    model = Model("short", max_tokens_per_text=3)
    check(["a b c", "abc", "a"], 0, model)
    with pytest.raises(ValueError, match=r"texts\[8\] has about 4 tokens.*too long: positions 8, 9"):
        check(["a", "a b c d", "a b c d e"], 7, model)


def begun(texts, out, most=9):
    job = Job(texts, MODEL, out, 2)
    batches = [batch for batch in job.requests(lambda: Size(most, 100), lambda _: {}) if batch is not None]
    return job, [batch.rows for batch in batches]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_a_job_counts_and_repeats_rows(listed, given):
    out = np.full((6, 2), -1, np.float32) if given else None
    job, rows = begun(TEXTS if listed else iter(TEXTS), out, 3)
    assert rows == [[0, 1, 3], [5]]
    assert (job.done, job.brought, job.stored, job.stopped) == (2, 0, 0, False)
    assert job.total == (6 if listed or given else None)
    job.place([0, 1, 3], [ROWS[0], ROWS[1], ROWS[3]])
    job.place([5], [ROWS[5]], stored=True)
    assert (job.done, job.brought, job.stored) == (6, 3, 1)
    job.finish()
    assert job.matrix.tolist() == [ROWS[row].tolist() for row in (0, 1, 0, 3, 1, 5)]
    assert (job.matrix is out) == given
    assert job.total == 6
    job.place([1], [ROWS[4]])  # too late
    assert job.matrix[1].tolist() == ROWS[1].tolist()


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_what_has_arrived_when_a_job_fails(listed, given):
    out = np.full((6 if listed else 8, 2), -1, np.float32) if given else None
    job, _ = begun(TEXTS if listed else iter(TEXTS), out)
    job.place([0, 3], [ROWS[0], ROWS[3]])
    error = EmbeddingError("it failed", [1])
    job.fail(error)
    assert error.positions == [1, 4]
    unread = [False] * (2 if given and not listed else 0)
    assert error.received.tolist() == [True, False, True, True, False, False, *unread]
    assert error.vectors[[0, 2, 3]].tolist() == [ROWS[0].tolist(), ROWS[0].tolist(), ROWS[3].tolist()]
    rest = error.vectors[~error.received]
    assert (rest == -1).all() if given else np.isnan(rest).all()
    assert len(rest) == len(error.received) - 3
    nothing = EmbeddingError("it failed", [0])
    job, _ = begun(TEXTS, None)
    job.fail(nothing)
    assert nothing.vectors is None
    assert not nothing.received.any()


def test_texts_that_do_not_fill_out_are_named():
    job, _ = begun(iter(TEXTS), np.zeros((7, 2), np.float32))
    job.place([0, 1, 3, 5], [ROWS[0]] * 4)
    with pytest.raises(ValueError, match="there are 6 texts, fewer than the 7 rows of out"):
        job.finish()
    with pytest.raises(ValueError, match="there are more texts than the 5 rows of out"):
        begun(iter(TEXTS), np.zeros((5, 2), np.float32))
    for rows, width, wanted in ((3, 4, "(3, 4)"), (None, 4, "(n, 4)"), (2, None, "(2, dims)")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
            check_out(np.zeros((2, 0), np.float32), rows, width)
        assert str(caught.value) == f"out must be float32 of shape {wanted}, not float32 of shape (2, 0)"
    check_out(np.zeros((2, 3), np.float32), None, None)
    check_out(np.zeros((2, 3), np.float32), 2, 3)


def test_how_long_an_answer_may_be():
    other = 1 << 20
    assert server_of().most_bytes(2) == 2 * 32_768 * 40 + other
    assert server_of().most_bytes(10**6) == (1 << 29) + other
    assert server_of(Model("wide", 300, True)).most_bytes(7) == 7 * 300 * 40 + other
    assert server_of(Model("wide", 300, True), 20).most_bytes(7) == 7 * 300 * 40 + other


def test_the_width_of_a_model_is_that_of_its_first_answer():
    server = server_of()
    rows = [np.ones(5, np.float32)]
    assert server.width is None
    assert server._learn([]) == []
    assert server._learn(rows) is rows
    assert server.width == 5
    with pytest.raises(answers.MalformedAnswer, match="embeddings of width 6, not 5"):
        server._learn([np.ones(6, np.float32)])  # read before the first one was known
    server.forget_width()
    assert server.width is None
    asked = server_of(dims=3)
    assert asked.extra == {"dimensions": 3}
    (row,) = asked._learn([np.array([3, 0, 4, 12], np.float32)])
    assert row.tolist() == pytest.approx([0.6, 0, 0.8])
    assert asked._learn([ROWS[0].repeat(2)[:3]])[0].size == 3
    narrow = server_of(dims=3)
    with pytest.raises(answers.MalformedAnswer, match="embeddings of width 2, less than dims=3"):
        narrow._learn([ROWS[1]])
    with pytest.raises(ValueError, match="dims=3 is larger than the width 2 of model 'any'"):
        narrow._learn([ROWS[1]])  # twice the same
    equal = server_of(dims=3)
    assert equal._learn([np.ones(3, np.float32)])[0].size == 3


def test_how_many_texts_may_be_refused_in_a_row():
    server = server_of()
    assert [server.text_refused(count) for count in (1, 0, 1, 1)] == [1, 0, 2, 3]
    assert server.most_refused(0, 0, by_content=True) == server.most_refused(9, 0, by_content=False) == 8
    assert server.most_refused(0, 5, by_content=True) == 69
    server._took(batch_of("aaaa", "bb"), 2, 3, "float")
    assert server.text_refused(1) == 1
    assert server.most_refused(7, 3, by_content=True) == 74
    assert server.most_refused(7, 3, by_content=False) == 65
    assert server.most_refused(10**6, 3, by_content=False) == 512


def test_what_answers_show_of_tokens_and_encodings():
    server = server_of()
    assert (server.tokens_per_byte, server.taken, server.busy, server.encoding) == (1.0, 0, 0, "base64")
    assert not server.doubt("base64", False)
    assert not server.doubt("float", True)
    server._took(batch_of("aaaa", "bb"), 2, 0, "float")
    assert server.tokens_per_byte == 1.0
    server._took(batch_of("aaaa", "bb"), 2, 2, "base64")
    server._took(batch_of("aaaa"), 1, 3, "base64")
    assert server.tokens_per_byte == 0.5
    assert (server.taken, server.usage.texts, server.encoding) == (3, 5, "float")
    assert server.doubt("base64", False)  # as others were answered in lists
    assert not server.doubt("float", True)
    server.was_busy()
    assert server.busy == 1
    for refused in range(4):
        fresh = server_of()
        fresh.text_refused(refused)
        assert fresh.doubt("base64", True)
    fresh.text_refused(1)
    assert not fresh.doubt("base64", True)
    assert not server_of(encoding="base64").doubt("base64", True)
    assert server_of(kind=FLOAT, batch_size=3, tokens_per_minute=70).sizes.room == Size(3, 70)


def test_words_of_a_server_that_are_no_answer():
    for body in (b"[1]", b"7", b"null", b'"data"', b"{}", b'{"data": {}}'):
        with pytest.raises(answers.MalformedAnswer, match="JSON that holds no list of embeddings"):
            answers.parse(body)
    assert answers.parse(b'{"data": []}') == {"data": []}
    most = {"usage": {"prompt_tokens": (1 << 40) - 1}}
    assert answers.tokens(most) == (1 << 40) - 1
    assert answers.tokens({"usage": {"prompt_tokens": 1}}) == 1
    assert answers.tokens({"usage": [1]}) == answers.tokens({}) == 0
