"""Log records of slow work: what they say, and that searches log nothing."""

import logging

import numpy as np
import pytest
from data import gaussian

import fastvec
from fastvec import _logs
from fastvec.kernels import compile, micro


def test_work_is_logged_with_its_seconds(caplog, tmp_path):
    with caplog.at_level(logging.INFO, "fastvec"):
        index = fastvec.Index(gaussian(300, 80, 1), screen=64)
        index.add(gaussian(2, 80, 2))
        index.save(tmp_path / "index")
        fastvec.Index.open(tmp_path / "index", vectors="memory")
        fastvec.files.write(tmp_path / "words.npy", ["secret"], [[1, 2]])
        fastvec.files.read(tmp_path / "words.npy")
        fastvec.Index.build(gaussian(5, 3, 1), tmp_path / "built")
    own = [record for record in caplog.records if record.name == "fastvec"]
    begins = [record.getMessage() for record in own if "kernel" not in record.getMessage()]
    expected = [
        "a screen of 64 dims was made: ",
        "an Index was made: metric cosine, on cpu, 300 vectors, 80 dims: ",
        "2 vectors were added: ",
        f"the folder {tmp_path / 'index'} was saved: ",
        f"the Index {tmp_path / 'index'} was opened, vectors='memory': ",
        f"{tmp_path / 'words.npy'} was written (npy), 1 rows: ",
        f"{tmp_path / 'words.npy'} was read (npy): ",
        f"the rows of source were built into {tmp_path / 'built'}: ",
        f"the Index {tmp_path / 'built'} was opened, vectors='disk': ",
    ]
    assert [message[: len(part)] for message, part in zip(begins, expected, strict=True)] == expected
    assert all(float(message.rpartition(": ")[2].removesuffix(" s")) >= 0 for message in begins)
    assert all(record.levelno == logging.INFO for record in own)
    assert "secret" not in caplog.text


def test_searches_log_nothing(caplog):
    vectors = gaussian(300, 17, 1)
    index = fastvec.Index(vectors)
    index.search(vectors[:3], 2)  # kernels are loaded
    fastvec.knn(vectors[0], vectors, 2)
    with caplog.at_level(logging.DEBUG):
        caplog.clear()
        index.search(vectors[:3], 2)
        fastvec.knn(vectors[0], vectors, 2)
    assert caplog.messages == []


def test_work_that_fails_is_not_said_to_be_done(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="row 0"):
        fastvec.Index([[np.nan, 1.0]])
    assert "was made" not in caplog.text


def test_a_kernel_is_named_with_its_seconds(caplog):
    def made(name):
        def length():
            return len(name)

        return compile.kernel(length)

    with caplog.at_level(logging.DEBUG, "fastvec"):
        assert made("four")() == 4
    assert len(caplog.messages) == 1
    assert "the kernel test_logs.test_a_kernel_is_named_with_its_seconds.<locals>.made" in caplog.messages[0]
    assert caplog.messages[0].startswith(("compiled", "loaded"))


def test_better_micro_kernels_are_named_with_what_they_lack(caplog, monkeypatch):
    monkeypatch.setattr(micro, "why_not", lambda record: None if record.name == "generic" else "it is away")
    with caplog.at_level(logging.INFO, "fastvec"):
        assert micro._choose.__wrapped__(None).name == "generic"
    assert "micro-kernel avx2 cannot run here: it is away" in caplog.messages
    assert caplog.messages[-1] == "micro-kernel generic is used"


def test_code_that_cannot_be_kept_is_said_once(caplog):
    def jit(cache=False, **_):
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: function

    compile._log_once.cache_clear()
    with caplog.at_level(logging.INFO, "fastvec"):
        for name in ("first", "second"):
            assert compile.cached(jit, lambda name=name: name)() == name
    assert len(caplog.messages) == 1
    assert "set NUMBA_CACHE_DIR" in caplog.messages[0]


def test_nothing_is_formatted_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(_logs.LOGGER, "info", lambda *_: pytest.fail("it was logged"))
    monkeypatch.setattr(_logs.LOGGER, "isEnabledFor", lambda level: False)
    fastvec.Index([[1.0, 2.0]]).add([[1.0, 3.0]])


def test_a_program_that_does_not_ask_sees_nothing(run_python, tmp_path):
    code = (
        "import fastvec; index = fastvec.Index([[1.0, 2.0]]); index.search([1.0, 0], 1); "
        f"index.save({str(tmp_path / 'index')!r})"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stdout) == (0, "")
    assert "was made" not in result.stderr
    assert "was saved" not in result.stderr
