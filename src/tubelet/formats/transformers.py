"""A folder that `transformers.AutoModel.from_pretrained` loads without code of ours: VideoMAE, where it is one."""

import json
from pathlib import Path
from typing import Any

import torch

from tubelet.aligners.pretrained import quiet_transformers
from tubelet.errors import WeightsError
from tubelet.formats.graphs import CLOSE, needed, random_clips
from tubelet.models.classifier import ScoreHead
from tubelet.models.decoder import Decoder, Reconstructor
from tubelet.models.encoder import Encoder
from tubelet.models.patches import MEAN, STD
from tubelet.weights.layouts import DECODER, TRANSFORMERS, to_layout


def write_transformers(
    encoder: Encoder,
    folder: Path,
    *,
    decoder: Reconstructor | None = None,
    classifier: ScoreHead | None = None,
    classes: tuple[str, ...] = (),
) -> float:
    """Writes config.json, model.safetensors and preprocessor_config.json; returns how far what it loads is from ours.

    A `VideoMAEModel`; with a decoder a `VideoMAEForPreTraining`; with a classifier a
    `VideoMAEForVideoClassification`. `WeightsError` where transformers has no such model.
    """
    transformers = needed("transformers")
    refuse_others(encoder, decoder, classifier)
    ours = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    kind = "VideoMAEModel"
    if classifier is not None:
        kind = "VideoMAEForVideoClassification"
        ours |= {f"head.{name}": value for name, value in classifier.state_dict().items()}
    elif decoder is not None:
        kind = "VideoMAEForPreTraining"
        ours |= {f"{DECODER}.{name}": value for name, value in decoder.state_dict().items()}
    config = transformers.VideoMAEConfig(**settings(encoder, None if decoder is None else decoder.config, classes))
    with quiet_transformers(transformers):
        model = getattr(transformers, kind)(config)
        state = to_layout({name: value.detach().cpu() for name, value in ours.items()}, TRANSFORMERS, encoder.clip)
        if kind == "VideoMAEModel":
            state = {name.removeprefix("videomae."): value for name, value in state.items()}
        model.load_state_dict(state)
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(processor(encoder), indent=2) + "\n")
        loaded = [transformers.AutoModel.from_pretrained(folder).eval()]
        if classifier is not None:
            loaded.append(transformers.AutoModelForVideoClassification.from_pretrained(folder).eval())
    clips = random_clips(encoder, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        tokens = encoder.cpu().eval().encode(clips)
        expected = [tokens] if classifier is None else [tokens, classifier.cpu().eval()(tokens)]
        theirs = [model(((clips / 255 - mean) / std).transpose(1, 2))[0] for model in loaded]
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(theirs, expected, strict=True))
    if not apart <= CLOSE:
        raise WeightsError(f"transformers computes other values from {folder} (relative difference {apart:.1e})")
    return apart


def refuse_others(encoder: Encoder, decoder: Reconstructor | None, classifier: ScoreHead | None) -> None:
    """What transformers' VideoMAE cannot be."""
    if encoder.clip.subtract_background:
        raise WeightsError(
            "transformers' VideoMAE sees clips with their background (clip.subtract_background=True takes it away); "
            "export this model with --to onnx or torch-export"
        )
    parts: list[tuple[str, Any]] = [("encoder", encoder.config)]
    parts += [("decoder", decoder.config)] if decoder is not None else []
    for name, config in parts:
        if config.positions_of not in (None, encoder.clip.grid):
            raise WeightsError(
                f"the {name}'s positions are interpolated from another clip size, and transformers makes its table "
                "anew; export this model with --to onnx or torch-export"
            )
    if decoder is not None and decoder.config.positions != "flat":
        raise WeightsError(
            f"transformers' decoder has the flat position table alone, this one {decoder.config.positions}; "
            "export the encoder without --decoder"
        )
    if classifier is not None and (classifier.norm is None) != encoder.config.final_norm:
        raise WeightsError("a classifier of transformers has one norm, before or after the mean of the tokens")


def settings(encoder: Encoder, decoder: Decoder | None, classes: tuple[str, ...]) -> dict[str, Any]:
    """config.json in the words of transformers."""
    config, clip = encoder.config, encoder.clip
    said: dict[str, Any] = {
        "image_size": clip.size,
        "patch_size": clip.tubelet_size,
        "num_frames": clip.frames,
        "tubelet_size": clip.tubelet_frames,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": int(config.width * config.mlp_ratio),
        "layer_norm_eps": config.layer_norm_eps,
        "use_mean_pooling": not config.final_norm,
    }
    if decoder is not None:
        said |= {
            "decoder_hidden_size": decoder.width,
            "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder.heads,
            "decoder_intermediate_size": int(decoder.width * decoder.mlp_ratio),
        }
    if classes:
        said["id2label"] = dict(enumerate(classes))
        said["label2id"] = {name: number for number, name in enumerate(classes)}
    return said


def processor(encoder: Encoder) -> dict[str, Any]:
    """preprocessor_config.json: the middle square, ImageNet's mean and deviation."""
    size = encoder.clip.size
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
