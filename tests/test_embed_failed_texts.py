"""`fastvec embed` and texts that cannot be embedded: blank, too long, refused, or changed later."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from embed_command import TEXTS, assert_done, rows_of

from fastvec import files
from fastvec.commands.records import Columns
from fastvec.commands.text_input import TextInput
from fastvec.models import Model

BAD = "x" * 50
"""A text that the server of ``picky`` refuses."""


@pytest.fixture
def picky(server):
    """A server that refuses texts of more than 40 letters."""
    server.max_letters = 40
    return server


def test_blank_texts_are_refused_with_all_their_lines(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("king\n\n \nqueen\n" + "\n" * 4 + "man\n")
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 2
    assert "in.txt: lines 2, 3, 5, 6, 7 and 1 more: 6 texts are blank; --skip-empty" in result.output
    assert server.requests == []
    result = embed("in.txt", "-o", "out.npy", "--skip-empty")
    assert_done(result, ["king", "queen", "man"])
    assert "left out: lines 2, 3, 5, 6, 7 and 1 more, blank" in result.stderr
    assert "out.npy: 3 of 9 texts" in result.stderr


def test_columns_of_blank_texts_are_left_out_with_them(embed, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,king\nx, \n3,queen\n")
    assert embed("in.csv", "-o", "out.arrow", "--keep", "id", "--skip-empty").exit_code == 0
    actual = files.read("out.arrow", repeated=True)
    assert (actual.words, dict(actual.columns)) == (("king", "queen"), {"id": (1, 3)})


def test_nothing_but_blank_texts_is_nothing(embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n \n")
    result = embed("in.txt", "-o", "out.npy", "--skip-empty")
    assert result.exit_code == 2
    assert "in.txt holds no texts but blank ones" in result.output


def test_texts_that_are_too_long_are_refused_with_their_lines_or_left_out(server, embed, tmp_path):
    long = "word " * 9000
    (tmp_path / "in.txt").write_text(f"king\n{long}\nqueen\n{long}\n")
    arguments = ("in.txt", "-o", "out.npy", "--dims", 64)
    result = embed(*arguments, model="text-embedding-3-small")
    assert result.exit_code == 2
    assert "in.txt: lines 2 and 4: 2 texts have more tokens than model" in result.output
    assert server.requests == []
    result = embed(*arguments, "--skip-failed", model="text-embedding-3-small")
    assert files.read("out.npy").words == ("king", "queen")
    assert "left out: lines 2 and 4, longer than the model takes" in result.stderr


def test_refused_texts_are_named_with_their_lines_and_the_others_are_kept(picky, embed, tmp_path):
    texts = [*TEXTS[:50], BAD, *TEXTS[50:], BAD, "end"]
    (tmp_path / "in.csv").write_text("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
    result = embed("in.csv", "-o", "out.npy")
    assert result.exit_code == 1
    assert "2 of 203 texts were refused, at lines 52 and 203 of in.csv" in result.output
    assert "kept in out.npy.partial" in result.output
    assert "--skip-failed leaves them out" in result.output
    assert not os.path.exists("out.npy")
    picky.requests.clear()
    result = embed("in.csv", "-o", "out.npy", "--skip-failed")
    assert_done(result, [*TEXTS, "end"])
    assert "left out: lines 52 and 203" in result.stderr
    assert "out.npy: 201 of 203 texts" in result.stderr
    assert {text for request in picky.requests for text in request["input"]} == {BAD}


@pytest.mark.parametrize("output", ["out.npy", "out.arrow", "out"])
def test_the_first_text_may_be_the_one_that_is_refused(picky, embed, tmp_path, output):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(text) + "\n" for text in [BAD, BAD + "y", *TEXTS]))
    result = embed("in.jsonl", "-o", output, "--skip-failed", "--json")
    assert result.exit_code == 0, result.output
    actual = files.read(output)
    assert list(actual.words) == TEXTS
    np.testing.assert_array_equal(actual.vectors, rows_of(TEXTS))
    done = json.loads(result.stdout)
    assert (done["texts"], done["dims"]) == (200, 64)
    assert [refused["lines"] for refused in done["left_out"]["refused"]] == [[1, 2]]


def test_all_that_is_left_may_be_refused(picky, embed, tmp_path):
    bad = [f"{number} {BAD}" for number in range(100)]
    (tmp_path / "in.txt").write_text("\n".join([*TEXTS, *bad]))
    result = embed("in.txt", "-o", "out.npy")
    assert result.exit_code == 1
    assert "100 of 300 texts were refused" in result.output
    assert_done(embed("in.txt", "-o", "out.npy", "--skip-failed"), TEXTS)


def test_a_text_that_was_refused_by_chance_is_not_left_out(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join([*TEXTS[:3], "unlucky"]))
    failing = 3  # times by itself, as often as it is asked for

    def next_fault(request, headers):
        nonlocal failing
        if "unlucky" not in request["input"] or not failing:
            return ""
        failing -= len(request["input"]) == 1
        return "reset"

    server.next_fault = next_fault
    result = embed("in.txt", "-o", "out.npy", "--skip-failed", "--dims", 64)
    assert_done(result, [*TEXTS[:3], "unlucky"])
    assert failing == 0


def test_texts_of_a_server_that_fails_are_not_left_out(server, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    server.misbehave([""] * 3, always="unauthorized")
    result = embed("in.txt", "-o", "out.npy", "--skip-failed", "--batch-size", 50)
    assert result.exit_code == 1
    assert "status 401" in result.output
    assert "leaves them out" not in result.output
    assert not os.path.exists("out.npy")
    server.misbehave()
    assert_done(embed("in.txt", "-o", "out.npy"), TEXTS)


def test_a_server_that_refuses_all_texts_makes_nothing(picky, embed, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join([BAD, BAD + "y"]))
    result = embed("in.txt", "-o", "out.npy", "--skip-failed")
    assert result.exit_code == 1
    assert "lines 1 and 2 of in.txt" in result.output
    assert not os.path.exists("out.npy")


@pytest.mark.parametrize("when", ["reading", "embedding", "writing"])
def test_an_input_that_changes_while_it_is_read_is_refused(server, embed, tmp_path, monkeypatch, when):
    from contextlib import contextmanager

    from fastvec.commands import embed_job

    @contextmanager
    def working(what, unit=""):
        if when in what:
            with open("in.txt", "a") as file:
                file.write("one more\n")
        yield lambda done, total: None

    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n")
    monkeypatch.setattr(embed_job, "working", working)
    result = embed("in.txt", "-o", "out.npy")
    if when == "reading":  # nothing has been read yet
        assert_done(result, [*TEXTS, "one more"])
        return
    assert result.exit_code == 1
    assert "in.txt was written to while it was read" in result.output
    assert "kept in out.npy.partial" in result.output
    assert not os.path.exists("out.npy")


def test_texts_are_never_all_in_memory(tmp_path):
    letters = 2000
    (tmp_path / "in.csv").write_text("id,text\n" + "".join(f"{n},{n:0{letters}}\n" for n in range(5_000)))
    with open(tmp_path / "in.csv", "rb") as file:
        texts = TextInput(file, "in.csv", None, Columns(keep=("id",)))
        tracemalloc.start()
        try:
            texts.check(
                Model("m"), "", skip_empty=False, skip_too_long=False, progress=lambda done, total: None
            )
            for values in (texts.texts(), *texts.columns().values()):
                assert sum(1 for _ in values) == len(values) == 5_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < os.path.getsize(tmp_path / "in.csv") // 4
