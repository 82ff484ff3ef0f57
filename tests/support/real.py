"""What `make test-weights` checks of real weights: CLIP, BLIP-2 and VideoMAE, each against transformers itself."""

from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

from tubelet.aligners.base import open_aligner
from tubelet.corpus.table import Corpus
from tubelet.evaluations import Context, Knn
from tubelet.runs.imported import write_imported
from tubelet.weights import read_weights

TEXTS = ["a red square", "a blue disc", "a dog on a beach"]


def frame_of(size: int) -> np.ndarray:
    """A picture with a red square in it."""
    frame = np.full((size, size, 3), 110, np.uint8)
    frame[size // 4 : size // 2, size // 4 : size // 2] = (220, 30, 30)
    return frame


@torch.no_grad()
def check_clip(folder: Path) -> str:
    """Logits of an image and texts by our adapter and by CLIPModel, at the model's own size."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    aligner = open_aligner(folder, "crop")
    frame = frame_of(aligner.native)
    pixels = aligner.preprocess(frame[None], aligner.native, aligner.native)
    image = aligner.encode(pixels.to(aligner.device)).cpu()
    ours = model.logit_scale.exp() * torch.nn.functional.cosine_similarity(image, aligner.texts(TEXTS))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (aligner.mean, aligner.std))
    plain = (torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 - mean) / std
    words = tokenizer(TEXTS, padding=True, return_tensors="pt")
    theirs = model(pixel_values=plain, **words).logits_per_image[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    return "CLIP logits: " + ", ".join(
        f"{text!r} {value:.3f}" for text, value in zip(TEXTS, ours.tolist(), strict=True)
    )


@torch.no_grad()
def check_blip2(folder: Path) -> str:
    """A caption by Blip2ForConditionalGeneration, the same twice. tubelet takes captions as a table from anywhere."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(frame_of(224)), return_tensors="pt")
    one, other = (model.generate(**inputs, max_new_tokens=12, do_sample=False) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape[1] > 0
    return f"BLIP-2 caption: {processor.batch_decode(one, skip_special_tokens=True)[0].strip()!r}"


@torch.no_grad()
def check_videomae(folder: Path) -> str:
    """Tokens of a clip by our encoder and by VideoMAEModel."""
    weights = read_weights(folder)
    encoder = weights.encoder.build(weights.clip).eval()
    encoder.load_state_dict(weights.part("encoder"))
    clip = weights.clip
    random = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (1, 3, clip.frames, clip.size, clip.size), dtype=torch.uint8, generator=random)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model = transformers.VideoMAEModel.from_pretrained(folder).eval()
    theirs = model(((video / 255 - mean) / std).transpose(1, 2)).last_hidden_state
    apart = ((encoder.encode(video) - theirs).norm() / theirs.norm()).item()
    assert apart <= 1e-5
    return (
        f"VideoMAE, width {weights.encoder.width}, depth {weights.encoder.depth}: tokens {apart:.1e} apart (relative)"
    )


def knn_figure(folder: Path, corpus: Corpus, scratch: Path) -> str:
    """kNN of the imported encoder on the synthetic dataset: a figure to look at, no threshold."""
    config, _ = write_imported(str(folder), scratch / "run", ["data.sampling.stride=2"])
    from tubelet import load_encoder

    context = Context(encoder=load_encoder(scratch / "run"), corpus=corpus, clip=config.clip, data=config.data, batch=4)
    metrics = Knn().run(context).metrics
    clips = len(corpus.select("train")), len(corpus.select("test"))
    return (
        f"kNN on {corpus.name}, {clips[0]} train and {clips[1]} test clips, 1 seed: "
        f"mean {metrics['mean.accuracy']}, time steps {metrics['temporal_concat.accuracy']}, "
        f"chance {metrics['mean.accuracy'].chance:.3f}"
    )
