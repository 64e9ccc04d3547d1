"""Steps of a pipeline: embeddings of texts, and embeddings of fewer columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

import fastvec

from ._distances import unit

__all__ = ["OpenAIVectorizer", "TruncateDims"]


class TruncateDims(TransformerMixin, BaseEstimator):
    """The first columns of Matryoshka embeddings, scaled to unit length again.

    Args:
        dims: columns to keep; None: all.
        renormalize: scale rows to unit length; zero rows stay zero.

    Example:
        >>> from fastvec.integrations.sklearn import TruncateDims
        >>> TruncateDims(2).fit_transform([[3.0, 4.0, 12.0]])
        array([[0.6, 0.8]])
    """

    def __init__(self, dims: int | None = None, renormalize: bool = True) -> None:
        self.dims = dims
        self.renormalize = renormalize

    def fit(self, X: Any, y: Any = None) -> TruncateDims:
        """Check ``dims`` against the number of columns.

        Args:
            X: (n, width) embeddings.
            y: not used.

        Raises:
            ValueError: if ``dims`` is below 1 or above the number of columns.
            TypeError: if ``dims`` is not an integer.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        if self.dims is not None:
            if isinstance(self.dims, bool) or not isinstance(self.dims, int | np.integer):
                raise TypeError(f"dims is a {type(self.dims).__name__}; it must be an integer or None")
            if not 1 <= self.dims <= X.shape[1]:
                raise ValueError(f"dims is {self.dims}; it must be from 1 to n_features = {X.shape[1]}")
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """The first ``dims`` columns.

        Args:
            X: (n, width) embeddings.

        Returns:
            (n, dims), float32 for float32, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if X.dtype == np.float32:
            return fastvec.truncate(X, self._kept(), renormalize=bool(self.renormalize))
        kept: npt.NDArray[Any] = X[:, : self._kept()]
        return unit(kept) if self.renormalize else kept.copy()

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """The names of the columns kept.

        Args:
            input_features: names of all columns; None: those seen by ``fit``.
        """
        check_is_fitted(self)
        names: npt.NDArray[Any] = _check_feature_names_in(self, input_features)
        return names[: self._kept()]

    def _kept(self) -> int:
        return int(self.n_features_in_ if self.dims is None else self.dims)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class OpenAIVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Texts to rows of a matrix, by OpenAI's embeddings API or any compatible server.

    The key is read from ``OPENAI_API_KEY``, so that no representation or pickle of the pipeline shows it.
    Nothing is learned: ``fit`` sends no request. With a ``cache``, a text is sent once, however often a
    search over parameters transforms it.

    Args:
        model: the name of a model, for a ``fastvec.openai.OpenAIEmbedder``; or an embedder, any object whose
            ``embed`` turns texts into a matrix, which copies of the estimator share.
        dims: columns of the rows. A model that is named is asked for as many; rows of an embedder are
            truncated and scaled to unit length here. None: all.
        base_url: the server's address; None: ``OPENAI_BASE_URL``, else OpenAI.
        cache: path of a file that keeps every row received; see ``OpenAIEmbedder``.

    Example:
        >>> import numpy as np
        >>> from fastvec.integrations.sklearn import OpenAIVectorizer
        >>> class Lengths:
        ...     def embed(self, texts):
        ...         return np.array([[len(text), 1.0] for text in texts], np.float32)
        >>> OpenAIVectorizer(Lengths()).fit_transform(["king", "women"])
        array([[4., 1.],
               [5., 1.]], dtype=float32)
    """

    def __init__(
        self,
        model: Any = "text-embedding-3-small",
        *,
        dims: int | None = None,
        base_url: str | None = None,
        cache: Any = None,
    ) -> None:
        self.model = model
        self.dims = dims
        self.base_url = base_url
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> OpenAIVectorizer:
        """Make the embedder; nothing is sent.

        Args:
            X: texts, which are not looked at.
            y: not used.

        Raises:
            ImportError: if the ``openai`` package is needed and not installed.
            ValueError: if an embedder is given together with ``base_url`` or ``cache``.
            fastvec.openai.EmbeddingError: if there is no key.
        """
        _refuse_one_text(X)
        if isinstance(self.model, str):
            from fastvec.openai import OpenAIEmbedder

            self.embedder_: Any = OpenAIEmbedder(
                self.model, dims=self.dims, base_url=self.base_url, cache=self.cache
            )
        elif (self.base_url, self.cache) != (None, None):
            raise ValueError("model is an embedder; base_url and cache belong to it, so leave them out here")
        elif not callable(getattr(self.model, "embed", None)):
            raise TypeError(
                f"model is a {type(self.model).__name__}; it must be a model's name, or have a method embed"
            )
        else:
            self.embedder_ = self.model
        self._n_features_out = self._width_so_far()
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Embed texts.

        Args:
            X: n texts: a list, an array, a column of a data frame, or any ordered iterable.

        Returns:
            float32 (n, dims).

        Raises:
            TypeError, ValueError, fastvec.openai.EmbeddingError: as from ``OpenAIEmbedder.embed``.
        """
        check_is_fitted(self)
        _refuse_one_text(X)
        rows: npt.NDArray[np.float32] = np.asarray(self.embedder_.embed(_texts(X)), np.float32)
        if self.dims is not None and not isinstance(self.model, str):
            rows = fastvec.truncate(rows, self.dims)
        self._n_features_out = rows.shape[1]
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Names of the columns: "openaivectorizer0" and so on.

        Args:
            input_features: not used.

        Raises:
            ValueError: if the width is not known before the first text is embedded.
        """
        check_is_fitted(self)
        if self._n_features_out is None:
            raise ValueError(
                f"the width of {self.model!r} is not known before it has embedded a text; transform one, "
                "or set dims"
            )
        names: npt.NDArray[Any] = super().get_feature_names_out(input_features)
        return names

    def _width_so_far(self) -> int | None:
        if self.dims is not None:
            return self.dims
        width = getattr(self.embedder_, "provenance", {}).get("dims")
        return width and int(width)

    def __sklearn_clone__(self) -> OpenAIVectorizer:
        """A copy that is not fitted. It shares the embedder, whose connections cannot be copied."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _refuse_one_text(X: Any) -> None:
    if isinstance(X, str):
        raise ValueError("X is a single text; pass a list of texts")


def _texts(X: Any) -> Any:
    """Texts as Python's strings: entries of NumPy's arrays have a type of their own."""
    return [str(text) if isinstance(text, str) else text for text in X]
