"""tubelet: pretrain video encoders by hiding what the caption names.

Names are imported when they are first used (PEP 562), so that `import tubelet` costs nothing.
"""

import importlib

WHERE = {
    "Batch": "tubelet.types",
    "Budget": "tubelet.types",
    "Clip": "tubelet.types",
    "Mask": "tubelet.types",
    "Run": "tubelet.runs.run",
    "TubeletError": "tubelet.errors",
    "align": "tubelet.prepare",
    "embed": "tubelet.inference.embed",
    "finetune": "tubelet.runs.finetune",
    "load_encoder": "tubelet.inference.embed",
    "pretrain": "tubelet.runs.pretrain",
    "saliency": "tubelet.prepare",
}

__all__ = [
    "Batch",
    "Budget",
    "Clip",
    "Mask",
    "Run",
    "TubeletError",
    "align",
    "embed",
    "finetune",
    "load_encoder",
    "pretrain",
    "saliency",
]


def __getattr__(name: str) -> object:
    if name not in WHERE:
        raise AttributeError(f"module 'tubelet' has no attribute {name!r}")
    return getattr(importlib.import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
