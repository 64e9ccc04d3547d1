"""What a server refuses: halved down to the text that is bad, waited for, asked for in another form."""

import asyncio
import email.utils
import json
import time

import numpy as np
import pytest
from embedding_server import ENVELOPES, KEY, OTHER_WIDTH, STATUS_FAULTS, WORDS, hashed_rows

from fastvec._embedding import answers, exchange, pace, refusals
from fastvec._embedding.sizes import Size, Sizes
from fastvec.openai import EmbeddingError

TEXTS = [f"text {number}" for number in range(2048)]
BAD = 17


def rows_of(texts):
    return hashed_rows(texts, OTHER_WIDTH)


def sizes(server):
    return [len(request["input"]) for request in server.requests]


def none_twice(server):
    """Whether no text was asked for again whose row had been sent."""
    sent = [text for texts, _ in server.answers for text in texts]
    return len(sent) == len(set(sent))


def spoil(server, kind, *bad):
    server.poison = lambda text: kind if text in bad else None


both = pytest.mark.parametrize("awaited", [False, True], ids=["embed", "aembed"])


def embed(embedder, texts, awaited=False, **arguments):
    if awaited:
        return asyncio.run(embedder.aembed(texts, **arguments))
    return embedder.embed(texts, **arguments)


# Bad texts


KINDS = [400, 413, 422, 418, 500, 502, 503, 529, "reset", "nan", "html page"]


@pytest.mark.parametrize(
    ("kind", "retry_after", "awaited"),
    [*((kind, None, False) for kind in KINDS), (500, "0.01", False), (503, "0.01", True), (400, None, True)],
)
def test_one_bad_text_is_named_and_the_others_are_kept(server, make, kind, retry_after, awaited):
    spoil(server, kind, TEXTS[BAD])
    server.retry_after = retry_after
    texts = [*TEXTS[:40], TEXTS[BAD], TEXTS[3]]
    with pytest.raises(EmbeddingError, match=r"texts at positions 17, 40; .* 40 texts are in") as caught:
        embed(make(), texts, awaited)
    error = caught.value
    assert error.positions == [BAD, 40]
    assert np.flatnonzero(~error.received).tolist() == [BAD, 40]
    np.testing.assert_array_equal(error.vectors[error.received], rows_of(texts)[error.received])
    assert len(server.requests) <= 25
    assert none_twice(server) or kind in ("nan", "html page")


def test_a_text_that_hangs_the_server_is_named(server, make):
    spoil(server, "late", TEXTS[BAD])
    with pytest.raises(EmbeddingError, match="timed out") as caught:
        make(timeout=0.2, max_retries=0).embed(TEXTS[:40])
    assert caught.value.positions == [BAD]
    assert caught.value.received.sum() == 39


def test_bad_texts_of_several_requests_and_kinds_are_one_error(server, make):
    kinds = {TEXTS[3]: 422, TEXTS[250]: 400, TEXTS[251]: "nan", TEXTS[999]: 500}
    server.poison = kinds.get
    out = np.zeros((1000, OTHER_WIDTH), np.float32)
    with pytest.raises(EmbeddingError, match=r"status 422.*3, 250, 251, 999, the first for this") as caught:
        make(batch_size=100).embed(iter(TEXTS[:1000]), out=out)
    assert caught.value.positions == [3, 250, 251, 999]
    assert caught.value.vectors is out
    good = caught.value.received
    np.testing.assert_array_equal(out[good], rows_of(TEXTS[:1000])[good])
    assert not out[~good].any()


def test_many_bad_texts_in_a_row_do_not_hide_the_good_ones(server, make):
    bad = TEXTS[100:200]
    spoil(server, 400, *bad)
    with pytest.raises(EmbeddingError) as caught:
        make().embed(TEXTS)
    assert caught.value.positions == list(range(100, 200))
    assert caught.value.received.sum() == 2048 - 100


def test_bad_texts_at_the_start_do_not_hide_the_good_ones(server, make):
    spoil(server, 400, *TEXTS[:20])
    with pytest.raises(EmbeddingError) as caught:
        make().embed(TEXTS)
    assert caught.value.positions == list(range(20))
    assert caught.value.received.sum() == 2048 - 20


def test_a_busy_server_makes_no_text_bad(server, make):
    server.fault_rate, server.random_faults, server.retry_after = 0.5, ["unavailable"], "0.001"
    np.testing.assert_array_equal(make(batch_size=2).embed(TEXTS[:200]), rows_of(TEXTS[:200]))
    assert none_twice(server)


def test_what_was_received_before_is_not_asked_for_again(server, make, tmp_path):
    spoil(server, 500, TEXTS[BAD])
    server.retry_after = None
    for _ in range(2):
        with pytest.raises(EmbeddingError) as caught:
            make(cache=tmp_path / "rows").embed(TEXTS[:300])
        assert caught.value.positions == [BAD]
    assert none_twice(server)
    server.poison = lambda text: None
    server.requests.clear()
    np.testing.assert_array_equal(make(cache=tmp_path / "rows").embed(TEXTS[:300]), rows_of(TEXTS[:300]))
    assert [request["input"] for request in server.requests] == [[TEXTS[BAD]]]


# Servers that refuse everything


@pytest.mark.parametrize(
    ("fault", "most"),
    [("bad request", 40), ("server error", 55), ("reset", 55), ("html page", 55), ("no data", 55)],
)
def test_a_server_that_refuses_everything_is_noticed(server, make, fault, most):
    server.misbehave(always=fault)
    server.retry_after = None
    with pytest.raises(EmbeddingError, match="8 texts in a row, each by itself, so nothing more") as caught:
        make().embed(TEXTS)
    assert len(server.requests) <= most
    assert len(caught.value.positions) == 8
    assert caught.value.vectors is None


def test_a_server_that_refuses_everything_after_a_while_is_noticed(server, make):
    server.misbehave([""] * 10, always="bad request")
    with pytest.raises(EmbeddingError, match="texts in a row") as caught:
        make(batch_size=10).embed(TEXTS)
    assert caught.value.received.sum() == 100
    assert len(server.requests) < 400


# Sizes


@pytest.mark.parametrize(
    ("status", "envelope"),
    [*((400, each) for each in ENVELOPES), *((each, "nothing") for each in (413, 422, 429, 500, 503))],
)
def test_a_limit_is_learned_from_any_error_message(server, make, status, envelope):
    server.max_texts, server.limit_status, server.envelope = 32, status, envelope
    embedder = make(concurrency=1)
    np.testing.assert_array_equal(embedder.embed(TEXTS[:200]), rows_of(TEXTS[:200]))
    assert none_twice(server)
    server.requests.clear()
    embedder.embed(TEXTS[200:400])
    assert sum(size > 32 for size in sizes(server)) <= (0 if status in (400, 413, 422) else 4)


@pytest.mark.parametrize("status", [400, 429])
def test_a_limit_of_tokens_is_learned(server, make, status):
    server.max_tokens, server.limit_status = 100, status  # each text has two words
    long = [f"{number} " + "word " * 19 for number in range(60)]
    embedder = make(concurrency=1)
    np.testing.assert_array_equal(embedder.embed([*TEXTS[:300], *long]), rows_of([*TEXTS[:300], *long]))
    assert none_twice(server)


@pytest.mark.parametrize("fault", ["reset", "half body", "late", "unavailable"])
def test_what_succeeds_only_smaller_is_made_smaller(server, make, fault):
    server.most_at_once, server.too_much = 100, fault
    np.testing.assert_array_equal(make(timeout=0.3).embed(TEXTS[:500]), rows_of(TEXTS[:500]))


def test_a_limit_of_texts_and_one_of_tokens_are_told_apart():
    actual = Sizes(Size(2048, 300_000))
    actual.taken(Size(32, 320))
    actual.learn(Size(64, 640), Size(32, 320), lasting=True, busy=False)
    assert actual.room == Size(32, 300_000)
    actual.taken(Size(16, 500))
    actual.learn(Size(32, 1000), Size(16, 500), lasting=True, busy=False)  # as many texts were taken before
    assert actual.room == Size(2048, 500)
    actual.learn(Size(4096, 640), Size(1, 1), lasting=True, busy=False)  # known to be too large already
    assert actual.room == Size(2048, 500)


def test_troubles_by_chance_teach_nothing_that_stays(server, make):
    server.max_texts, server.fault_rate, server.random_faults = 32, 0.2, ["reset", "unavailable", "html page"]
    embedder = make(concurrency=1, max_retries=4)
    embedder.embed(TEXTS[:1000])
    assert embedder._server.sizes._most == Size(31, 300_000)  # of 1,000, halved five times


def test_what_was_learned_in_a_passing_trouble_grows_again():
    actual = Sizes(Size(2048, 300_000))
    actual.learn(Size(2048, 9000), Size(512, 3000), lasting=False, busy=False)
    assert actual.room.texts == 512
    for _ in range(4):
        actual.taken(Size(512, 3000))
    assert actual.room.texts == 1024
    actual.learn(Size(1024, 6000), Size(512, 3000), lasting=False, busy=False)
    for _ in range(7):
        actual.taken(Size(512, 3000))
    assert actual.room.texts == 512
    actual.taken(Size(512, 3000))
    assert actual.room.texts == 1024


# Base64


@both
@pytest.mark.parametrize("base64", [400, 415, 422, 500, "empty", "null"])
def test_a_server_that_refuses_base64_is_asked_for_numbers(server, make, base64, awaited):
    server.base64, server.retry_after = base64, None
    embedder = make()
    np.testing.assert_array_equal(embed(embedder, TEXTS[:5], awaited), rows_of(TEXTS[:5]))
    server.requests.clear()
    np.testing.assert_array_equal(embed(embedder, TEXTS[5:90], awaited), rows_of(TEXTS[5:90]))
    assert [request["encoding_format"] for request in server.requests] == ["float"]


def test_base64_refused_beside_bad_texts_and_a_limit(server, make):
    server.base64, server.max_texts = 422, 32
    spoil(server, 400, TEXTS[0], TEXTS[1], TEXTS[500])
    with pytest.raises(EmbeddingError) as caught:
        make(concurrency=1).embed(TEXTS[:1000])
    assert caught.value.positions == [0, 1, 500]
    assert none_twice(server)


def test_a_server_that_takes_base64_is_never_asked_for_numbers(server, make):
    embedder = make()
    embedder.embed(WORDS)
    spoil(server, 400, TEXTS[BAD])
    with pytest.raises(EmbeddingError):
        embedder.embed(TEXTS[:40])
    assert {request["encoding_format"] for request in server.requests} == {"base64"}


@pytest.mark.parametrize("form", ["base64", "float"])
def test_the_form_can_be_chosen(server, make, form):
    embedder = make(encoding_format=form)
    np.testing.assert_array_equal(embedder.embed(WORDS), rows_of(WORDS))
    server.misbehave(always="bad request")
    with pytest.raises(EmbeddingError):
        embedder.embed(TEXTS[:4])
    assert {request["encoding_format"] for request in server.requests} == {form}


# Places


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        ([2, None, 1], [1, 2, 0]),
        ([1, 0, None], [1, 0, 2]),
        ([None, 1, None], [0, 1, 2]),
        ([None, None, None], [0, 1, 2]),
        ([0, 1, 2], [0, 1, 2]),
        ([None, None, 0], None),
        ([None, 1, 1], None),
        ([None, 1, 3], None),
        ([0, 0, 0], None),
        ([True, None, 2], None),
        ([-1, 0, 1], None),
        ([3, 0, 1], None),
        ([1.0, 0, 2], None),
    ],
)
def test_indices_that_are_left_out(indices, order):
    data = [{"index": index, "embedding": place} for place, index in enumerate(indices)]
    if order is None:
        with pytest.raises(answers.MalformedAnswer):
            answers.in_order({"data": data}, 3)
    else:
        assert answers.in_order({"data": data}, 3) == order


LIES = {
    "a long index": [{"index": "x" * 100_000, "embedding": [1.0]}],
    "a huge index": [{"index": 10**400, "embedding": [1.0]}],
    "a nested index": [{"index": [[["x" * 1000] * 1000]], "embedding": [1.0]}],
    "many widths": [{"index": at, "embedding": [1.0] * (at + 1)} for at in range(2000)],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_of_any_size_is_a_short_message(lie):
    with pytest.raises(answers.MalformedAnswer) as caught:
        answers.decode(answers.in_order({"data": LIES[lie]}, len(LIES[lie])), frozenset())
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("error", ["a\nb", [["a\x00b"] * 1000], {"code": "x" * 100_000}, "\ud800 and more"])
def test_an_error_with_status_200_is_one_short_line(error):
    # jiter reads no half of a surrogate pair; json, which takes its place, does.
    refused = "JSON that is damaged" if "\ud800" in error else "with status 200 and an error: "
    with pytest.raises(answers.MalformedAnswer, match=refused) as caught:
        answers.parse(json.dumps({"error": error}).encode())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("count", [10**400, 1 << 40, -1, 0, True, 1.5, "7", None])
def test_tokens_that_cannot_be_are_not_counted(count):
    assert answers.tokens({"usage": {"prompt_tokens": count}}) == 0


# Waiting


@both
def test_a_server_of_a_few_requests_in_a_time_is_waited_for(server, make, awaited):
    server.rate, server.retry_after = (3, 0.2), "0.05"
    embedder = make(batch_size=50)
    np.testing.assert_array_equal(embed(embedder, TEXTS[:450], awaited), rows_of(TEXTS[:450]))
    assert none_twice(server)
    assert set(sizes(server)) == {50}  # waited for, and not asked for less


@both
@pytest.mark.parametrize("fault", ["rate limited", "unavailable"])
def test_patience_ends(server, make, fault, awaited):
    server.misbehave([""], always=fault)
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match=rf"status {STATUS_FAULTS[fault][0]}") as caught:
        embed(make(batch_size=100, patience=0.3, concurrency=1), TEXTS[:300], awaited)
    assert 0.15 < time.monotonic() - started < 2
    assert caught.value.received.sum() == 100
    assert caught.value.positions == list(range(100, 200))


@pytest.mark.parametrize("date", [False, True])
def test_a_wait_beyond_patience_fails_at_once(server, make, date):
    server.retry_after = email.utils.formatdate(time.time() + 3600, usegmt=True) if date else "3600"
    server.misbehave(always="rate limited")
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match=r"asks to wait 3,(600|59\d) s, but of patience=120"):
        make().embed(TEXTS[:100])
    assert time.monotonic() - started < 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("says", ["0", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_busy_server_that_says_now_is_not_stormed(server, make, says):
    server.retry_after = says
    server.misbehave(always="rate limited")
    with pytest.raises(EmbeddingError, match="status 429"):
        make(batch_size=1, concurrency=1, patience=0.6, max_retries=1).embed(TEXTS[:1])
    assert 2 <= len(server.requests) <= 10


def test_waits_grow_up_to_a_limit_whatever_the_server_says():
    for says, first in ((None, 0.3), (0.0, 0.0), (0.001, 0.001), (5.0, 5.0), (60.0, 60.0)):
        waits = [exchange._backoff(times, says) for times in (1, 2, 20, 10_000)]
        assert first <= waits[0] <= max(first, 0.5)
        assert waits[1] > 0
        assert all(6 <= wait <= max(8.0, first) for wait in waits[2:]), (says, waits)


def test_one_that_fails_ends_the_waits_of_the_others(server, make):
    server.retry_after = "30"
    server.misbehave(["rate limited"] * 3, always="unauthorized")
    server.delay_s = 0.05
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match="status 401"):
        make(batch_size=10).embed(TEXTS[:40])
    assert time.monotonic() - started < 5


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(pace, "time", self)

    def monotonic(self):
        return self.now


def test_requests_a_minute_are_spread_evenly(monkeypatch):
    clock = Clock(monkeypatch)
    limit = pace.Pace(30, None)
    assert [limit.reserve(10**9) for _ in range(4)] == [0, 2, 4, 6]
    clock.now += 100
    assert limit.reserve(1) == 0
    limit = pace.Pace(None, 100)
    assert [limit.reserve(10) for _ in range(25)] == [6 * at for at in range(25)]  # minute after minute


def test_tokens_stay_below_their_limit_in_any_minute(monkeypatch):
    clock = Clock(monkeypatch)
    limit = pace.Pace(None, 1000)
    sizes = np.random.default_rng(0).integers(1, 1000, 300).tolist()
    moments = np.array([clock.now + limit.reserve(size) for size in sizes])
    assert (np.diff(moments) >= 0).all()
    for moment in moments:
        within = (moments >= moment) & (moments < moment + 59.999)
        assert np.sum(np.array(sizes)[within]) <= 1000
    assert moments[-1] - moments[0] < 60 * sum(sizes) / 1000 * 2


@both
def test_limits_a_minute_are_kept_to_ahead(server, make, awaited):
    started = time.monotonic()
    embed(make(requests_per_minute=1200, batch_size=10), TEXTS[:100], awaited)
    assert 0.4 < time.monotonic() - started < 3
    assert make(tokens_per_minute=6000)._plan(TEXTS).requests == 3  # of 17,322 letters


# Reasons


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_the_server_gives_the_reason(server, make, envelope):
    server.envelope, server.max_letters = envelope, 3
    with pytest.raises(EmbeddingError) as caught:
        make(max_retries=0).embed(["kings"])
    said = "it gives no reason" if envelope == "nothing" else "maximum context length is 3"
    assert f"refused with status 400: {'' if envelope != 'error and message' else 'Bad Request; '}" in str(
        caught.value
    )
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_reason_is_short_and_can_be_printed_and_holds_no_key():
    def said(body):
        return refusals.reason_in(body, lambda text: text.replace(KEY, "[API key]"))

    assert said(b"bad\x1b[2J\n\ttext") == "bad [2J text"
    assert said(b"x" * 290 + KEY.encode()).endswith("x[API key]"[:10])
    assert len(said(b"y " * 10_000)) == 300
    assert said(json.dumps({"errors": ["one", {"message": "two"}]}).encode()) == "one; two"
    assert said(b'{"status": 400}') == ""
    assert said(b"[" * 100_000) != ""
    assert said(b"<html>no title") == ""


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.5}, TypeError),
        ({"patience": -1}, ValueError),
        ({"patience": float("nan")}, ValueError),
        ({"patience": "long"}, TypeError),
        ({"requests_per_minute": 0}, ValueError),
        ({"tokens_per_minute": True}, TypeError),
        ({"encoding_format": "hex"}, ValueError),
    ],
)
def test_arguments_out_of_range(make, arguments, kind):
    with pytest.raises(kind, match=next(iter(arguments))):
        make(**arguments)
