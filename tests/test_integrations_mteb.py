"""MTEB with fastvec's search and embedders: its own tasks, without a network."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from data import hashed
from embedding_server import OTHER, EmbeddingServer, hashed_rows

import fastvec
from fastvec.integrations.mteb import SearchIndex
from fastvec.openai import OpenAIEmbedder

VECTORS = hashed(60, 24, 1)
QUERIES = hashed(7, 24, 2)
NAMES = [f"d{i}" for i in range(60)]


class Model:
    """What ``SearchIndex`` reads of a model."""

    def __init__(self, metric):
        self.mteb_model_meta = type("Meta", (), {"similarity_fn_name": metric})()


class TestSearchIndex:
    """The index alone, which needs no mteb."""

    @pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
    def test_documents_added_in_parts_are_searched_as_one_set(self, metric):
        index = SearchIndex(Model(metric))
        for start, end in ((0, 1), (1, 1), (1, 40), (40, 60)):
            index.add_documents(VECTORS[start:end], NAMES[start:end])
        expected = fastvec.Index(VECTORS, metric=metric).search(QUERIES, 9)
        scores, numbers = index.search(QUERIES, 9, similarity_fn=None)
        assert (scores, numbers) == (expected.scores.tolist(), expected.indices.tolist())
        scores, numbers = index.search(QUERIES, 1000, similarity_fn=None)
        assert {len(row) for row in scores + numbers} == {60}

    def test_the_metric_is_that_of_the_model(self):
        assert SearchIndex().metric == SearchIndex(Model(None)).metric == "cosine"
        assert SearchIndex(Model("dot")).metric == "dot"
        assert SearchIndex(Model("MaxSim"), metric="euclidean").metric == "euclidean"
        for metric in ("MaxSim", "manhattan", "custom"):
            with pytest.raises(ValueError, match=f"the metric is '{metric}'; .* cosine, dot, euclidean"):
                SearchIndex(Model(metric))

    @pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
    def test_reranking_numbers_the_documents_of_each_list(self, metric):
        index = SearchIndex(metric=metric)
        index.add_documents(VECTORS[:30], NAMES[:30])
        index.add_documents(VECTORS[30:], NAMES[30:])
        lists = {f"q{i}": NAMES[i * 5 : 40 + i][::-1] for i in range(6)} | {"q4": []}
        scores, places = index.search(QUERIES, 12, None, lists, {i: f"q{i}" for i in range(7)})
        for i, (row, found) in enumerate(zip(scores, places, strict=True)):
            given = lists.get(f"q{i}", [])
            rows = [NAMES.index(name) for name in given]
            exact = fastvec.knn(QUERIES[i], VECTORS, 60, metric=metric, where=rows) if rows else None
            best = exact.lists()[:12] if rows else []
            assert [
                (NAMES.index(given[place]), score) for place, score in zip(found, row, strict=True)
            ] == best
        assert scores[4] == places[4] == scores[6] == places[6] == []

    def test_clear_forgets_and_faults_are_named(self):
        index = SearchIndex()
        with pytest.raises(ValueError, match="there are no documents: call add_documents"):
            index.search(QUERIES, 3)
        with pytest.raises(ValueError, match="embeddings and idxs differ in number: 60 and 59"):
            index.add_documents(VECTORS, NAMES[1:])
        index.add_documents(VECTORS, NAMES)
        with pytest.raises(ValueError, match="query_idx_to_id must be"):
            index.search(QUERIES, 3, None, {"q": NAMES})
        with pytest.raises(KeyError, match="document 'x' is to be reranked, but was not added"):
            index.search(QUERIES[:1], 3, None, {"q": ["d1", "x"]}, {0: "q"})
        with pytest.raises(ValueError, match="NaN"):
            index.search(QUERIES * np.float32(np.nan), 3)
        index.clear()
        with pytest.raises(ValueError, match="there are no documents"):
            index.search(QUERIES, 3)
        index.add_documents(VECTORS[:2, :5], NAMES[:2])  # of another width
        assert index.search(QUERIES[:, :5], 1)[1][0] in ([0], [1])

    def test_tensors(self):
        torch = pytest.importorskip("torch")
        index = SearchIndex()
        index.add_documents(torch.from_numpy(VECTORS).to(torch.bfloat16), NAMES)
        as_read = torch.from_numpy(VECTORS).to(torch.bfloat16).float().numpy()
        found = fastvec.knn(QUERIES, as_read, 5)
        assert index.search(torch.from_numpy(QUERIES), 5) == (found.scores.tolist(), found.indices.tolist())
        ranked = index.search(
            torch.from_numpy(QUERIES), 1, None, dict.fromkeys(range(7), NAMES), list(range(7))
        )
        assert ranked[1] == found.indices[:, :1].tolist()


def test_a_missing_mteb_is_named(monkeypatch):
    from fastvec.integrations import mteb

    monkeypatch.delitem(sys.modules, "fastvec.integrations.mteb._encoder", raising=False)
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ModuleNotFoundError, match="mteb 2 is not installed: pip install mteb"):
        mteb.Encoder  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        mteb.nothing  # noqa: B018


class Texts:
    """An embedder that records what it is asked."""

    def __init__(self, width=32, **facts):
        self.width, self.asked = width, []
        self.__dict__.update(facts)

    def embed(self, texts, *, progress=False):
        self.asked += texts
        return hashed_rows(texts, self.width)


def task(name="Any", kind="Retrieval", prompt=None):
    return type("Task", (), {"name": name, "type": kind, "prompt": prompt})()


def encoded(model, texts, asked=None, prompt_type=None, **more):
    return model.encode(
        [{"text": texts[:2]}, {"text": texts[2:]}],
        task_metadata=asked or task(),
        hf_split="test",
        hf_subset="default",
        prompt_type=prompt_type,
        **more,
    )


@pytest.fixture(scope="session")
def mteb():
    """The host; its imports find no ``kernels`` in the checkout, which a package of that name would be."""
    root = str(Path(fastvec.__file__).parents[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [path for path in sys.path if path not in ("", root)])
        host = pytest.importorskip("mteb")
        pytest.importorskip("sentence_transformers")
        return host


@pytest.fixture
def encoder(mteb):
    from fastvec.integrations.mteb import Encoder

    return Encoder


@pytest.fixture
def no_network(monkeypatch):
    """Only this machine can be reached."""
    connect = socket.socket.connect

    def local(self, address):
        assert address[0] in ("127.0.0.1", "::1", "localhost"), f"something connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


TEXTS = ["a b", "c", " ", "d e f", ""]


class TestEncoder:
    def test_rows(self, encoder, mteb):
        embedder = Texts()
        rows = encoded(encoder(embedder), TEXTS)
        assert embedder.asked == ["a b", "c", "d e f"]
        assert (rows[[2, 4]] == 0).all()
        np.testing.assert_array_equal(rows[[0, 1, 3]], hashed_rows(embedder.asked, 32))
        narrow = encoded(encoder(embedder, dims=8), ["a b", "c"])
        np.testing.assert_array_equal(narrow, fastvec.truncate(rows[:2], 8))
        with pytest.raises(ValueError, match="dims"):
            encoded(encoder(embedder, dims=33), TEXTS)
        embedder.asked.clear()
        encoded(
            encoder(embedder, max_characters=3, prompts={"query": "q: "}),
            TEXTS,
            None,
            mteb.types.PromptType.query,
        )
        assert embedder.asked == ["q: a b", "q: c", "q: d e"]

    def test_prompts_are_chosen_as_mteb_chooses(self, encoder, mteb):
        query, document = mteb.types.PromptType.query, mteb.types.PromptType.document
        prompts = {"STS12-query": "1 ", "STS12": "2 ", "STS": "3 ", "query": "4 "}
        for (name, kind, role), expected in {
            ("STS12", "STS", query): "1 x",
            ("STS12", "STS", None): "2 x",
            ("Other", "STS", query): "3 x",
            ("Other", "Retrieval", query): "4 x",
            ("Other", "Retrieval", document): "x",
        }.items():
            embedder = Texts()
            encoded(encoder(embedder, prompts=prompts), ["x"], task(name, kind), role)
            assert embedder.asked == [expected]
        embedder = Texts(prefixes={"query": "q: ", "document": "d: "})
        for role in (query, document, None):
            encoded(encoder(embedder), ["x"], prompt_type=role)
        encoded(encoder(embedder, prompts={}), ["x"], prompt_type=query)
        assert embedder.asked == ["q: x", "d: x", "x", "x"]

    def test_instructions_are_those_of_the_task(self, encoder, mteb):
        query, document = mteb.types.PromptType.query, mteb.types.PromptType.document
        embedder = Texts(prefixes={"query": "never: "})
        model = encoder(embedder, instruction="Instruct: {instruction}\nQuery: ")
        asked = task("Mine", "Retrieval", {"query": "find answers"})
        encoded(model, ["x"], asked, query)
        encoded(model, ["x"], asked, document)
        encoded(model, ["x"], task("Mine", "STS", "compare"))
        own = encoder(
            embedder, prompts={"Mine": "my words"}, instruction=lambda words, role: f"<{words}|{role}>"
        )
        encoded(own, ["x"], asked, None)
        assert embedder.asked == [
            "Instruct: find answers\nQuery: x", "x", "Instruct: compare\nQuery: x", "<my words|None>x",
        ]  # fmt: skip
        with pytest.raises(ValueError, match=r"template with \{instruction\}, not 'Instruct: '"):
            encoder(embedder, instruction="Instruct: ")

    def test_metadata_keeps_results_apart(self, encoder):
        made = OpenAIEmbedder(OTHER, base_url="http://127.0.0.1:1/v1", api_key="none", dims=16)
        meta = encoder(made).mteb_model_meta
        assert (meta.name, meta.embed_dim, meta.similarity_fn_name.value) == (
            f"fastvec/{OTHER}",
            16,
            "cosine",
        )
        assert (meta.framework, meta.use_instructions) == (["API"], False)
        names = [
            encoder(made, dims=8).mteb_model_meta,
            encoder(made, prompts={"query": "q: "}).mteb_model_meta,
            encoder(made, instruction="{instruction}: ").mteb_model_meta,
        ]
        assert len({meta.experiment_name, *(each.experiment_name for each in names)}) == 4
        assert [each.use_instructions for each in names] == [False, True, True]
        theirs = OpenAIEmbedder(
            "text-embedding-3-small", base_url="https://api.openai.com/v1", api_key="none"
        )
        assert encoder(theirs).mteb_model_meta.name == "openai/text-embedding-3-small"
        other = encoder(Texts(), name="me/model", metric="dot", meta={"license": "mit"}).mteb_model_meta
        assert (other.name, other.license, other.similarity_fn_name.value) == ("me/model", "mit", "dot")
        assert SearchIndex(encoder(Texts(), metric="dot")).metric == "dot"
        for wrong, message in (
            ({"metric": "euclidean"}, "metric must"),
            ({"dims": 0}, "dims must be at least 1"),
        ):
            with pytest.raises(ValueError, match=message):
                encoder(Texts(), **wrong)
        with pytest.raises(TypeError, match="max_characters must be an integer"):
            encoder(Texts(), max_characters=0.5)

    def test_the_server_is_asked_for_the_width_once_for_each_text(self, encoder):
        with EmbeddingServer() as server:
            embedder = OpenAIEmbedder("text-embedding-3-small", base_url=server.url, api_key="none", dims=24)
            rows = encoded(encoder(embedder), ["a", "b", "a"], batch_size=1, show_progress_bar=False)
            assert rows.shape == (3, 24)
            assert [(request["input"], request["dimensions"]) for request in server.requests] == [
                (["a", "b"], 24)
            ]


WORDS = [f"w{i}" for i in range(40)]


def sentences(count, seed):
    """Texts of words that overlap, so that some are near others."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 6)) for _ in range(count)]


class Bag:
    """Texts as sums of their words' rows."""

    def embed(self, texts, *, progress=False):
        return np.array([hashed_rows(text.split(), 48).sum(axis=0) for text in texts])


@pytest.fixture
def retrieval(mteb):
    """A task of 300 documents and 20 queries; the first half of them has lists to be reranked."""
    from datasets import Dataset
    from mteb.mocks.mock_tasks import MockRetrievalTask

    def of(reranked):
        documents, queries = sentences(300, 1), sentences(20, 2)
        rng = np.random.default_rng(3)
        made = MockRetrievalTask()
        relevant = {f"q{i}": {f"d{j}": 1 for j in rng.choice(300, 5)} for i in range(20)}
        lists = {f"q{i}": [f"d{j}" for j in rng.permutation(300)[:50]] for i in range(20)}
        rows = [
            [{"id": f"{letter}{i}", "text": text} for i, text in enumerate(texts)]
            for letter, texts in (("d", documents), ("q", queries))
        ]
        split = {
            "corpus": Dataset.from_list(rows[0]),
            "queries": Dataset.from_list(rows[1]),
            "relevant_docs": relevant,
            "top_ranked": lists if reranked else None,
        }
        made.dataset = {"default": {"test": split}}
        made.data_loaded = True
        made.filter_eval_splits(["test"])
        return made

    return of


@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_search_of_mteb_finds_the_same(mteb, encoder, retrieval, reranked, metric, no_network):
    from mteb.models import SearchEncoderWrapper

    model = encoder(Bag(), metric=metric)
    given = retrieval(reranked)
    split = given.dataset["default"]["test"]
    named = {"task_metadata": given.metadata, "hf_split": "test", "hf_subset": "default", "num_proc": None}
    named["encode_kwargs"] = {"batch_size": 32, "show_progress_bar": False}
    answers, scores = [], []
    for search in (
        SearchEncoderWrapper(model, corpus_chunk_size=70),
        SearchEncoderWrapper(model, index_backend=SearchIndex(model)),
    ):
        search.index(split["corpus"], **named)
        answers.append(search.search(split["queries"], top_k=25, top_ranked=split["top_ranked"], **named))
        result = mteb.evaluate(search, retrieval(reranked), cache=None, show_progress_bar=False)
        scores.append(result.task_results[0].scores["test"][0])
    theirs, ours = answers
    assert ours.keys() == theirs.keys()
    for query, found in ours.items():
        assert len(found) == 25
        expected = theirs[query]
        # Rankings are the same but for documents whose scores are.
        np.testing.assert_allclose(sorted(found.values()), sorted(expected.values()), rtol=2e-6)
        least = max(min(found.values()), min(expected.values()))
        same = {document for document, score in expected.items() if score > least * (1 + 2e-6)}
        assert same <= found.keys()
        for document in found.keys() & expected.keys():
            assert found[document] == pytest.approx(expected[document], rel=2e-6)
    assert scores[1]["main_score"] == scores[0]["main_score"] > 0
    for name, value in scores[0].items():
        if isinstance(value, float):
            assert scores[1][name] == pytest.approx(value, abs=1e-5, nan_ok=True), name


@pytest.mark.filterwarnings("ignore:Precision is ill-defined")
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_all_kinds_of_tasks_have_the_scores_of_mteb_alone(mteb, encoder, no_network):
    """Over a server, with fastvec's search, against the same rows with mteb's own model and search."""
    from mteb.mocks import MOCK_TASK_TEST_GRID_MONOLINGUAL as TASKS
    from mteb.models import SearchEncoderWrapper
    from mteb.models.abs_encoder import AbsEncoder

    class Plain(AbsEncoder):
        mteb_model_meta = mteb.models.ModelMeta.create_empty({"name": "plain/model"})

        def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
            rows = hashed_rows([text for batch in inputs for text in batch["text"]], 64)[:, :40]
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    kinds = {
        "BitextMining", "Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS",
        "Summarization",
    }  # fmt: skip
    assert kinds <= {each.metadata.type for each in TASKS}
    with EmbeddingServer() as server:
        model = encoder(OpenAIEmbedder(OTHER, base_url=server.url, api_key="none", dims=40))
        searching = SearchEncoderWrapper(model, index_backend=SearchIndex(model))
        results = [
            mteb.evaluate(each, TASKS, cache=None, show_progress_bar=False).task_results
            for each in (Plain(), searching)
        ]
        assert len(server.requests) > 20
    for plain, ours in zip(*results, strict=True):
        assert ours.task_name == plain.task_name
        assert ours.get_score() == pytest.approx(plain.get_score(), abs=1e-6), ours.task_name
