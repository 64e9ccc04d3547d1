"""Ranking of embeddings and the vector store for LlamaIndex: results of the host, and differences."""

import asyncio
import datetime
import functools
import inspect
import itertools

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from data import gaussian
from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core import vector_stores as host
from llama_index.core.base.embeddings.base import SimilarityMode, similarity
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.query import embedding_utils
from llama_index.core.llms import MockLLM
from llama_index.core.schema import Document, ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode

import fastvec
from fastvec.errors import FileError
from fastvec.integrations import llama_index as drop_in
from fastvec.integrations.llama_index import (
    SimpleVectorStore,
    get_top_k_embeddings,
    get_top_k_mmr_embeddings,
)

ROWS = gaussian(200, 12, 1)
QUERY = gaussian(1, 12, 2)[0]
IDS = [f"id {i}" for i in range(200)]

PLUS = functools.partial(similarity, mode=SimilarityMode.DOT_PRODUCT)
FUNCTIONS = [
    None,
    similarity,
    PLUS,
    functools.partial(similarity, mode=SimilarityMode.EUCLIDEAN),
    lambda a, b: float(np.minimum(a, b).sum()),
]


def assert_same(mine, theirs):
    assert mine[1] == theirs[1]
    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-5, atol=1e-6)
    assert {type(score) for score in mine[0]} <= {float}


@pytest.mark.parametrize("name", ["get_top_k_embeddings", "get_top_k_mmr_embeddings"])
def test_signatures_are_those_of_the_host(name):
    mine, theirs = (inspect.signature(getattr(home, name)).parameters for home in (drop_in, embedding_utils))
    assert [(one.name, one.default) for one in mine.values()] == [
        (one.name, one.default) for one in theirs.values()
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("k", [None, 0, 1, 5, 500])
@pytest.mark.parametrize("cutoff", [None, 0.1])
def test_nearest_embeddings(function, k, cutoff):
    for ids, rows in itertools.product((None, IDS), (ROWS, ROWS.tolist(), [*map(list, ROWS)])):
        arguments = {"similarity_fn": function, "similarity_top_k": k}
        arguments |= {"embedding_ids": ids, "similarity_cutoff": cutoff}
        expected = embedding_utils.get_top_k_embeddings(QUERY.tolist(), ROWS.tolist(), **arguments)
        assert_same(get_top_k_embeddings(QUERY.tolist(), rows, **arguments), expected)
        assert_same(get_top_k_embeddings(QUERY, rows, **arguments), expected)
    assert_same(get_top_k_embeddings(QUERY, fastvec.Index(ROWS), **arguments), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("threshold", [None, 0, 0.3, 1])
def test_marginal_relevance(function, threshold):
    for k, ids in itertools.product((None, 7, 500), (None, IDS[:60])):
        arguments = {"similarity_fn": function, "similarity_top_k": k}
        arguments |= {"embedding_ids": ids, "mmr_threshold": threshold}
        expected = embedding_utils.get_top_k_mmr_embeddings(QUERY.tolist(), ROWS[:60].tolist(), **arguments)
        assert_same(get_top_k_mmr_embeddings(QUERY, ROWS[:60], **arguments), expected)
        assert_same(get_top_k_mmr_embeddings(QUERY.tolist(), ROWS[:60].tolist(), **arguments), expected)


def test_edges():
    assert get_top_k_embeddings([1.0], []) == ([], [])
    assert get_top_k_mmr_embeddings([1.0], []) == ([], [])
    rows = [[0, 0], [1, 1], [2, 2], [1, 1]]
    assert get_top_k_embeddings([3, 3], rows) == ([1.0, 1.0, 1.0, 0.0], [1, 2, 3, 0])
    assert get_top_k_embeddings([3, 3], rows, similarity_cutoff=1.0) == ([], [])
    with pytest.raises(ValueError, match="NaN"):
        get_top_k_embeddings([1.0], [[float("nan")]])
    with pytest.raises(ValueError, match="queries has 1 dimensions; it must have the 2 of vectors"):
        get_top_k_embeddings([1.0], [[1.0, 2.0]])
    index = fastvec.Index(rows, metric="dot")
    index.remove([0])
    assert get_top_k_embeddings([3, 3], index, similarity_top_k=1, embedding_ids="abcd") == ([12.0], ["c"])


def node(number, **more):
    text = TextNode(
        text=f"text {number}",
        id_=IDS[number],
        embedding=ROWS[number].tolist(),
        metadata={"part": number % 3, "number": number, "tags": ["a", f"t{number % 5}"], **more},
    )
    text.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"document {number // 10}")
    return text


def filled(kind=SimpleVectorStore, count=60):
    store = kind()
    assert store.add([node(number) for number in range(count)]) == IDS[:count]
    return store


@pytest.fixture
def store():
    return filled()


@pytest.fixture(scope="module")
def theirs():
    return filled(host.SimpleVectorStore)


def query(**arguments):
    return VectorStoreQuery(query_embedding=QUERY.tolist(), **arguments)


def filters(*values, condition="and"):
    made = [
        value if isinstance(value, MetadataFilters) else MetadataFilter(key=k, operator=op, value=v)
        for value in values
        for k, op, v in [value if isinstance(value, tuple) else (None, None, None)]
    ]
    return MetadataFilters(filters=made, condition=FilterCondition(condition))


CASES = {
    FilterOperator.EQ: ("part", 1),
    FilterOperator.NE: ("part", 1),
    FilterOperator.GT: ("number", 30),
    FilterOperator.GTE: ("number", 30),
    FilterOperator.LT: ("number", 30),
    FilterOperator.LTE: ("number", 30),
    FilterOperator.IN: ("part", [0, 2]),
    FilterOperator.NIN: ("part", [0, 2]),
    FilterOperator.ANY: ("tags", ["t1", "t2"]),
    FilterOperator.ALL: ("tags", ["a", "t2"]),
    FilterOperator.TEXT_MATCH: ("doc_id", "ment 2"),
    FilterOperator.TEXT_MATCH_INSENSITIVE: ("doc_id", "MENT 2"),
    FilterOperator.CONTAINS: ("tags", "t3"),
    FilterOperator.IS_EMPTY: ("nothing", None),
}


def answers(result):
    return result.similarities, result.ids


@pytest.mark.parametrize("operator", FilterOperator)
def test_every_operator_of_filters(store, theirs, operator):
    key, value = CASES[operator]
    asked = query(similarity_top_k=100, filters=filters((key, operator, value)))
    expected = theirs.query(asked)
    assert expected.ids
    assert_same(answers(store.query(asked)), answers(expected))
    assert {one.node_id for one in store.get_nodes(filters=asked.filters)} == set(expected.ids)


@pytest.mark.parametrize("condition", FilterCondition)
@pytest.mark.parametrize("mode", ["default", "mmr"])
def test_conditions_and_modes(store, theirs, condition, mode):
    chosen = filters(("part", "==", 1), ("number", ">", 20), condition=condition)
    for asked in (
        query(similarity_top_k=7, filters=chosen, mode=VectorStoreQueryMode(mode)),
        query(similarity_top_k=100, node_ids=IDS[5:30], mode=VectorStoreQueryMode(mode)),
        query(similarity_top_k=3, filters=MetadataFilters(filters=[]), mode=VectorStoreQueryMode(mode)),
        query(similarity_top_k=3, filters=filters(("part", "==", 9)), mode=VectorStoreQueryMode(mode)),
    ):
        mine = store.query(asked)
        assert_same(answers(mine), answers(theirs.query(asked)))
        assert [one.node_id for one in mine.nodes] == mine.ids
        assert answers(asyncio.run(store.aquery(asked))) == answers(mine)
    if mode == "mmr":
        expected = theirs.query(asked, mmr_threshold=0.1)
        assert_same(answers(store.query(asked, mmr_threshold=0.1)), answers(expected))


def test_filters_see_only_the_nodes_that_are_asked_for(store, theirs):
    """A filter may fail on another node's metadata."""
    store.add([node(0, tags=7)])
    asked = query(similarity_top_k=9, filters=filters(("tags", "contains", "t1")), node_ids=IDS[15:30])
    assert_same(answers(store.query(asked)), answers(theirs.query(asked)))
    with pytest.raises(TypeError):
        store.query(query(similarity_top_k=9, filters=asked.filters))


def test_filters_within_filters(store):
    inner = filters(("part", "==", 1), ("part", "==", 2), condition="or")
    outer = filters(inner, ("number", "<", 10))
    assert [one.metadata["number"] for one in store.get_nodes(filters=outer)] == [1, 2, 4, 5, 7, 8]
    outside = filters(outer, ("number", ">=", 12), condition="not")
    assert [one.metadata["number"] for one in store.get_nodes(filters=outside)] == [0, 3, 6, 9, 10, 11]


def test_scores_are_those_of_knn(store):
    expected = fastvec.knn(QUERY, ROWS[:60], 9).lists()
    result = store.query(query(similarity_top_k=9))
    assert list(zip(map(IDS.index, result.ids), result.similarities, strict=True)) == expected


def test_documents_are_restricted(store):
    result = store.query(query(similarity_top_k=100, doc_ids=["document 1", "document 4"]))
    assert {IDS.index(one) // 10 for one in result.ids} == {1, 4}
    assert len(result.ids) == 20


def test_deletion(store):
    store.delete("document 2")
    assert len(store.get_nodes()) == 50
    store.delete_nodes(["id 1", "unknown"])
    store.delete_nodes(filters=filters(("part", "==", 0)))
    store.delete_nodes(["id 2", "id 5"], filters(("number", ">", 3)))
    left = [one.metadata["number"] for one in store.get_nodes()]
    assert left == [n for n in range(60) if n // 10 != 2 and n % 3 and n not in (1, 5)]
    assert set(store.query(query(similarity_top_k=100)).ids) == {IDS[number] for number in left}
    with pytest.raises(KeyError, match="id 5"):
        store.get("id 5")
    store.clear()
    assert store.query(query(similarity_top_k=3)).ids == []
    assert store.add([TextNode(text="of another width", id_="a", embedding=[1.0])]) == ["a"]


def test_a_node_replaces_the_one_with_its_id(store):
    new = TextNode(text="new", id_="id 3", embedding=QUERY.tolist())
    store.add([new])
    result = store.query(query(similarity_top_k=1))
    assert (result.ids, result.nodes[0].text, len(store.get_nodes())) == (["id 3"], "new", 60)
    np.testing.assert_array_equal(store.get("id 3"), QUERY)


def test_what_callers_do_to_nodes_changes_no_store(store):
    given = node(70)
    store.add([given])
    given.metadata["part"] = given.text = "other"
    found = store.get_nodes([IDS[70]])[0]
    found.metadata["tags"].append("new")
    found.set_content("new")
    again = store.get_nodes([IDS[70]])[0]
    assert (again.text, again.metadata, again.embedding) == ("text 70", node(70).metadata, None)


def test_asynchronous_forms():
    async def used():
        store = SimpleVectorStore()
        await store.async_add([node(number) for number in range(5)])
        await store.adelete_nodes(["id 1"])
        nodes = await store.aget_nodes()
        await store.adelete("document 0")
        return [one.node_id for one in nodes], store.get_nodes()

    assert asyncio.run(used()) == (["id 0", "id 2", "id 3", "id 4"], [])


def test_what_is_not_there_is_said(store):
    with pytest.raises(ValueError, match="the mode of the query is 'svm'; it must be 'default' or 'mmr'"):
        store.query(query(mode=VectorStoreQueryMode.SVM))
    with pytest.raises(ValueError, match="the query has no query_embedding"):
        store.query(VectorStoreQuery(query_str="text"))


def test_a_persisted_store_opens_as_it_was(tmp_path, store):
    store.add([ImageNode(id_="image", image_url="http://localhost/a.png", embedding=QUERY.tolist())])
    store.delete_nodes(["id 0"])
    place = str(tmp_path / "store" / "default__vector_store.json")
    store.persist(place)
    opened = SimpleVectorStore.from_persist_dir(str(tmp_path / "store"))
    assert opened.get_nodes() == store.get_nodes()
    assert type(opened.get_nodes(["image"])[0]) is ImageNode
    asked = query(similarity_top_k=100, filters=filters(("ref_doc_id", "!=", "document 1")))
    assert opened.query(asked) == store.query(asked)
    opened.add([node(70)])
    opened.persist(place)
    assert SimpleVectorStore.from_persist_path(place).get_nodes() == opened.get_nodes()
    fastvec.files.verify(place)
    with pytest.raises(FileNotFoundError):
        SimpleVectorStore.from_persist_dir(str(tmp_path))
    fastvec.files.write(tmp_path / "words", ["a", "b"], [[1, 2], [3, 4]], format="index")
    with pytest.raises(FileError, match="not a document of this kind of store"):
        SimpleVectorStore.from_persist_path(str(tmp_path / "words"))


def test_what_cannot_be_written(tmp_path, store):
    import fsspec

    store.add([node(70, when=datetime.date(2020, 1, 1))])
    with pytest.raises(TypeError, match="document 'id 70' cannot be saved"):
        store.persist(str(tmp_path / "store"))
    with pytest.raises(ValueError, match="saved to a local folder: leave fs out"):
        store.persist(str(tmp_path / "store"), fs=fsspec.filesystem("memory"))
    assert not (tmp_path / "store").exists()


class Embedding(MockEmbedding):
    """Vectors derived from each text."""

    def _get_text_embedding(self, text):
        return ROWS[sum(map(ord, text)) % 200].tolist()

    _get_query_embedding = _get_text_embedding


@pytest.mark.parametrize("kind", [host.SimpleVectorStore, SimpleVectorStore])
def test_a_query_engine_works_with_only_the_import_changed(kind, tmp_path):
    documents = [Document(text=f"This is text {number}.", id_=str(number)) for number in range(20)]
    context = StorageContext.from_defaults(vector_store=kind())
    index = VectorStoreIndex.from_documents(
        documents, storage_context=context, embed_model=Embedding(embed_dim=12)
    )
    context.persist(str(tmp_path))
    opened = StorageContext.from_defaults(
        vector_store=kind.from_persist_dir(str(tmp_path)), persist_dir=str(tmp_path)
    )
    for asked in (index, load_index_from_storage(opened, embed_model=Embedding(embed_dim=12))):
        found = asked.as_retriever(similarity_top_k=3).retrieve("This is text 7.")
        assert (found[0].text, len(found)) == ("This is text 7.", 3)
        engine = asked.as_query_engine(llm=MockLLM(), similarity_top_k=1)
        assert "This is text 7." in str(engine.query("This is text 7."))
    index.delete_ref_doc("7")
    assert index.as_retriever(similarity_top_k=1).retrieve("This is text 7.")[0].text != "This is text 7."


def test_a_missing_host_is_named(run_python):
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "from fastvec.integrations import llama_index as drop_in\n"
        "print(drop_in.get_top_k_embeddings([1, 0], [[1, 0], [0, 1]], similarity_top_k=1))\n"
        "try: drop_in.SimpleVectorStore\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    result = run_python("-c", code)
    assert result.stdout.startswith("([1.0], [0])\n"), result.stderr
    assert (
        "needs llama_index.core, which is not installed: pip install 'fastvec[llama-index]'" in result.stdout
    )
