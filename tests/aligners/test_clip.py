"""The CLIP adapter on small CLIPs of the real class with random weights, against plain loops."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.aligners.base import open_aligner, similarity
from tubelet.aligners.clip import READINGS, ClipAligner
from tubelet.aligners.pretrained import load
from tubelet.errors import WeightsError
from tubelet.stores.maps import map_grid

transformers = pytest.importorskip("transformers")
PIL = pytest.importorskip("PIL.Image")

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tiny_tokenizer() -> "transformers.CLIPTokenizer":
    tokens = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=16
    )


def tiny_clip(folder: Path, patch: int = 8, size: int = 16) -> Path:
    """A CLIP of two layers whose patches are 8 pixels and whose own resolution is 2x2 of them."""
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**layers, "image_size": size, "patch_size": patch},
        projection_dim=20,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config)
    for module in model.modules():  # at its own scale of initialisation every token would look alike
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(folder: Path) -> "transformers.CLIPModel":
    return transformers.CLIPModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


def pixels_by_hand(frame: np.ndarray, height: int, width: int) -> torch.Tensor:
    """CLIP's preprocessing as its paper's code does it: bicubic on bytes, then the published mean and deviation."""
    resized = np.asarray(PIL.fromarray(frame).resize((width, height), PIL.Resampling.BICUBIC)).astype(np.float64) / 255
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return torch.tensor((resized - mean) / deviation, dtype=torch.float32).permute(2, 0, 1)[None]


def tokens_by_hand(model: "transformers.CLIPModel", pixels: torch.Tensor) -> torch.Tensor:
    """Embeds the patches one by one, adds interpolated positions, runs the blocks, projects the tokens one by one."""
    vision = model.vision_model
    patch = vision.config.patch_size
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    kernel = vision.embeddings.patch_embedding.weight
    embedded = [
        (kernel * pixels[0, :, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch]).sum((1, 2, 3))
        for r in range(rows)
        for c in range(columns)
    ]
    table = vision.embeddings.position_embedding.weight
    side = int((len(table) - 1) ** 0.5)
    positions = table[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if (rows, columns) != (side, side):
        positions = torch.nn.functional.interpolate(
            positions, size=(rows, columns), mode="bicubic", align_corners=False
        )
    positions = positions.permute(0, 2, 3, 1).reshape(rows * columns, -1)
    first = vision.embeddings.class_embedding + table[0]
    hidden = torch.cat([first[None], torch.stack(embedded) + positions])[None]
    hidden = vision.pre_layrnorm(hidden)
    for layer in vision.encoder.layers:
        out = layer(hidden, None)
        hidden = out if isinstance(out, torch.Tensor) else out[0]
    projected = [model.visual_projection.weight @ vision.post_layernorm(token) for token in hidden[0, 1:]]
    return torch.stack(projected).reshape(rows, columns, -1)


@torch.inference_mode()
def test_the_dense_reading_equals_projecting_every_token_of_the_enlarged_frame_by_hand(folder, model, frames) -> None:
    got = load(str(folder)).patches(frames[:1])
    expected = tokens_by_hand(model, pixels_by_hand(frames[0], 14 * 8, 21 * 8))
    assert got.shape == (1, 14, 21, 20)
    torch.testing.assert_close(got[0], expected, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_upsample_reading_is_the_native_tokens_between_the_nearest_four(folder, model, frames) -> None:
    got = load(str(folder), "upsample").patches(frames[:1])[0]
    native = tokens_by_hand(model, pixels_by_hand(frames[0], 16, 24))  # 2 x 3 tokens
    assert got.shape == (14, 21, 20)
    for row, column in [(0, 0), (3, 5), (7, 10), (13, 20)]:
        y, x = (min(max((i + 0.5) / 7 - 0.5, 0), n - 1) for i, n in ((row, 2), (column, 3)))
        top, left = min(int(y), 0), min(int(x), 1)
        down, across = y - top, x - left
        expected = (
            native[top, left] * (1 - down) * (1 - across)
            + native[top, left + 1] * (1 - down) * across
            + native[top + 1, left] * down * (1 - across)
            + native[top + 1, left + 1] * down * across
        )
        torch.testing.assert_close(got[row, column], expected, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_crop_reading_encodes_every_patch_as_an_image_of_its_own(folder, model, frames) -> None:
    got = load(str(folder), "crop").patches(frames[:1])[0]
    assert got.shape == (14, 21, 20)
    for row, column in [(0, 0), (5, 17), (13, 20)]:
        top, bottom = round(row * 40 / 14), round((row + 1) * 40 / 14)
        left, right = round(column * 60 / 21), round((column + 1) * 60 / 21)
        pixels = pixels_by_hand(frames[0, top:bottom, left:right], 16, 16)
        expected = model.get_image_features(pixel_values=pixels).pooler_output[0]
        torch.testing.assert_close(got[row, column], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("reading", READINGS)
def test_a_batch_equals_its_frames_one_by_one(folder, frames, reading: str) -> None:
    aligner = load(str(folder), reading)
    together = aligner.patches(frames)
    alone = torch.cat([aligner.patches(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_texts_are_the_models_own_text_features_whatever_stands_beside_them(folder, model) -> None:
    texts = ["a dog", "two dogs run over there and so on and so on", "x"]
    got = load(str(folder)).texts(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, got, strict=True):
        words = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        expected = model.get_text_features(**words).pooler_output[0]
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)


def test_the_score_is_the_cosine(folder, frames) -> None:
    aligner = load(str(folder))
    patches, texts = aligner.patches(frames), aligner.texts(["a dog", "a cat"])
    got = similarity(patches, texts)
    assert got.shape == (2, 3, 14, 21)
    one, word = patches[2, 4, 9].double(), texts[1].double()
    assert float(got[1, 2, 4, 9]) == pytest.approx(float(one @ word / one.norm() / word.norm()), abs=1e-6)


def test_the_grid_follows_the_aspect_ratio_with_a_short_side_of_14() -> None:
    assert map_grid(224, 224) == (14, 14)
    assert map_grid(240, 320) == (14, 19)
    assert map_grid(1280, 720) == (25, 14)
    assert map_grid(2, 2) == (14, 14)


def test_readings_and_weights_have_identities_of_their_own(folder, tmp_path) -> None:
    names = {load(str(folder), reading).identity for reading in READINGS}
    assert len(names) == 3
    assert open_aligner(folder).identity == load(str(folder)).identity
    other = transformers.CLIPModel.from_pretrained(folder)
    other.visual_projection.weight.data[0, 0] += 1
    changed = ClipAligner(other, tiny_tokenizer())
    assert changed.identity not in names


def test_what_cannot_be_loaded_is_said_in_one_line_with_the_local_way(tmp_path, monkeypatch, folder) -> None:
    monkeypatch.setattr("tubelet.aligners.pretrained.reachable", lambda: False)
    with pytest.raises(WeightsError, match=r"neither in the local cache .* --aligner PATH") as caught:
        open_aligner("no-such-owner/no-such-clip")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="holds neither an aligner"):
        open_aligner(tmp_path)
    with pytest.raises(WeightsError, match="no reading 'deep' of CLIP; one of: dense, upsample, crop"):
        open_aligner(folder, "deep")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="holds no CLIP or SigLIP that transformers can load") as caught:
        open_aligner(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_missing_tensors_is_refused_by_their_names(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_clip(tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"no complete CLIPModel; .*visual_projection.weight"):
        open_aligner(folder)


def test_preprocessing_equals_transformers_own_processor(frames) -> None:
    processor = transformers.CLIPImageProcessorPil(
        size={"height": 112, "width": 168}, do_center_crop=False, do_convert_rgb=True
    )
    expected = processor([PIL.fromarray(frame) for frame in frames], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ClipAligner.preprocess(frames, 112, 168), expected, atol=1e-6, rtol=1e-5)


def test_preprocessing_equals_the_published_tensor_of_a_photo(real_data: Path) -> None:
    photo = PIL.open(real_data / "clip-assets" / "lakera_franz-kafka.jpg").convert("RGB")
    expected = np.load(real_data / "clip-assets" / "lakera_expected_preprocessed_image.npy")
    pixels = np.asarray(photo)
    scale = 224 / min(pixels.shape[:2])
    height, width = (int(length * scale) for length in pixels.shape[:2])
    whole = ClipAligner.preprocess(pixels[None], height, width)
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    got = whole[:, :, top : top + 224, left : left + 224].numpy()
    difference = np.abs(got - expected)
    assert difference.max() < 0.05  # two steps of 255, from other JPEG and resize rounding
    assert difference.mean() < 0.005


def test_the_tokenizer_of_openai_reads_captions_as_published(real_data: Path, tmp_path: Path) -> None:
    """Built from OpenAI's own merges; the numbers of these captions are those that CLIP's documentation shows."""
    packed = (real_data / "clip-assets" / "openai_bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [code for code in range(256) if code not in printable]
    letters = [chr(code) for code in printable] + [chr(256 + position) for position in range(len(others))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    assert len(vocabulary) == 49408
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(["a photo of a cat"])["input_ids"][0] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert again(["A photo of a DOG"])["input_ids"][0] == [49406, 320, 1125, 539, 320, 1929, 49407]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "CLIPTokenizer"


def test_real_clip_texts_stand_beside_their_likes(real_data: Path) -> None:
    """OpenAI's own embeddings of "a" and a class name: those of COCO against those of LVIS, by our similarity."""
    assets = real_data / "clip-assets"
    coco, lvis = (
        torch.from_numpy(np.load(assets / f"detic_{name}_clip_a+cname.npy")).float() for name in ("coco", "lvis_v1")
    )
    classes = json.loads((assets / "detic_lvis_v1_train_cat_info.json").read_text())
    names = [one["name"] for one in sorted(classes, key=lambda one: one["id"])]
    table = similarity(lvis[None, None], lvis)[:, 0, 0]  # lvis lvis
    torch.testing.assert_close(table.diagonal(), torch.ones(len(names)), atol=1e-5, rtol=0)
    table.fill_diagonal_(-1)
    expected = {
        "dog": "puppy", "cat": "kitten", "horse": "pony", "cow": "bull", "bus_(vehicle)": "school_bus",
        "spoon": "soupspoon", "bicycle": "motorcycle", "truck": "trailer_truck",
    }  # fmt: skip
    for name, neighbour in expected.items():
        assert names[int(table[names.index(name)].argmax())] == neighbour
    nearest = similarity(lvis[None, None], coco)[:, 0, 0].argmax(1)
    of_coco = {16: "dog", 15: "cat", 17: "horse", 9: "traffic_light", 10: "fireplug", 6: "train_(railroad_vehicle)"}
    assert {position: names[int(nearest[position])] for position in of_coco} == of_coco
