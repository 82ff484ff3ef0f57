"""An aligner from frozen towers: what they give, what is learned on them, what is kept, and what is refused."""

import json
from pathlib import Path

import chz
import numpy as np
import pytest
import torch
from test_learned import coloured

from support.random_clips import WORDS, random_model, tokenizer
from tubelet import synth
from tubelet.aligners import lit
from tubelet.aligners.base import open_aligner
from tubelet.aligners.config import LitTraining
from tubelet.aligners.lit import LitAligner, Projections, Towers, train_lit
from tubelet.aligners.towers import TransformersText, TransformersVision, open_text, open_vision
from tubelet.aligners.unknown_words import unknown_words
from tubelet.cli import main
from tubelet.diagnostics.aligners import compare_aligners
from tubelet.errors import RecipeError, WeightsError
from tubelet.evaluations.trained_on import TrainedOn
from tubelet.prepare import align
from tubelet.saliency_maps.text import similarity_maps

transformers = pytest.importorskip("transformers")
LAYERS = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 2}
IMAGE = {**LAYERS, "image_size": 32, "patch_size": 8}
KINDS = ("vit", "dinov2", "siglip", "convnext")


def vision_model(kind: str) -> "transformers.PreTrainedModel":
    torch.manual_seed(0)
    if kind == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**IMAGE)).eval()
    if kind == "dinov2":
        config = transformers.Dinov2WithRegistersConfig(**IMAGE, num_register_tokens=3)
        return transformers.Dinov2WithRegistersModel(config).eval()
    if kind == "convnext":
        return transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 24], depths=[1] * 4)
        ).eval()
    return random_model("siglip", 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small random models: one of each kind, and a text model with its tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        vision_model(kind).save_pretrained(folder / kind)
    (folder / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "image_processor_type": "ViTImageProcessor"})
    )
    torch.manual_seed(1)
    config = transformers.BertConfig(**LAYERS, vocab_size=len(WORDS), max_position_embeddings=16)
    transformers.BertModel(config).eval().save_pretrained(folder / "text")
    tokenizer().save_pretrained(folder / "text")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_vision_tower_gives_the_last_layer_of_transformers_patch_by_patch(models: Path, kind: str) -> None:
    tower = open_vision(str(models / kind), 32)
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = tower.features(frames)
    model = transformers.AutoModel.from_pretrained(models / kind).eval()
    model = getattr(model, "vision_model", model)
    mean, std = ([0.5] * 3, [0.25] * 3) if kind == "vit" else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(
        std
    )[:, None, None]
    with torch.no_grad():
        hidden = model(pixel_values=pixels).last_hidden_state if kind != "siglip" else None
        if kind == "siglip":
            hidden = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    if hidden.dim() == 4:
        expected = hidden.permute(0, 2, 3, 1)
    else:
        side = found.shape[1]
        expected = hidden[:, -side * side :].reshape(3, side, side, -1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert tower.width == found.shape[-1]


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_grid_of_a_vision_tower_follows_the_aspect_ratio_of_the_frame(models: Path, kind: str) -> None:
    tower = open_vision(str(models / kind), 64)
    assert isinstance(tower, TransformersVision)
    grid = tower.features(np.zeros((1, 60, 90, 3), np.uint8)).shape[1:3]
    assert grid == (64 // tower.patch, 96 // tower.patch)


def test_a_text_tower_gives_the_mean_over_the_tokens_of_a_text_whatever_stands_beside_it(models: Path) -> None:
    tower = open_text(str(models / "text"))
    alone, together = tower.features(["a dog"]), tower.features(["a dog", "a red cat runs"])
    assert torch.allclose(alone[0], together[0], atol=1e-6)
    model, words = transformers.BertModel.from_pretrained(models / "text").eval(), tokenizer()("a dog")["input_ids"]
    with torch.no_grad():
        expected = model(torch.tensor([words])).last_hidden_state[0].mean(0)
    assert torch.allclose(alone[0], expected, atol=1e-6)


class Colours:
    """A vision tower whose features are the mean colours of 8x8 cells."""

    identity, width = "colours", 3

    def features(self, frames: np.ndarray) -> torch.Tensor:
        planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.avg_pool2d(planes, 8).permute(0, 2, 3, 1)


class Letters:
    """A text tower that counts letters."""

    identity, width = "letters", 26

    def features(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[text.count(chr(97 + number)) for number in range(26)] for text in texts]).float()

    def unknown(self, word: str) -> bool:
        return not any(letter.isalpha() for letter in word)


FAST = LitTraining(image="colours", text="letters", steps=60, batch=32, frames=1, joint=16, hidden=32, lr=1e-2, size=48)


def test_projections_of_frozen_features_find_what_a_caption_names(tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    aligner, curve = train_lit(Towers(Colours(), Letters(), tmp_path), coloured(120)[0], FAST)
    assert curve.rows[-1]["loss"] < curve.rows[0]["loss"]
    held_out, wheres = coloured(40, seed=1)
    texts = aligner.texts(held_out.texts).numpy()
    areas = []
    for number, where in enumerate(wheres):
        maps = similarity_maps(aligner, held_out.frames[number][None], texts[held_out.captions[number]])
        areas.append(roc_auc_score(where.ravel(), maps[0, 0].ravel()))
    assert np.mean(areas) > 0.95


def test_features_are_computed_once_and_a_damaged_file_of_them_again(tmp_path: Path) -> None:
    class Counting(Colours):
        seen = 0

        def features(self, frames: np.ndarray) -> torch.Tensor:
            Counting.seen += len(frames)
            return super().features(frames)

    towers, examples = Towers(Counting(), Letters(), tmp_path), coloured(20)[0]
    first, _ = train_lit(towers, examples, chz.replace(FAST, steps=3))
    assert Counting.seen == 20
    second, _ = train_lit(towers, examples, chz.replace(FAST, steps=3))
    assert Counting.seen == 20
    assert first.identity == second.identity
    (kept,) = tmp_path.glob("*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    third, _ = train_lit(towers, examples, chz.replace(FAST, steps=3))
    assert Counting.seen == 40
    assert third.identity == first.identity


def test_the_command_aligns_two_models_and_what_it_keeps_opens_as_the_same(
    models: Path, tmp_path: Path, capsys
) -> None:
    corpus = synth(tmp_path / "c", 12, 4, size=32, frames=4)
    words = [
        "--image",
        str(models / "vit"),
        "--text",
        str(models / "text"),
        "size=32",
        "steps=3",
        "batch=4",
        "frames=2",
    ]
    assert main(["align", str(corpus.folder), *words, "sources=subject"]) == 0
    out = capsys.readouterr().out
    assert "12 train videos" in out
    folder = corpus.folder / "aligner"
    aligner = open_aligner(folder)
    assert isinstance(aligner, LitAligner)
    assert aligner.identity == json.loads((folder / "aligner.json").read_text())["identity"]
    assert (folder / "report.html").exists()
    record = TrainedOn.read(folder / "trained_on.parquet")
    assert record is not None
    assert len(record.clips) == 12
    assert len(record.unknown) == 2, "what the towers were trained on is not known"
    assert main(["align", str(corpus.folder), *words, "sources=subject"]) == 0
    assert "holds this aligner already" in capsys.readouterr().out
    assert main(["saliency", str(corpus.folder), "Text", "sources=subject"]) == 0
    assert main(["align", str(corpus.folder), "--compare", str(folder), "sources=subject"]) == 0
    assert "chance" in capsys.readouterr().out
    table = compare_aligners(corpus, [str(folder)], sources=("subject",)).table
    names = [row[0] for row in table.rows]
    assert names == [str(folder), "  captions of other clips", "colour word", "centre", "chance"]
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_other_weights_under_the_same_name_are_refused(models: Path, tmp_path: Path) -> None:
    vision, text = open_vision(str(models / "vit"), 32), open_text(str(models / "text"))
    projections = Projections(vision.width, text.width, 8, 4)
    settings = {"image": str(models / "dinov2"), "text": str(models / "text"), "size": 32, "hidden": 8, "joint": 4}
    LitAligner(vision, text, projections, {"settings": settings}).save(tmp_path)
    with pytest.raises(WeightsError, match="is not the vision model that"):
        open_aligner(tmp_path)


def test_a_flipped_bit_of_the_projections_is_refused(models: Path, tmp_path: Path) -> None:
    vision, text = open_vision(str(models / "vit"), 32), open_text(str(models / "text"))
    settings = {"image": str(models / "vit"), "text": str(models / "text"), "size": 32, "hidden": 8, "joint": 4}
    LitAligner(vision, text, Projections(vision.width, text.width, 8, 4), {"settings": settings}).save(tmp_path)
    assert open_aligner(tmp_path).identity
    content = bytearray((tmp_path / lit.FILE).read_bytes())
    content[-3] ^= 4
    (tmp_path / lit.FILE).write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        open_aligner(tmp_path)


def test_a_run_is_a_vision_tower_and_says_what_it_was_trained_on(models: Path, tmp_path: Path) -> None:
    corpus = synth(tmp_path / "c", 8, 4, size=32, frames=8)
    run = tmp_path / "run"
    small = ["clip.frames=4", "clip.size=32", "encoder.width=32", "encoder.depth=1", "encoder.heads=2", "steps=2"]
    decoder = [f"objectives.pixels.decoder.{field}" for field in ("width=16", "heads=2")]
    words = [*small, *decoder, "batch=4", "data.cache=False"]
    assert main(["pretrain", "miniature", "--on", str(corpus.folder), "--out", str(run), *words]) == 0
    settings = LitTraining(image=str(run), text=str(models / "text"), steps=2, batch=4, frames=1, sources=("subject",))
    made = align(corpus, settings, out=tmp_path / "aligner")
    grid = made.open().patches(np.zeros((1, 32, 48, 3), np.uint8)).shape[1:3]
    assert grid == (2, 2), "that of the run's clips"
    record = TrainedOn.read(tmp_path / "aligner" / "trained_on.parquet")
    assert record is not None
    assert {clip.role for clip in record.clips} == {"aligner", "encoder"}


def test_words_for_which_the_tokenizer_has_nothing_are_named(models: Path) -> None:
    aligner = LitAligner(
        open_vision(str(models / "vit"), 32), open_text(str(models / "text")), Projections(24, 24, 8, 4)
    )
    assert unknown_words(aligner, "a red giraffe runs") == ["giraffe"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--image", "/no/where", "--text", "x"], "there is no folder /no/where"),
        (["--image", "x"], "--image and --text go together"),
        (["--image", "x", "--text", "y", "--from", "z"], "give either it or --image and --text"),
        (
            ["--image", "nobody/nothing", "--text", "nobody/nothing"],
            "offline, give a local folder that holds them: --image",
        ),
    ],
)
def test_models_that_cannot_be_had_are_one_sentence(words, reason, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    corpus = synth(tmp_path / "c", 2, 1, size=32, frames=4)
    assert main(["align", str(corpus.folder), *words]) != 0
    assert reason in capsys.readouterr().err


def test_a_time_limit_needs_the_small_aligner(tmp_path) -> None:
    corpus = synth(tmp_path / "c", 2, 1, size=32, frames=4)
    with pytest.raises(RecipeError, match="needs the small aligner"):
        align(corpus, LitTraining(image="a", text="b"), seconds=3.0)


def test_a_text_tower_of_clip_is_its_text_model() -> None:
    model = random_model("clip", 1)
    tower = TransformersText(model, tokenizer())
    with torch.no_grad():
        hidden = model.text_model(
            **{k: torch.tensor([v]) for k, v in {"input_ids": [2, 3], "attention_mask": [1, 1]}.items()}
        )
    assert torch.allclose(tower.features(["a dog"])[0], hidden.last_hidden_state[0].mean(0), atol=1e-6)
