"""What is hidden, and how much: masks, with and without the contrast, ratios, and the direction of the guidance."""

from tubelet.studies.base import LOG, MEASURES, Measure, Study, Way

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
"""Hides as many as the others do of 4 slots of 16 places, more in some slots than in others."""


def joined(*words: str) -> str:
    """All words; of a field that is said twice, the last."""
    return " ".join(
        f"{name}={value}" for name, value in dict(word.split("=", 1) for word in " ".join(words).split()).items()
    )


DRAWN = {
    name: joined(MASKS["text"], words)
    for name, words in {
        "drawn at random": "masker.pick=random",
        "text drawn at 2": "masker.pick=sample masker.temperature=2",
        "text drawn at 1": "masker.pick=sample masker.temperature=1",
        "text drawn at 0.5": "masker.pick=sample masker.temperature=0.5",
        "text": "",
        "text bottom": "masker.pick=bottom",
    }.items()
}
"""Slot by slot, as many each: any; by likeness, at a temperature; the top; the bottom. On crops of `synth-1` they hide
.57, .78, .89, .94, .97 and .06 of the subject."""


def masks() -> Study:
    """Which mask teaches most, at equal cost (`frame` shows the encoder a seventh more)."""
    more = {
        "text frame": TEXT_FRAME,
        "frame": "masker=Frame masker.ratio=0.5",  # 2 of 4 slots; no share of whole slots hides as many
        "flow": "masker=Flow masker.ratio=0.6",
        "adaptive": "masker=Adaptive masker.ratio=0.6",
    }
    ways = {name: Way(words) for name, words in (MASKS | more).items()}
    return Study(
        question="Which tubelets should be hidden, when everything else is equal?",
        ways=ways,
        differences=(
            *((name, "tube") for name in ways if name != "tube"),
            ("text", "motion"),
            ("text frame", "text"),
            ("oracle", "text"),
        ),
    )


def contrast() -> Study:
    """Each mask with and without the video-text contrast; and whether the contrast falls by itself."""
    masks = MASKS | {"text frame": TEXT_FRAME}
    ways = {name: Way(words) for name, words in masks.items()}
    ways |= {f"{name} + contrast": Way(joined(words, CONTRAST)) for name, words in masks.items()}
    for name in ("text", "tube"):
        watched = joined(masks[name], CONTRAST, "objectives.contrast.detach=True")
        ways |= {
            f"{name}, contrast observed": Way(watched),
            f"{name}, contrast observed, frozen encoder": Way(f"{watched} objectives.pixels.weight=0"),
        }
    return Study(
        question="Does the contrast help under every mask, and does its loss fall by itself under pure reconstruction?",
        ways=ways,
        differences=(
            *((f"{name} + contrast", name) for name in masks),
            *((name, "tube") for name in masks if name != "tube"),
            *((f"{name} + contrast", "tube + contrast") for name in masks if name != "tube"),
            *(
                (f"{name}, contrast observed", f"{name}, contrast observed, frozen encoder")
                for name in ("text", "tube")
            ),
        ),
        measures=(*MEASURES, Measure("contrast, of trivial", LOG, "contrast")),
        curves=("contrast",),
    )


def ratio() -> Study:
    """How much should be hidden, by tubes and by text."""
    shares = (0.4, 0.5, 0.6, 0.75, 0.9)
    return Study(
        question="How much should be hidden?",
        ways={
            f"{mask} {share}": Way(joined(MASKS[mask], f"masker.ratio={share}"))
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
        ways={pick: Way(f"{base} masker.pick={pick}") for pick in ("top", "bottom", "random")},
        differences=(("top", "bottom"), ("top", "random"), ("bottom", "random")),
        seeds=5,
    )
