"""An encoder of texts that needs no server: ``pip install 'fastvec[quickstart]'``.

``OfflineEmbedder`` has the methods of ``fastvec.openai.OpenAIEmbedder``.
"""

from __future__ import annotations

from ._embedders import OfflineEmbedder

__all__ = ["OfflineEmbedder"]
