"""The card of exported weights: what they are, of what data, how they were made and measured, how to load them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.config import changed, to_plain
from tubelet.escape import code_span, markdown, yaml
from tubelet.formats.opened import Opened
from tubelet.recipes import RECIPES
from tubelet.recipes.finetune import FINETUNES, Finetune
from tubelet.recipes.pretrain import Pretrain
from tubelet.reports.tables import pipes
from tubelet.results import read_results
from tubelet.runs.folder import IMPORTED, RunConfig
from tubelet.runs.imported import ABOUT, read_import_about

AnyRunConfig = RunConfig[Pretrain] | RunConfig[Finetune]
LOAD = {
    "transformers": """import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("FOLDER").eval()
clips = torch.zeros(1, {frames}, 3, {size}, {size})  # (pixels / 255 - mean) / std, as in preprocessor_config.json
embedding = model(clips).last_hidden_state.mean(1)  # 1 x {width}""",
    "onnx": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/encoder.onnx")
clips = np.zeros((1, 3, {frames}, {size}, {size}), np.uint8)  # batch, colour, frame, row, column; any batch
(embedding,) = session.run(["embedding"], {{"video": clips}})  # 1 x {width}""",
    "onnx float16": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/encoder_float16.onnx")
clips = np.zeros((1, 3, {frames}, {size}, {size}), np.uint8)
(embedding,) = session.run(["embedding"], {{"video": clips}})  # float32; the blocks compute in float16""",
    "torch": """import torch
from encoder import load  # encoder.py of this folder, which needs torch alone

clips = torch.zeros(1, 3, {frames}, {size}, {size}, dtype=torch.uint8)
embedding, tokens = load()(clips)[:2]  # 1 x {width}, 1 x {tokens} x {width}""",
    "torch-export": """import torch

model = torch.export.load("FOLDER/encoder.pt2").module()
clips = torch.zeros(1, 3, {frames}, {size}, {size}, dtype=torch.uint8)
embedding, tokens = model(clips)[:2]  # 1 x {width}, 1 x {tokens} x {width}""",
    "safetensors": """from safetensors.torch import load_file

weights = load_file("FOLDER/encoder.safetensors")  # names of the {layout} layout""",
}


def write_card(
    folder: Path,
    name: str,
    run: Path,
    opened: Opened,
    license: str | None,
    differences: Mapping[str, float],
    layout: str,
    text: bool,
) -> None:
    """README.md in `folder`, in the format of the hub. `differences` by target: how far apart what is loaded is."""
    plan, origin = opened.plan, (read_import_about(run) if (run / ABOUT).exists() else {})
    lines = [
        "---",
        f"license: {yaml(license or 'unknown')}",
        "library_name: tubelet" if "transformers" not in differences else "library_name: transformers",
        "pipeline_tag: video-classification" if opened.classes else "pipeline_tag: feature-extraction",
        "tags: [video, videomae, self-supervised]",
        "---",
        "",
        f"# {markdown(name)}",
        "",
        *summary_lines(plan, origin),
        "",
        "## Licence",
        "",
        markdown(license or "")
        or "Not stated: whoever shares these weights must say under which licence, with `--license`.",
        *licence_notes(origin),
        "",
        "## Data",
        "",
        *data(plan, origin),
        "",
        "## Recipe",
        "",
        *recipe(plan),
        "",
        "## Results",
        "",
        *results(run),
        "",
        "## How to load",
        "",
    ]
    lines += loading(folder, opened, differences, layout, text)
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def loading(folder: Path, opened: Opened, differences: Mapping[str, float], layout: str, text: bool) -> list[str]:
    """How to load each target, and what a clip is."""
    clip, width = opened.plan.config.clip, opened.plan.config.encoder.width
    lines: list[str] = []
    sizes = {"frames": clip.frames, "size": clip.size, "width": width, "tokens": clip.num_tubelets, "layout": layout}
    for target, difference in differences.items():
        if target not in LOAD:
            continue
        lines += [f"{target}; relative to the original at most {difference:.1e} apart on random clips:", ""]
        lines += ["```python", *LOAD[target].format(**sizes).replace("FOLDER", ".").splitlines(), "```", ""]
    if opened.classes:
        named = ", ".join(map(markdown, opened.classes[:8])) + (" ..." if len(opened.classes) > 8 else "")
        lines += [
            f"A classifier of {len(opened.classes)} classes ({named}): `scores` of the graphs, and",
            "`AutoModelForVideoClassification` of transformers.",
            "",
        ]
    if text:
        lines += [
            "Text: `joint` of encoder.onnx and of text.onnx are of length 1 in one space; their product is the score."
        ]
        if (folder / "search.py").exists():
            lines += ['`python search.py "a red square" features.npz` ranks videos with NumPy and ONNX Runtime alone.']
        lines += [""]
    sampling = opened.plan.config.data.sampling
    apart = f"{sampling.frames_apart} source frames" if sampling.step_ms is None else f"{sampling.step_ms:g} ms"
    return [
        *lines,
        f"Clips: {clip.frames} frames {apart} apart, the middle square, {clip.size} x {clip.size} pixels, RGB.",
        "",
    ]


def summary_lines(plan: AnyRunConfig, origin: Mapping[str, Any]) -> list[str]:
    config = plan.config
    size = f"ViT of width {config.encoder.width}, depth {config.encoder.depth}, {config.encoder.heads} heads"
    tubelet = f"{config.clip.tubelet_frames}x{config.clip.tubelet_size}x{config.clip.tubelet_size}"
    if plan.recipe == IMPORTED:
        made = f"imported from {markdown(str(origin.get('source')))} ({markdown(str(origin.get('layout')))} layout)"
    else:
        how = "fine-tuned to labels" if isinstance(config, Finetune) else "pretrained by masked reconstruction"
        made = f"{how} with tubelet, recipe {code_span(plan.recipe)}"
    return [
        f"A video encoder, {made}: {size}, tubelets of {tubelet}, clips of {config.clip.frames}x{config.clip.size}."
    ]


def licence_notes(origin: Mapping[str, Any]) -> list[str]:
    if not origin:
        return []
    source = markdown(str(origin.get("source")))
    return ["", f"The weights come from {source}: its licence binds (those of VideoMAE are CC-BY-NC 4.0)."]


def data(plan: AnyRunConfig, origin: Mapping[str, Any]) -> list[str]:
    if plan.recipe == IMPORTED:
        return [
            "Trained elsewhere; see the source. "
            + " ".join(f"Note: {markdown(remark)}." for remark in origin["remarks"])
        ]
    lines = [
        f"Corpus {markdown(plan.corpus['name'])} (fingerprint {markdown(plan.corpus['fingerprint'][:12])}), "
        f"split {markdown(plan.config.data.split)}."
    ]
    if plan.config.init:
        lines.append(f"It began with the weights of {markdown(without_folders(plan.config.init))}.")
    return lines


def recipe(plan: AnyRunConfig) -> list[str]:
    if plan.recipe == IMPORTED:
        return ["None of ours."]
    values, declared = to_plain(plan.config), declared_values(plan)
    length = f"{plan.steps} steps of {plan.config.batch * plan.config.accumulate * plan.world} clips, {plan.precision}."
    if declared is None:
        said, names = (
            f"Recipe {code_span(plan.recipe)}, not one of tubelet's. What is not tubelet's default:",
            [*changed(plan.config)],
        )
    else:
        names = [name for name, value in values.items() if name not in declared or value != declared[name]]
        said = f"Recipe {code_span(plan.recipe)} of tubelet, {'changed in:' if names else 'as it is.'}"
    different = [f"- {code_span(without_folders(f'{name}={values.get(name)}'))}" for name in names]
    return [
        length,
        said,
        *(["", *different] if different else []),
        "",
        f"Command: {code_span(' '.join(map(without_folders, plan.command)))}",
    ]


def without_folders(text: str) -> str:
    """Of absolute paths the name alone: a card is for others, and says nothing of the machine it was made on."""
    return re.sub(r"(?<![\w.~-])~?/(?:[^/\n]+/)*([^/\n]*)", r"\1", text)


def declared_values(plan: AnyRunConfig) -> dict[str, Any] | None:
    """Every field as the run's recipe has it; None of a recipe that is not tubelet's own."""
    config = plan.config
    if isinstance(config, Finetune):
        origin = Pretrain(clip=config.clip, data=config.data, encoder=config.encoder, steps=1)
        return next((to_plain(recipe(origin)) for recipe in FINETUNES if recipe.__name__ == plan.recipe), None)
    return next((to_plain(recipe()) for recipe in RECIPES if recipe.__name__ == plan.recipe), None)


def results(run: Path) -> list[str]:
    """Every metric that the run folder holds, with its 95 % interval."""
    found = read_results(run)
    if not found:
        return ["Not measured. `tubelet evaluate` measures it."]
    rows = [
        (entry, name, metric.text, " to ".join(metric.bounds or ()), str(result.corpus.get("name", "")))
        for entry, result in found.items()
        for name, metric in result.metrics.items()
    ]
    verdicts = [f"{entry}: {result.verdict}." for entry, result in found.items() if result.verdict]
    warnings = sorted({text for result in found.values() for text in result.warnings})
    return [
        *pipes(("evaluation", "metric", "value", "95 % interval", "corpus"), rows),
        *(["", *map(markdown, verdicts)] if verdicts else []),
        *(["", *(f"Note: {markdown(text)}." for text in warnings)] if warnings else []),
    ]
