"""Small captioning models of the real classes with random weights, saved as `from_pretrained` expects them."""

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.pytorch_utils import Conv1D

TEXT = """<pad> <unk> <s> </s> <image> a the red blue dog cat runs jumps over photo of bar slope walks in USER:
ASSISTANT: Describe this one sentence."""
WORDS = TEXT.split()
PAD, UNKNOWN, BEGIN, END, IMAGE = range(5)
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SPECIAL = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
SIDE = 32
CHAT = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
    "{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def tokenizer() -> Any:
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        cls_token="<s>", sep_token="</s>", additional_special_tokens=["<image>"],
    )  # fmt: skip


def save(folder: Path, model: Any, *parts: Any) -> Path:
    """Weights large enough that pictures and words matter to what is said."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv2d | Conv1D):
            torch.nn.init.normal_(module.weight, std=0.3)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


def blip2(folder: Path) -> Path:
    config = hf.Blip2Config(
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 8},
        qformer_config={**SIZES, "encoder_hidden_size": 32, "vocab_size": len(WORDS)},
        text_config={
            "model_type": "opt", "vocab_size": len(WORDS), "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "word_embed_proj_dim": 32, "max_position_embeddings": 64, **SPECIAL,
        },
        num_query_tokens=4,
        image_token_index=IMAGE,
    )  # fmt: skip
    pictures = hf.BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = hf.Blip2Processor(pictures, tokenizer(), num_query_tokens=4)
    return save(folder, hf.Blip2ForConditionalGeneration(config), processor)


def blip(folder: Path) -> Path:
    config = hf.BlipConfig(
        text_config={
            **SIZES, "vocab_size": len(WORDS), "encoder_hidden_size": 32, "max_position_embeddings": 64,
            "sep_token_id": END, "projection_dim": 32, **SPECIAL,
        },
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 8, "projection_dim": 32},
        projection_dim=32,
    )  # fmt: skip
    pictures = hf.BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return save(folder, hf.BlipForConditionalGeneration(config), hf.BlipProcessor(pictures, tokenizer()))


def git(folder: Path, frames: int = 3) -> Path:
    config = hf.GitConfig(
        vision_config={**SIZES, "image_size": SIDE, "patch_size": 8}, vocab_size=len(WORDS),
        max_position_embeddings=128, num_image_with_embedding=frames, **SIZES, **SPECIAL,
    )  # fmt: skip
    pictures = hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)
    return save(folder, hf.GitForCausalLM(config), hf.GitProcessor(pictures, tokenizer()))


def pair(folder: Path) -> Path:
    """A ViT with a GPT-2: two parts and no processor."""
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(**SIZES, image_size=SIDE, patch_size=8),
        hf.GPT2Config(
            n_embd=32, n_layer=2, n_head=2, vocab_size=len(WORDS), n_positions=64, is_decoder=True,
            add_cross_attention=True, **SPECIAL,
        ),
    )  # fmt: skip
    config.decoder_start_token_id, config.pad_token_id = BEGIN, PAD
    model = hf.VisionEncoderDecoderModel(config)
    for name, value in {"decoder_start_token_id": BEGIN, **SPECIAL}.items():
        setattr(model.generation_config, name, value)
    return save(folder, model, tokenizer(), hf.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}))


def llava(folder: Path) -> Path:
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIZES, image_size=SIDE, patch_size=8),
        text_config=hf.LlamaConfig(**SIZES, vocab_size=len(WORDS), max_position_embeddings=256, **SPECIAL),
        image_token_index=IMAGE, image_seq_length=16, vision_feature_layer=-1,
    )  # fmt: skip
    pictures = hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)
    processor = hf.LlavaProcessor(
        pictures, tokenizer(), patch_size=8, vision_feature_select_strategy="default", chat_template=CHAT,
        num_additional_image_tokens=1,
    )  # fmt: skip
    return save(folder, hf.LlavaForConditionalGeneration(config), processor)
