"""Small CLIPs and SigLIPs of the real classes, with random weights, and a tokenizer of seven words."""

import torch
import transformers

LAYERS = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3}
VISION = {**LAYERS, "image_size": 16, "patch_size": 4}
WORDS = ["<pad>", "<unk>", "a", "dog", "runs", "cat", "red"]


def tokenizer() -> "transformers.PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")


def random_model(kind: str, depth: int, seed: int = 0) -> "transformers.PreTrainedModel":
    """Random weights of a size at which tokens differ, biases and norms included."""
    text = {**LAYERS, "num_hidden_layers": 1, "vocab_size": len(WORDS), "max_position_embeddings": 8}
    vision = {**VISION, "num_hidden_layers": depth}
    if kind == "clip":
        config = transformers.CLIPConfig(
            text_config={**text, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0},
            vision_config=vision,
            projection_dim=20,
        )
        model = transformers.CLIPModel(config)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers) * 0.2)
            if parameter.ndim == 1:
                parameter += 0.3
    return model.eval()
