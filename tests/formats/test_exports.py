"""What `tubelet export` writes is, for whoever loads it, the model that was trained."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

import tubelet
from tubelet.aligners.base import open_aligner
from tubelet.cli import main
from tubelet.config import override
from tubelet.corpus.table import Corpus
from tubelet.errors import RecipeError, WeightsError
from tubelet.evaluations import Context, Knn
from tubelet.formats import card
from tubelet.formats.graphs import CLOSE_FLOAT16, VideoModel, write_float16_onnx
from tubelet.recipes import miniature, siam_mae
from tubelet.recipes.finetune import tiny
from tubelet.results import read_results
from tubelet.runs.classifier import load_classifier
from tubelet.runs.folder import RunConfig, load_task, read_run_config
from tubelet.video.reader import Reader
from tubelet.weights import read_weights

RECIPE = '''
from tubelet.corpus.captions import CaptionChoice
from tubelet.loading.data import Data
from tubelet.video.sampling import Sampling
from tubelet.maskers import Text
from tubelet.models.decoder import Decoder
from tubelet.models.encoder import Vit
from tubelet.objectives import Contrast, Pixels
from tubelet.recipes import Pretrain
from tubelet.types import Clip


def both():
    """As the demo, smaller."""
    return Pretrain(
        precision="fp32",
        clip=Clip(frames=4, size=32),
        data=Data(sampling=Sampling(stride=2), captions=CaptionChoice(source="subject")),
        encoder=Vit(width=32, depth=2, heads=4),
        masker=Text(ratio=0.5),
        objectives={
            "pixels": Pixels(decoder=Decoder(width=24, depth=1, heads=2)),
            "contrast": Contrast(width=16, weight=0.1),
        },
        steps=6,
        batch=8,
    )
'''


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "synth"
    given = ["--train", "32", "--test", "16", "--size", "32", "--frames", "12", "--workers", "1"]
    assert main(["synth", "--out", str(folder), *given]) == 0
    assert main(["align", str(folder), "sources=subject", "steps=4", "batch=8"]) == 0
    assert main(["saliency", str(folder), "Text", "sources=subject"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.py").write_text(RECIPE)
    out = folder / "run"
    assert main(["pretrain", f"{folder / 'mine.py'}:both", "--on", str(corpus), "--out", str(out)]) == 0
    assert main(["evaluate", str(out), "knn"]) == 0
    return out


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "exported"
    words = [
        "--to",
        "transformers",
        "onnx",
        "safetensors",
        "torch",
        "torch-export",
        "--float16",
        "--decoder",
        "--license",
        "apache-2.0",
    ]
    assert main(["export", str(run), *words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def onnx(exported):
    return onnxruntime.InferenceSession(exported / "encoder.onnx", providers=["CPUExecutionProvider"])


def clips(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 4, 32, 32), dtype=torch.uint8, generator=random)


def pixels(video):
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((video / 255 - mean) / std).transpose(1, 2)


class Encodes(nn.Module):
    """Anything that makes tokens of clips, as an evaluation takes it."""

    def __init__(self, tokens):
        super().__init__()
        self.tokens = tokens

    def encode(self, video):
        return self.tokens(video)


def test_every_export_gives_the_same_knn_accuracy_as_the_run(run, corpus, exported, onnx):
    plan = read_run_config(run)
    encoder = tubelet.load_encoder(run)
    context = Context(encoder=encoder, corpus=Corpus.open(corpus), clip=plan.config.clip, data=plan.config.data)
    original = Knn().run(context)
    model = transformers.AutoModel.from_pretrained(exported).eval()
    program = torch.export.load(exported / "encoder.pt2").module()
    others = {
        "transformers": lambda video: model(pixels(video)).last_hidden_state,
        "onnx": lambda video: torch.from_numpy(onnx.run(["tokens"], {"video": video.numpy()})[0]),
        "torch-export": lambda video: program(video.clone())[1],
    }
    for name, tokens in others.items():
        found = Knn().run(replace(context, encoder=Encodes(tokens), computed={}))
        assert found.metrics == original.metrics, name
        assert found.protocol["selected"] == original.protocol["selected"], name
    assert read_results(run)["knn"].metrics == original.metrics


def test_the_file_of_plain_pytorch_gives_the_features_without_tubelet(run, exported, tmp_path):
    video = clips(3)
    torch.save(video, tmp_path / "clips.pt")
    program = (
        "import sys, torch; from encoder import load\n"
        f"found = load()(torch.load('{tmp_path}/clips.pt'))\n"
        "assert not any(name.startswith('tubelet') for name in sys.modules)\n"
        f"torch.save([value.detach() for value in found], '{tmp_path}/found.pt')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=exported, env={"PATH": "", "PYTHONPATH": ""})
    embedding, tokens = torch.load(tmp_path / "found.pt")
    with torch.no_grad():
        expected = tubelet.load_encoder(run).encode(video)
    torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(embedding, expected.mean(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_onnx_takes_any_batch_and_its_embedding_is_that_of_embed(run, onnx, batch):
    encoder = tubelet.load_encoder(run)
    embedding, tokens, joint = onnx.run(["embedding", "tokens", "joint"], {"video": clips(batch).numpy()})
    with torch.no_grad():
        expected = encoder.encode(clips(batch))
    np.testing.assert_allclose(tokens, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(embedding, expected.mean(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(joint, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_float16_graph_stores_its_blocks_in_float16_and_its_features_are_within_its_tolerance(
    run, exported, onnx, batch
):
    session = onnxruntime.InferenceSession(exported / "encoder_float16.onnx", providers=["CPUExecutionProvider"])
    names = ["embedding", "tokens", "joint"]
    video = {"video": clips(batch, seed=3).numpy()}
    for small, whole in zip(session.run(names, video), onnx.run(names, video), strict=True):
        assert small.dtype == np.float32
        apart = np.abs(small - whole).max() / np.abs(whole).max()
        assert 0 < apart <= CLOSE_FLOAT16  # 0: nothing was computed in float16
    graph = onnx_package.load(exported / "encoder_float16.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer if "blocks" in tensor.name}
    assert kinds == {onnx_package.TensorProto.FLOAT16}


def test_a_float16_graph_that_is_another_model_is_removed(run, tmp_path):
    _, task = load_task(run)
    with torch.no_grad():
        task.encoder.embed.bias += 1e5  # beyond what float16 holds
    with pytest.raises(WeightsError, match=r"encoder_float16.onnx gives other values .*at most 1e-02"):
        write_float16_onnx(VideoModel(task.encoder).eval(), tmp_path / "encoder_float16.onnx")
    assert list(tmp_path.iterdir()) == []


def test_float16_without_onnx_is_refused(run, tmp_path):
    with pytest.raises(RecipeError, match="add onnx to the targets"):
        tubelet.export(run, "safetensors", tmp_path / "out", float16=True)


def test_a_text_finds_the_videos_outside_that_it_finds_inside(run, corpus, exported, onnx, tmp_path):
    _, task = load_task(run)
    head = dict(task.named_modules())["objectives.contrast"]
    texts = ["A red square.", "der rote Stern", "", "one " * 40]
    with torch.no_grad():
        named = head.embed_text(open_aligner(corpus / "aligner").texts(texts)).numpy()
        seen = head.embed_video(task.encoder.encode(clips(5))).numpy()
    np.savez(tmp_path / "features.npz", joint=onnx.run(["joint"], {"video": clips(5).numpy()})[0], ids=list("abcde"))
    script = f"""
import runpy, sys
for name in ("torch", "tubelet", "transformers"):
    sys.modules[name] = None
search = runpy.run_path({str(exported / "search.py")!r})
import numpy as np
np.save({str(tmp_path / "texts.npy")!r}, search["embed"]({texts!r}))
sys.argv = ["search.py", {texts[0]!r}, {str(tmp_path / "features.npz")!r}]
runpy.run_path({str(exported / "search.py")!r}, run_name="__main__")
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(np.load(tmp_path / "texts.npy"), named, atol=1e-5)
    found = [line.split()[1] for line in said.splitlines()]
    assert found == ["abcde"[index] for index in np.argsort(-(seen @ named[0]))]


def test_the_folder_loads_as_every_class_of_transformers_and_goes_back_bit_for_bit(run, exported):
    weights = read_weights(exported)
    _, task = load_task(run)
    state = task.state_dict()
    for name, value in weights.tensors.items():
        assert torch.equal(value, state[name]), name
    assert {name for name in state if "contrast" not in name} == set(weights.tensors)
    again = read_weights(exported / "encoder.safetensors", frames=4, size=32)
    for name, value in again.tensors.items():
        assert torch.equal(value, state[name]), name
    model = transformers.VideoMAEForPreTraining.from_pretrained(exported)
    assert (model.config.image_size, model.config.num_frames, model.config.layer_norm_eps) == (32, 4, 1e-6)


@pytest.mark.parametrize("layout", ["official", "transformers", "mmaction2"])
def test_a_file_of_weights_is_read_again_from_any_layout(run, tmp_path, layout):
    out = tmp_path / "out"
    assert main(["export", str(run), "--to", "safetensors", "--layout", layout, "--out", str(out)]) == 0
    names = load_file(out / "encoder.safetensors")
    assert ("blocks.0.attn.q_bias" in names) == (layout == "official")
    weights = read_weights(out / "encoder.safetensors", frames=4, size=32)
    for name, value in tubelet.load_encoder(run).state_dict().items():
        assert torch.equal(weights.tensors[f"encoder.{name}"], value), name


# The contracts that transformers keeps for its VideoMAE


def masks(hidden, count=2):
    masked = torch.zeros(count, 8, dtype=torch.bool)
    for row in range(count):
        masked[row, torch.randperm(8, generator=torch.Generator().manual_seed(row))[:hidden]] = True
    return masked


def test_shapes_of_an_exported_model(exported):
    model = transformers.AutoModel.from_pretrained(exported, attn_implementation="eager").eval()
    with torch.no_grad():
        whole = model(pixels(clips(2)), output_hidden_states=True, output_attentions=True)
        part = model(pixels(clips(2)), bool_masked_pos=masks(6), output_attentions=True)
    assert whole.last_hidden_state.shape == (2, 8, 32)
    assert [tuple(value.shape) for value in whole.hidden_states] == [(2, 8, 32)] * 3
    assert [tuple(value.shape) for value in whole.attentions] == [(2, 4, 8, 8)] * 2
    assert part.last_hidden_state.shape == (2, 2, 32)
    assert [tuple(value.shape) for value in part.attentions] == [(2, 4, 2, 2)] * 2


@pytest.mark.parametrize("hidden", [1, 4, 7])
def test_a_value_is_predicted_for_every_hidden_tubelet_and_its_loss_is_ours(run, exported, hidden):
    model = transformers.VideoMAEForPreTraining.from_pretrained(exported).eval()
    masked = masks(hidden)
    with torch.no_grad():
        found = model(pixels(clips(2)), bool_masked_pos=masked)
    assert found.logits.shape == (2, hidden, 3 * 2 * 16 * 16)
    _, task = load_task(run)
    visible, chosen = (torch.stack([row.nonzero()[:, 0] for row in rows]) for rows in (~masked, masked))
    from tubelet.models.patches import cut, gather
    from tubelet.objectives.targets.per_colour import normalise

    tubelets = cut(clips(2), task.encoder.clip)
    with torch.no_grad():
        tokens = task.encoder(gather(tubelets, visible), visible)
        ours = dict(task.named_modules())["objectives.pixels.decoder"](tokens, visible, chosen)
    loss = (ours - normalise(gather(tubelets, chosen)).values).square().mean()
    torch.testing.assert_close(found.loss, loss, rtol=1e-5, atol=0)


def test_saved_and_loaded_it_is_the_same_and_gradients_reach_all_of_it(exported, tmp_path):
    model = transformers.VideoMAEForPreTraining.from_pretrained(exported)
    model.save_pretrained(tmp_path / "again")
    again = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path / "again")
    one, other = (m.eval()(pixels(clips(2)), bool_masked_pos=masks(4)) for m in (model, again))
    assert torch.equal(one.logits, other.logits)
    one.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_the_processor_makes_of_frames_what_the_encoder_takes(run, corpus, exported):
    """Of frames of the clip's own size; resizing differs from library to library."""
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    video = Corpus.open(corpus).select("test")[0]
    with Reader(video.path) as reader:
        frames = reader.frames(reader.times[:8:2])
    made = VideoMAEImageProcessorPil.from_pretrained(exported)(list(frames), return_tensors="pt").pixel_values
    expected = pixels(torch.from_numpy(frames).permute(3, 0, 1, 2)[None])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


# The command


def test_the_card_names_the_recipe_and_what_was_changed_in_it():
    def lines(recipe, config):
        about = {"path": "", "name": "small", "fingerprint": "0"}
        return card.recipe(RunConfig(recipe, config, about, 3, 1, "fp32", None, {}, ("tubelet", "pretrain", recipe)))

    config = override(siam_mae(), ["steps=3", "masker=Tube"])
    said = lines("siam_mae", config)
    assert said[0] == "3 steps of 32 clips, fp32."
    assert said[1:3] == ["Recipe `siam_mae` of tubelet, changed in:", ""]
    assert said[3:-2] == ["- `steps=3`", "- `masker=Tube`", "- `masker.ratio=0.9`"]
    assert lines("siam_mae", siam_mae())[1:3] == ["Recipe `siam_mae` of tubelet, as it is.", ""]
    tuned = override(tiny(miniature()), ["steps=3"])
    assert lines("tiny", tuned)[1:4] == ["Recipe `tiny` of tubelet, changed in:", "", "- `steps=3`"]
    assert lines("/mine.py:own", config)[1] == (
        "Recipe `/mine.py:own`, not one of tubelet's. What is not tubelet's default:"
    )


def test_the_card_says_what_it_is_how_it_was_measured_and_how_it_is_loaded(run, exported):
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: transformers\n")
    for said in ("synth-1", "masker.ratio=0.5", "steps=6", "| knn | mean.accuracy |", "AutoModel", "search.py"):
        assert said in card, said
    accuracy = read_results(run)["knn"].metrics["mean.accuracy"]
    assert f"| {accuracy.text} | {' to '.join(accuracy.bounds)} |" in card


def test_the_pieces_of_python_on_the_card_run(exported, monkeypatch):
    monkeypatch.chdir(exported)
    monkeypatch.syspath_prepend(exported)
    pieces = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), flags=re.DOTALL)
    assert len(pieces) == 6
    for piece in pieces:
        names: dict = {}
        exec(piece, names)
        if "embedding" in names:
            assert tuple(names["embedding"].shape) == (1, 32)


def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(run, exported, tmp_path, capsys):
    assert main(["export", str(run), "--to", "onnx", "--out", str(exported)]) == 2
    assert "exists" in capsys.readouterr().err
    stretched = tmp_path / "stretched"
    assert main(["import", str(exported), "--out", str(stretched), "clip.size=48"]) == 0
    capsys.readouterr()
    assert main(["export", str(stretched), "--to", "safetensors", "transformers", "--out", str(tmp_path / "out")]) == 2
    assert "interpolated from another clip size" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["stretched"]
    assert main(["export", str(stretched), "--to", "onnx", "--out", str(tmp_path / "out")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx", providers=["CPUExecutionProvider"])
    video = torch.zeros((2, 3, 4, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        expected = tubelet.load_encoder(stretched).encode(video).mean(1).numpy()
    np.testing.assert_allclose(session.run(["embedding"], {"video": video.numpy()})[0], expected, atol=1e-5)


def test_an_imported_classifier_is_exported_with_its_classes(tmp_path):
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=3, id2label={0: "spins", 1: "grows", 2: "falls"}, label2id={"spins": 0, "grows": 1, "falls": 2},
    )  # fmt: skip
    model = transformers.VideoMAEForVideoClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    model.save_pretrained(tmp_path / "theirs")
    assert main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    assert main(["export", str(tmp_path / "ours"), "--to", "transformers", "--out", str(tmp_path / "back")]) == 0
    again = transformers.AutoModelForVideoClassification.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        assert torch.equal(again(pixels(clips(2))).logits, model(pixels(clips(2))).logits)
    assert again.config.id2label == {0: "spins", 1: "grows", 2: "falls"}
    card = (tmp_path / "back" / "README.md").read_text()
    assert "3 classes (spins, grows, falls)" in card
    assert "video-classification" in card
    kept = load_classifier(tmp_path / "ours")
    with torch.no_grad():
        torch.testing.assert_close(kept.scores(clips(2)), model(pixels(clips(2))).logits, atol=1e-5, rtol=1e-5)


def test_labels_of_an_imported_classifier_are_written(corpus, tmp_path):
    import pandas as pd

    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        num_labels=2, id2label={0: "spins", 1: "grows"}, label2id={"spins": 0, "grows": 1},
    )  # fmt: skip
    transformers.VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "theirs")
    assert main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "labels.parquet"
    assert main(["predict", str(tmp_path / "run"), str(corpus), "--split", "test", "--out", str(out)]) == 0
    assert set(pd.read_parquet(out).label) <= {"spins", "grows"}


def test_a_fine_tuned_run_gives_its_scores_to_transformers_and_to_onnx(run, tmp_path):
    words = ["tiny", "steps=2", "batch=4", "views=1x1", "rates=0.016", "evaluate_every=1"]
    assert main(["finetune", str(run), *words, "--out", str(tmp_path / "tuned")]) == 0
    kept = load_classifier(tmp_path / "tuned")
    words = ["--to", "transformers", "onnx", "safetensors", "--out", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "tuned"), *words]) == 0
    with torch.no_grad():
        expected = kept.scores(clips(3))
        model = transformers.AutoModelForVideoClassification.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(model(pixels(clips(3))).logits, expected, atol=1e-5, rtol=1e-4)
    assert tuple(model.config.id2label.values()) == kept.classes
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["scores"], {"video": clips(3).numpy()})[0], expected.numpy(), atol=1e-5)
    assert read_weights(tmp_path / "out" / "encoder.safetensors", frames=4, size=32).classes
    assert "fine-tuned to labels" in (tmp_path / "out" / "README.md").read_text()
