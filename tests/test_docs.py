"""Every page is true: its examples run, and its commands, options, tests and links exist."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from fastvec.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=name)
def text(request):
    return request.param.read_text(encoding="utf-8")


def needed(text):
    """The packages beyond the extra ``test`` that a page's front matter names: ``needs: pandas, polars``."""
    found = re.match(r"---\nneeds: (.+)\n---\n", text)
    return found.group(1).split(", ") if found else []


def examples(text):
    return doctest.DocTestParser().get_examples(text)


WITH_EXAMPLES = [page for page in PAGES if examples(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name)
def test_examples_run(page, monkeypatch, tmp_path):
    for package in needed(page.read_text(encoding="utf-8")):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried
    assert not failed


def commands(text):
    """The lines of shell blocks, split into words."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", "").splitlines():
            for part in line.split(" && "):
                yield shlex.split(part, comments=True)


def test_commands_and_options_exist(text):
    for words in commands(text):
        if not words or words[0] != "fastvec":
            continue
        assert words[1] in COMMANDS
        name = "bench_compare" if words[1:3] == ["bench", "compare"] else words[1]
        command = importlib.import_module(f"fastvec.commands.{name}").command
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{' '.join(words)}: {used - known}"
        assert isinstance(command, click.Command)


def test_tests_that_are_named_exist(text):
    for file, test in re.findall(r"`tests/(test_\w+)\.py(?:::(\w+))?`", text):
        source = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(", source) if test else source, f"{file}::{test}"


def test_links_lead_somewhere(request, text):
    page = request.node.callspec.params["text"]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#", "mailto:")):
            assert (page.parent / target.split("#")[0]).exists(), target
