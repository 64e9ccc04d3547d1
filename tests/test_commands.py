"""similarity, search, analogy, convert and evaluate: what is typed, what comes out, the exit status."""

import json
import re

import numpy as np
import pytest
from assertions import assert_same_bits
from click.testing import CliRunner
from data import hashed

from fastvec import Vocabulary, cli, files
from fastvec.analogies import METHODS
from fastvec.commands import options
from fastvec.kernels import metrics

WORDS = ["man", "woman", "king", "queen", "男人", "女人"]
ROWS = [[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0.1], [0.1, 1, 0]]


@pytest.fixture
def run():
    """Run `fastvec` as `main` does, but in this process; return output, and status and message of errors."""

    def call(*arguments, status=0, **more):
        result = CliRunner().invoke(cli.group(), [str(a) for a in arguments], **more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.output if status == 0 else result.output.splitlines()[-1]

    return call


@pytest.fixture
def on_terminal(monkeypatch):
    """What is printed goes to somebody who reads it."""
    for command in ("analogy", "search", "similarity"):
        monkeypatch.setattr(f"fastvec.commands.{command}.is_terminal", lambda stream: True)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "words.vec"
    files.write(path, WORDS, ROWS)
    return path


@pytest.fixture
def vocabulary():
    return Vocabulary(WORDS, ROWS)


def cells(line):
    return re.split(r" {2,}", line.strip())


def test_the_formats_offered_are_those_of_the_table():
    assert set(options.FORMATS) == set(files.FORMATS)


def test_the_metrics_and_methods_offered_are_those_of_the_tables():
    assert list(options.METRICS.choices) == list(metrics.TABLE)
    assert list(options.METHODS.choices) == list(METHODS)


def test_similarity(run, file, vocabulary, on_terminal):
    lines = run("similarity", file, "man", "king", "男人").splitlines()
    assert lines[1] == "Cosine similarity"
    assert cells(lines[2]) == ["man", "king", "男人"]
    assert cells(lines[4]) == ["king", "0.707", "1.000", f"{vocabulary.similarity('king', '男人'):.3f}"]
    actual = json.loads(run("similarity", file, "man", "king", "queen", "--json", "--dims", "2"))
    assert actual["words"] == ["man", "king", "queen"]
    assert actual["similarity"] == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_wide_characters_stand_in_line(run, file, on_terminal):
    from rich.cells import cell_len

    lines = run("similarity", file, *WORDS).splitlines()[2:]
    assert len({cell_len(line.rstrip()) for line in lines}) == 1


@pytest.mark.parametrize("name", files.FORMATS)
def test_search_reads_every_format(run, tmp_path, vocabulary, name):
    path = tmp_path / f"x{files.FORMATS[name].suffixes[0]}"
    files.write(path, WORDS, ROWS, format=name)
    actual = json.loads(run("search", path, "man", "女人", "--k", "2", "--json"))
    assert [answer["word"] for answer in actual] == ["man", "女人"]
    for answer in actual:
        hits = [(hit["word"], hit["score"]) for hit in answer["nearest"]]
        assert hits == vocabulary.search(answer["word"], 2)


def test_search_as_a_table_and_words_from_a_file(run, file, on_terminal):
    output = run("search", file, "king", "--words", "-", input="男人\n\nman\n".encode())
    assert [line for line in output.splitlines() if line.startswith("Nearest")] == [
        "Nearest to 男人",
        "Nearest to man",
        "Nearest to king",
    ]
    assert cells(output.splitlines()[3]) == ["0.995", "man"]


def test_analogy(run, file, vocabulary, on_terminal):
    lines = run("analogy", file, "man", "king", "woman").splitlines()
    assert lines[1] == "man is to king as woman is to"
    assert cells(lines[3])[1] == "queen"
    (actual,) = json.loads(
        run("analogy", file, "man", "king", "woman", "--k", "2", "--method", "3cosmul", "--json")
    )
    assert [(hit["word"], hit["score"]) for hit in actual["answers"]] == vocabulary.most_similar(
        ["king", "woman"], "man", 2, method="3cosmul"
    )


def test_a_file_of_analogies(run, file, tmp_path, vocabulary, on_terminal):
    path = tmp_path / "q.txt"
    path.write_text(": royal\nman king woman queen\n男人 king 女人\nman xyz woman\n", encoding="utf-8")
    lines = run("analogy", file, "--questions", path).splitlines()
    assert cells(lines[3]) == ["man", "king", "woman", "queen 1.000"] or cells(lines[3])[3].startswith(
        "queen "
    )
    assert cells(lines[5])[3] == "not in this vocabulary: xyz"
    actual = json.loads(run("analogy", file, "--questions", path, "--json", "--k", "2"))
    assert actual[2] == {"a": "man", "b": "xyz", "c": "woman", "unknown": ["xyz"], "answers": []}
    hits = [(hit["word"], hit["score"]) for hit in actual[1]["answers"]]
    assert hits == vocabulary.most_similar(["king", "女人"], "男人", 2)
    path.write_text("man king\n")
    assert "row 1: 2 words" in run("analogy", file, "--questions", path, status=1)


def test_a_pipe_gets_lines_of_similarities(run, file, vocabulary):
    lines = run("similarity", file, "man", "king", "男人").splitlines()
    assert lines[0] == "word\tman\tking\t男人"
    name, *scores = lines[2].split("\t")
    assert name == "king"
    assert [np.float32(score) for score in scores] == [
        np.float32(vocabulary.similarity("king", other)) for other in ("man", "king", "男人")
    ]


def test_a_pipe_gets_lines_of_analogies(run, file, tmp_path, vocabulary):
    path = tmp_path / "q.txt"
    path.write_text("man king woman\nman xyz woman\n", encoding="utf-8")
    said, header, *lines = run("analogy", file, "--questions", path, "--k", "2").splitlines()
    assert said == "fastvec: 1 of 2 questions has words that are not in the file: 'xyz'"
    assert header == "a\tb\tc\trank\tscore\tword"
    expected = vocabulary.most_similar(["king", "woman"], "man", 2)
    for rank, (line, (word, score)) in enumerate(zip(lines, expected, strict=True), 1):
        assert line.split("\t") == ["man", "king", "woman", str(rank), f"{score:.9g}", word]


def test_convert(run, file, tmp_path):
    output = run("convert", file, tmp_path / "x.arrow")
    assert output == f"{tmp_path / 'x.arrow'}: arrow, 6 words, 3 dims (from word2vec-text)\n"
    files.write(tmp_path / "y.parquet", WORDS, ROWS, metadata={"model": "m"})
    run("convert", tmp_path / "y.parquet", tmp_path / "index")
    assert files.read(tmp_path / "index").metadata["model"] == "m"
    run(
        "convert",
        tmp_path / "index",
        tmp_path / "data",
        "--to",
        "word2vec-binary",
        "--limit",
        "4",
        "--dims",
        "2",
    )
    back = files.read(tmp_path / "data")
    assert back.words == tuple(WORDS[:4])
    assert back.vectors.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    actual = json.loads(run("convert", file, tmp_path / "z.npy", "--json"))
    assert actual == {"target": str(tmp_path / "z.npy"), "format": "npy", "words": 6, "dims": 3}


@pytest.mark.parametrize("name", ["vec", "npy"])
def test_words_that_repeat_are_said_in_one_line(run, tmp_path, tests_of_quality, name):
    """The first of equal words counts: of texts that `fastvec embed` wrote, too."""
    path = tmp_path / f"again.{name}"
    files.write(path, [*WORDS, "extra1", "extra2"], [*ROWS, [0, 0, 1], [9, 9, 9]])
    written = path if name == "vec" else path.with_suffix(".texts.jsonl")
    written.write_bytes(written.read_bytes().replace(b"extra1", b"king").replace(b"extra2", b"man"))
    said = f"fastvec: {path}: words are repeated: 'king' at 2 and 6, 'man' at 0 and 7; the first of equal"
    for arguments in (
        ["similarity", path, "king", "man"],
        ["analogy", path, "man", "king", "woman"],
        ["evaluate", path, *tests_of_quality],
    ):
        (line,) = [line for line in run(*arguments).splitlines() if line.startswith("fastvec:")]
        assert line.startswith(said)


@pytest.mark.parametrize("name", ["vec", "npy"])
@pytest.mark.parametrize("target", ["vec", "bin", "txt", "npy", "arrow", "parquet", "index"])
def test_convert_keeps_every_row_of_words_that_repeat(run, tmp_path, name, target):
    path, new = tmp_path / f"again.{name}", tmp_path / f"new.{target}"
    words = [*WORDS, *WORDS[1:3]]
    files.write(path, words, hashed(8, 3), repeated=True)
    assert "fastvec:" not in run("convert", path, new)
    read = files.read(new, repeated=True)
    assert read.words == tuple(words)
    assert_same_bits(np.ascontiguousarray(read.vectors), hashed(8, 3))
    with pytest.warns(UserWarning, match="at 1 and 6.*the first of equal words counts"):
        assert Vocabulary.open(new).words == tuple(WORDS)


def test_convert_carries_what_the_target_holds_and_names_the_rest(run, tmp_path):
    columns = {"id": (7, 8), "title": ("a\nb", None)}
    metadata = {"model": "m", "server": "https://example.org/v1", "dims": "3"}
    path = tmp_path / "source.parquet"
    files.write(path, ["x", "x"], hashed(2, 3), metadata=metadata, columns=columns, repeated=True)
    for name in ("a.arrow", "index", "b.npy", "b.parquet", "c.vec", "d.bin", "e.txt"):
        said = run("convert", path, tmp_path / name)
        read = files.read(tmp_path / name, repeated=True)
        holds = files.FORMATS[read.format]
        assert read.words == ("x", "x")
        assert read.metadata == (metadata if holds.metadata else {})
        assert dict(read.columns) == (columns if holds.columns else {})
        lines = [line for line in said.splitlines() if line.startswith("fastvec:")]
        missing = {"id": holds.columns, "title": holds.columns, "server": holds.metadata}
        if all(missing.values()):
            assert not lines
        else:
            assert len(lines) == 1
            assert all((f"'{name}'" in lines[0]) != held for name, held in missing.items())
        if name == "index":
            path = tmp_path / name
    run("convert", path, tmp_path / "narrow.npy", "--dims", 2)
    assert files.read(tmp_path / "narrow.npy").metadata == {**metadata, "dims": "2"}
    (tmp_path / "theirs.meta.json").write_text("[]")
    assert "theirs.meta.json exists and was not written by fastvec, so it is not replaced" in run(
        "convert", path, tmp_path / "theirs.npy", status=1
    )
    (tmp_path / "theirs.texts.jsonl").write_text("[]")
    assert "theirs.texts.jsonl exists without" in run("convert", path, tmp_path / "theirs.npy", status=2)
    files.write(tmp_path / "plain.arrow", ["x"], [[1, 2]])
    assert "fastvec:" not in run("convert", tmp_path / "plain.arrow", tmp_path / "plain.vec")
    run("convert", tmp_path / "plain.arrow", tmp_path / "plain.npy")
    assert not (tmp_path / "plain.meta.json").exists()


def test_convert_names_the_file_that_is_wrong(run, file, tmp_path):
    bad = hashed(6, 3).copy()
    bad[4, 0] = np.inf
    np.save(tmp_path / "bad.npy", bad)
    (tmp_path / "bad.texts.jsonl").write_text("".join(json.dumps(w) + "\n" for w in WORDS))
    for more in ((), ("--dims", "2")):
        message = run("convert", tmp_path / "bad.npy", tmp_path / "y.bin", *more, status=1)
        assert "bad.npy" in message
        assert "row 4" in message
    assert not (tmp_path / "y.bin").exists()
    assert "suffix '.zip'" in run("convert", file, tmp_path / "x.zip", status=2)
    assert "--dims is 9" in run("convert", file, tmp_path / "x.bin", "--dims", "9", status=2)


@pytest.fixture
def tests_of_quality(tmp_path):
    (tmp_path / "q.txt").write_text(": royal\nman king woman queen\nman king woman nobody\n: none\na b c d\n")
    (tmp_path / "p.tsv").write_text("man\tking\t8\nman\twoman\t1\nking\tqueen\t5\n")
    return ["--analogies", tmp_path / "q.txt", "--pairs", tmp_path / "p.tsv"]


def test_evaluate(run, file, tests_of_quality, vocabulary):
    lines = run("evaluate", file, *tests_of_quality, "--dims", "3,2").splitlines()
    assert lines[1] == "Analogies of q.txt, % correct"
    assert cells(lines[2]) == ["asked", "unknown", "2 dims", "3 dims"]
    assert cells(lines[3])[:3] == ["royal", "1", "1"]
    assert cells(lines[4]) == ["none", "0", "1"]
    assert cells(lines[5])[-1] == "100.0"
    assert lines[7] == "Pairs of p.tsv, correlation (3 pairs, 100.0 % of all)"
    actual = json.loads(run("evaluate", file, *tests_of_quality, "--json"))
    assert [(record["dims"], record.get("accuracy")) for record in actual] == [(3, 1.0), (3, None)]
    assert actual[1]["spearman"] == vocabulary.evaluate_pairs(tests_of_quality[3]).spearman


def test_evaluate_with_a_method_restriction_and_case(run, file, tests_of_quality):
    more = ["--method", "3cosmul", "--restrict", "3", "--case-sensitive", "--json"]
    actual = json.loads(run("evaluate", file, *tests_of_quality[:2], *more))
    assert actual[0]["unknown"] == 3


def test_plots(run, file, tests_of_quality, tmp_path):
    pytest.importorskip("matplotlib")
    run("similarity", file, "man", "king", "--plot", tmp_path / "s.png")
    run("evaluate", file, *tests_of_quality, "--dims", "1,2,3", "--plot", tmp_path / "q.svg")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "q.svg").read_bytes()
    assert "Format 'xyz'" in run("similarity", file, "man", "king", "--plot", tmp_path / "s.xyz", status=2)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "{file}", "kinf"], 1, "'kinf' is not in this vocabulary; nearest spellings: 'king'"),
        (["search", "{file}"], 2, "at least one text"),
        (["search", "nowhere", "x"], 2, "does not exist"),
        (["search", "{file}", "king", "--dims", "4"], 2, "--dims is 4"),
        (["search", "{file}", "king", "--format", "parquet"], 1, "words.vec"),
        (["search", "{file}", "king", "--format", "npy", "--errors", "ignore"], 2, "errors"),
        (["similarity", "{file}", "king"], 2, "at least two"),
        (["analogy", "{file}", "man", "king"], 2, "three words"),
        (["analogy", "{file}", "a", "b", "c", "--questions", "{file}"], 2, "three words"),
        (["evaluate", "{file}"], 2, "--pairs FILE"),
        (["evaluate", "{file}", "--pairs", "{file}", "--dims", "x"], 2, "is not a list of widths"),
        (["evaluate", "{file}", "--pairs", "{file}", "--dims", "0"], 2, "at least 1"),
        (["evaluate", "{file}", "--pairs", "{file}"], 1, "two words and a number"),
    ],
)
def test_errors_are_one_line(run, file, arguments, status, message):
    assert message in run(*[argument.format(file=file) for argument in arguments], status=status)


def test_help_shows_an_example(run):
    for name in ("similarity", "search", "analogy", "convert", "evaluate"):
        assert f"Example: fastvec {name}" in " ".join(run(name, "--help").split())


def test_a_pipe_gets_no_color_and_errors_one_line(run_python, file, tmp_path):
    result = run_python("-m", "fastvec.cli", "search", file, "king", PYTHONUTF8="1")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    result = run_python("-m", "fastvec.cli", "search", tmp_path, "king", PYTHONUTF8="1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("fastvec: ")
    assert result.stderr.count("\n") == 1
    result = run_python(
        "-m", "fastvec.cli", "search", file, "男人", "--json", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert json.loads(result.stdout)[0]["word"] == "男人"
