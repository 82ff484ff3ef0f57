"""Checkpoints of transformers that put pictures into words, from a local folder or a hub name. See `Describer.load`.

Three ways of asking are known: a processor of pictures and text (BLIP, BLIP-2, InstructBLIP, GIT), a chat (LLaVA,
Idefics, SmolVLM, Qwen-VL, ...), and a picture encoder with a text decoder (ViT-GPT2).
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tubelet.aligners.clip import digest_of_model
from tubelet.aligners.pretrained import quiet_transformers, reachable
from tubelet.captioning.base import Looking
from tubelet.errors import WeightsError

Picture = UInt8[np.ndarray, "h w 3"]


class Describer:
    """A model at work: units of pictures in, one text a unit out."""

    def __init__(self, name: str, how: Looking, model: Any, processor: Any, tokenizer: Any) -> None:
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        half = how.precision == "bfloat16" or (how.precision == "auto" and cuda and torch.cuda.is_bf16_supported())
        self.dtype = torch.bfloat16 if half else torch.float32
        self.precision = "bfloat16" if half else "float32"
        self.kind = str(model.config.model_type)
        self.identity = f"{self.kind}:{digest_of_model(model)}"
        self.title = f"{Path(name).name} ({self.identity})"
        self.how, self.processor, self.tokenizer = how, processor, tokenizer
        self.model = model.eval().requires_grad_(False).to(self.device, self.dtype)
        self.chat = bool(getattr(processor, "chat_template", None))
        self.encoded = self.kind == "vision-encoder-decoder"
        if not model.config.is_encoder_decoder:
            tokenizer.padding_side = "left"  # generation continues where the prompt ends
        self.refuse()

    @classmethod
    def load(cls, how: Looking) -> "Describer":
        """`WeightsError` where transformers or the weights are absent, incomplete, or of a model that cannot do it."""
        try:
            import transformers
        except ImportError as error:
            raise WeightsError(
                f"a captioner needs transformers ({error}); install it with `pip install 'tubelet[vl]'`"
            ) from None
        name = str(Path(how.model).expanduser()) if Path(how.model).expanduser().is_dir() else how.model
        local = os.path.isdir(name)
        offline = local or not reachable()
        try:
            with quiet_transformers(transformers):
                model, report = transformers.AutoModelForImageTextToText.from_pretrained(
                    name, local_files_only=offline, trust_remote_code=False, output_loading_info=True
                )
                processor = transformers.AutoProcessor.from_pretrained(
                    name, local_files_only=offline, trust_remote_code=False
                )
                tokenizer = getattr(processor, "tokenizer", None)
                if tokenizer is None:  # a picture encoder with a text decoder has two parts and no processor
                    tokenizer = transformers.AutoTokenizer.from_pretrained(
                        name, local_files_only=offline, trust_remote_code=False
                    )
                    processor = transformers.AutoImageProcessor.from_pretrained(
                        name, local_files_only=offline, trust_remote_code=False
                    )
        except Exception as error:  # transformers, the hub's client and the network raise of many kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            if local:
                raise WeightsError(f"{name} holds no captioning model that transformers can load: {reason}") from None
            raise WeightsError(
                f"the weights of {name!r} are neither in the local cache nor to be fetched ({reason}); "
                "offline, give a local folder that holds them: captioner.model=PATH"
            ) from None
        # poolers and tables of places are made anew where a checkpoint lacks them, and nothing that is said needs them
        lacking = [
            str(key) for key in report["missing_keys"] if not re.search("pooler|position_ids|inv_freq", str(key))
        ]
        if lacking:
            raise WeightsError(f"{name} is no complete {type(model).__name__}; it lacks {', '.join(lacking[:4])}")
        return cls(name, how, model, processor, tokenizer)

    def refuse(self) -> None:
        """Raises for what this model cannot do."""
        if self.how.together and not (self.chat or self.temporal):
            raise WeightsError(
                f"{self.how.model} is a {self.kind!r} model, which looks at one picture at a time; "
                "use captioner=ImageToText"
            )
        if self.how.together and self.temporal and self.how.frames > self.temporal:
            raise WeightsError(f"{self.how.model} looks at {self.temporal} frames: captioner.frames={self.temporal}")
        if self.encoded and self.how.prompt:
            raise WeightsError(f"{self.how.model} is a {self.kind!r} model, which takes no captioner.prompt")

    @property
    def temporal(self) -> int:
        """Frames that a GIT for video tells apart, 0 for other models."""
        return int(getattr(self.model.config, "num_image_with_embedding", None) or 0) if self.kind == "git" else 0

    @torch.inference_mode()
    def describe(self, units: Sequence[Sequence[Picture]], key: int) -> list[str]:
        """One text for the pictures of each unit; where words are drawn, the draw follows from the key."""
        texts: dict[int, str] = {}
        for count in sorted({len(unit) for unit in units}):
            indices = [index for index, unit in enumerate(units) if len(unit) == count]
            asked = self.ask([units[index] for index in indices])
            with seeded(key if self.how.temperature else None):
                said = self.model.generate(**asked, **self.decoding())
            found = self.read(said, asked.get("input_ids"))
            texts |= dict(zip(indices, found, strict=True))
        return [texts[index] for index in range(len(units))]

    def ask(self, units: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """What goes into the model."""
        from PIL import Image

        pictures = [Image.fromarray(np.ascontiguousarray(picture)) for unit in units for picture in unit]
        if self.encoded:
            asked = self.processor(images=pictures, return_tensors="pt")
        elif self.chat:
            parts: list[dict[str, str]] = [{"type": "image"}] * len(units[0])
            content = [*parts, {"type": "text", "text": self.how.prompt or "Describe this in one sentence."}]
            words = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            asked = self.processor(images=pictures, text=[words] * len(units), return_tensors="pt", padding=True)
        elif self.kind == "git":
            asked = dict(self.processor(images=pictures, return_tensors="pt"))
            if self.how.together:
                asked["pixel_values"] = asked["pixel_values"].unflatten(0, (len(units), -1))
            if self.how.prompt:  # a sentence that is not at its end: no separator follows
                ids = self.tokenizer(self.how.prompt, add_special_tokens=False)["input_ids"]
                asked["input_ids"] = torch.tensor([[self.tokenizer.cls_token_id, *ids]] * len(units))
        else:
            text = {"text": [self.how.prompt] * len(units)} if self.how.prompt else {}
            asked = self.processor(images=pictures, **text, return_tensors="pt", padding=True)
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            for name, value in asked.items()
        }

    def decoding(self) -> dict[str, Any]:
        how = self.how
        draw = {"do_sample": True, "temperature": how.temperature} if how.temperature else {"do_sample": False}
        return {"max_new_tokens": how.longest, "num_beams": how.beams, "no_repeat_ngram_size": how.repeat, **draw}

    def read(self, said: Int64[Tensor, "b n"], asked: Tensor | None) -> list[str]:
        """The texts, without the prompt that some models say again."""
        prompt = " ".join(self.how.prompt.split())
        if asked is not None and said.shape[1] >= asked.shape[1] and bool((said[:, : asked.shape[1]] == asked).all()):
            said = said[:, asked.shape[1] :]
        texts = [" ".join(text.split()) for text in self.tokenizer.batch_decode(said, skip_special_tokens=True)]
        if not prompt:
            return texts
        return [
            text[len(prompt) :].lstrip() if text.casefold().startswith(prompt.casefold()) else text for text in texts
        ]


@contextmanager
def seeded(key: int | None) -> Iterator[None]:
    """Torch's own randomness, from this key alone; generation draws from nothing else."""
    if key is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(key)
        yield
