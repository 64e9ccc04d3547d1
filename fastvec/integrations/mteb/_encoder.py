"""An encoder of mteb over an embedder of fastvec; this module needs mteb."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import fastvec

_host = importlib.import_module("mteb.models.abs_encoder")
_meta = importlib.import_module("mteb.models.model_meta")


class Encoder(_host.AbsEncoder):  # type: ignore[name-defined]
    """A model that mteb evaluates: texts are embedded by an embedder of fastvec.

    An ``OpenAIEmbedder`` plans its requests by itself, whatever ``batch_size`` mteb asks for, sends identical
    texts once, and keeps rows between tasks and runs in its ``cache``. A blank text has a row of zeros, as in
    mteb's own models.

    Args:
        embedder: ``fastvec.openai.OpenAIEmbedder``, or any object whose ``embed(texts)`` returns float32
            (n, dims).
        dims: the width to evaluate: rows are truncated to it and renormalized here. None: the embedder's.
        name: "organization/model", under which results are kept; None: made of the embedder's ``provenance``.
        prompts: what to put before a text, by task name, task type or "query" and "document", and pairs such
            as "STS12-query", chosen as mteb chooses; None: the embedder's ``prefixes``.
        instruction: a template with ``{instruction}``, or a function of instruction and prompt type: it is
            put before texts, made of the instruction that mteb has for the task (or ``prompts``); documents
            of retrieval get none. None: only ``prompts``.
        metric: "cosine" or "dot".
        max_characters: longer texts are cut; None: the embedder refuses texts that are too long.
        meta: further fields of ``mteb.ModelMeta``.

    Raises:
        TypeError, ValueError: ``dims``, ``metric`` or ``max_characters`` is out of range, or ``instruction``
            is a template without ``{instruction}``.

    ``mteb_model_meta.experiment_kwargs`` holds ``dims``, prompts and instruction, so that mteb keeps the
    results of each apart.
    """

    def __init__(
        self,
        embedder: Any,
        *,
        dims: int | None = None,
        name: str | None = None,
        prompts: Mapping[str, str] | None = None,
        instruction: str | Callable[[str, Any], str] | None = None,
        metric: Literal["cosine", "dot"] = "cosine",
        max_characters: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if metric not in ("cosine", "dot"):
            raise ValueError(f"metric must be 'cosine' or 'dot', not {metric!r}")
        for what, value in (("dims", dims), ("max_characters", max_characters)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{what} must be an integer or None, not {value!r}")
            if value is not None and value < 1:
                raise ValueError(f"{what} must be at least 1, not {value}")
        if isinstance(instruction, str) and "{instruction}" not in instruction:
            raise ValueError(f"instruction must be a template with {{instruction}}, not {instruction!r}")
        self.embedder = embedder
        self.dims = dims
        self.max_characters = max_characters
        self.instruction_template = instruction
        given = getattr(embedder, "prefixes", {}) if prompts is None else prompts
        self.model_prompts = dict(given) or None
        self.prompts_dict = dict(prompts or {}) or None
        made_by = dict(getattr(embedder, "provenance", {}))
        facts = {
            "dims": dims or (int(made_by["dims"]) if "dims" in made_by else None),
            "prompts": self.model_prompts,
            "instruction": getattr(instruction, "__name__", instruction),
        }
        self.mteb_model_meta = _meta.ModelMeta.create_empty(
            {
                "name": name or _name(made_by, embedder),
                "embed_dim": facts["dims"],
                "similarity_fn_name": _meta.ScoringFunction(metric),
                "use_instructions": bool(instruction or self.model_prompts),
                "framework": ["API"] if "server" in made_by else [],
                "experiment_kwargs": {key: fact for key, fact in facts.items() if fact is not None},
                **(meta or {}),
            }
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> npt.NDArray[np.float32]:
        """One row for each text, with the prompt or instruction of its task.

        Args:
            inputs: batches of mteb, mappings with a list of texts under "text".
            task_metadata: the task, whose name, type and prompt choose what is put before the texts.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: whether the texts are queries, documents or neither.
            kwargs: ``show_progress_bar`` reports progress on stderr; the others are not used.

        Returns:
            float32 (n, dims).

        Raises:
            ValueError: ``dims`` is larger than the rows' width, or as the embedder.
            EmbeddingError: as the embedder.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        prompt = self._prompt(task_metadata, prompt_type)
        full = [i for i, text in enumerate(texts) if text.strip()]
        put = [prompt + texts[i][: self.max_characters] for i in full]
        reports = {"progress": True} if kwargs.get("show_progress_bar") else {}
        rows: npt.NDArray[np.float32] = self.embedder.embed(put, **reports)
        if self.dims is not None:
            rows = fastvec.truncate(rows, self.dims)
        if len(full) == len(texts):
            return rows
        every = np.zeros((len(texts), rows.shape[1]), np.float32)
        every[full] = rows
        return every

    def _prompt(self, task_metadata: Any, prompt_type: Any) -> str:
        if self.instruction_template is None:
            return _host.get_prompt(self.model_prompts, task_metadata, prompt_type) or ""
        if getattr(prompt_type, "value", prompt_type) == "document":
            return ""
        instruction: str = self.get_task_instruction(task_metadata, prompt_type)
        return instruction


def _name(made_by: Mapping[str, str], embedder: Any) -> str:
    """A name as mteb wants it: organization/model."""
    model = made_by.get("model") or type(embedder).__name__
    if "/" in model:
        return model
    return f"{'openai' if 'api.openai.com' in made_by.get('server', '') else 'fastvec'}/{model}"
