"""What is hidden, and how much: masks, with and without the contrast, ratios, and the direction of the guidance."""

from tubelet.studies.base import LOG, MEASURES, Measure, Study, Variant

SUBJECT = "data.captions.source=subject"
CONTRAST = f"objectives.contrast=Contrast objectives.contrast.width=128 {SUBJECT}"
MASKS = {
    "random": "masker=Random masker.ratio=0.6",
    "tube": "masker=Tube masker.ratio=0.6",
    "motion": "masker=Motion masker.ratio=0.6",
    "text": f"masker=Text masker.ratio=0.6 {SUBJECT}",
    "oracle": "masker=Oracle masker.ratio=0.6",
}
"""At one ratio, so that steps, tokens and FLOPs are equal and only the choice of what is hidden differs."""

TEXT_FRAME = f"masker=TextFrame masker.ratio=0.5625 {SUBJECT}"
"""Hides as many as the others do of 4 time steps of 16 patch positions, more in some time steps than in others."""


def joined(*words: str) -> str:
    """All words; of a field that is said twice, the last."""
    return " ".join(
        f"{name}={value}" for name, value in dict(word.split("=", 1) for word in " ".join(words).split()).items()
    )


SAMPLED = {
    name: joined(MASKS["text"], words)
    for name, words in {
        "random per time step": "masker.pick=random",
        "text, sampled (tau = 2)": "masker.pick=sample masker.temperature=2",
        "text, sampled (tau = 1)": "masker.pick=sample masker.temperature=1",
        "text, sampled (tau = 0.5)": "masker.pick=sample masker.temperature=0.5",
        "text": "",
        "text, bottom": "masker.pick=bottom",
    }.items()
}
"""As many per time step each: any; sampled by similarity, at a temperature; the top; the bottom. On crops of `synth-1`
they hide .57, .78, .89, .94, .97 and .06 of the subject."""


def masks() -> Study:
    """Which mask teaches most, at equal cost (`frame` shows the encoder a seventh more)."""
    more = {
        "text frame": TEXT_FRAME,
        "frame": "masker=Frame masker.ratio=0.5",  # 2 of 4 time steps; no share of whole time steps hides as many
        "flow": "masker=Flow masker.ratio=0.6",
        "adaptive": "masker=Adaptive masker.ratio=0.6",
    }
    variants = {name: Variant(words) for name, words in (MASKS | more).items()}
    return Study(
        question="Which tubelets should be hidden, when everything else is equal?",
        variants=variants,
        differences=(
            *((name, "tube") for name in variants if name != "tube"),
            ("text", "motion"),
            ("text frame", "text"),
            ("oracle", "text"),
        ),
    )


def contrast() -> Study:
    """Each mask with and without the video-text contrast; and whether the contrast falls by itself."""
    masks = MASKS | {"text frame": TEXT_FRAME}
    variants = {name: Variant(words) for name, words in masks.items()}
    variants |= {f"{name} + contrast": Variant(joined(words, CONTRAST)) for name, words in masks.items()}
    for name in ("text", "tube"):
        detached = joined(masks[name], CONTRAST, "objectives.contrast.detach=True")
        variants |= {
            f"{name}, contrast detached": Variant(detached),
            f"{name}, contrast detached, frozen encoder": Variant(f"{detached} objectives.pixels.weight=0"),
        }
    return Study(
        question="Does the contrast help under every mask, and does its loss fall by itself under pure reconstruction?",
        variants=variants,
        differences=(
            *((f"{name} + contrast", name) for name in masks),
            *((name, "tube") for name in masks if name != "tube"),
            *((f"{name} + contrast", "tube + contrast") for name in masks if name != "tube"),
            *(
                (f"{name}, contrast detached", f"{name}, contrast detached, frozen encoder")
                for name in ("text", "tube")
            ),
        ),
        measures=(*MEASURES, Measure("contrast loss / mean-prediction baseline", LOG, "contrast")),
        curves=("contrast",),
    )


def ratio() -> Study:
    """How much should be hidden, by tubes and by text."""
    shares = (0.4, 0.5, 0.6, 0.75, 0.9)
    return Study(
        question="How much should be hidden?",
        variants={
            f"{mask} {share}": Variant(joined(MASKS[mask], f"masker.ratio={share}"))
            for mask in ("tube", "text")
            for share in shares
        },
        differences=tuple((f"text {share}", f"tube {share}") for share in shares),
    )


def direction() -> Study:
    """Hide what is most like the caption, what is least like it, or any as many."""
    base = MASKS["text"]
    return Study(
        question="Is it better to hide what the caption names, what it does not name, or any as much?",
        variants={pick: Variant(f"{base} masker.pick={pick}") for pick in ("top", "bottom", "random")},
        differences=(("top", "bottom"), ("top", "random"), ("bottom", "random")),
        seeds=5,
    )
