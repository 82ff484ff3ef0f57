"""What guides: captions and their controls, the scorer, and what happens when the camera or other things move."""

from tubelet.studies.base import Study, Variant
from tubelet.studies.questions.hiding import CONTRAST, MASKS, SAMPLED, SUBJECT, TEXT_FRAME, joined

NOISE = "masker=Blend masker.ratio=0.6 masker.weights.noise=1 masker.weights.text=0 masker.weights.motion=0"
"""Hides the top of `noise` maps, per time step, exactly as Text hides the top of its own."""


def of(source: str, words: str = "masker=Text masker.ratio=0.6") -> str:
    return f"{words} data.captions.source={source}"


def captions() -> Study:
    """What must a caption say? Shuffled captions (of other videos) and noise are the controls."""
    text = MASKS["text"]
    return Study(
        question="What must a caption say, and does it matter that it is the video's own?",
        variants={
            "subject": Variant(text),
            "verb": Variant(of("verb")),
            "subject and verb": Variant(of("both")),
            "any of the three": Variant(of("None")),
            "shuffled captions": Variant(f"{text} data.captions.shuffled=True"),
            "noise": Variant(NOISE),
            "subject + contrast": Variant(joined(text, CONTRAST)),
            "verb + contrast": Variant(joined(of("verb"), CONTRAST.replace(SUBJECT, ""))),
            "shuffled captions + contrast": Variant(joined(text, CONTRAST, "data.captions.shuffled=True")),
            "tube + contrast": Variant(joined(MASKS["tube"], CONTRAST)),
            "tube + contrast, shuffled captions": Variant(
                joined(MASKS["tube"], CONTRAST, "data.captions.shuffled=True")
            ),
        },
        differences=(
            ("subject", "shuffled captions"),
            ("subject", "noise"),
            ("shuffled captions", "noise"),
            ("subject + contrast", "shuffled captions + contrast"),
            ("tube + contrast", "tube + contrast, shuffled captions"),
            ("subject", "verb"),
        ),
    )


def start() -> Study:
    """Both objectives on crops: what should one begin with, and how much of what the caption names should be hidden?"""
    masks = {name: MASKS[name] for name in ("tube", "random", "motion")} | {"text frame": TEXT_FRAME} | SAMPLED
    variants = {f"{name} + contrast": Variant(joined(words, CONTRAST)) for name, words in masks.items()}
    both = joined(MASKS["tube"], CONTRAST)
    light = {
        f"tube + contrast {weight}": Variant(f"{both} objectives.contrast.weight={weight}") for weight in (0.03, 0.3)
    }
    return Study(
        question="With captions available and minutes on two cores, what should a newcomer begin with?",
        variants=variants | light,
        differences=tuple((name, "tube + contrast") for name in (*variants, *light) if name != "tube + contrast"),
    )


def scorer() -> Study:
    """Who says what is like the caption: the aligner, CLIP raw or corrected, the truth, or nobody."""
    exact = f"{MASKS['text']} text.online=True text.aligner=clip text.scorer="
    return Study(
        question="How much does it matter who scores the patches?",
        variants={
            "in-domain": Variant(MASKS["text"]),
            "oracle": Variant(MASKS["oracle"]),
            "noise": Variant(NOISE),
            "CLIP, raw": Variant(f"{exact}raw"),
            "CLIP, value path": Variant(f"{exact}value"),
            "CLIP Surgery": Variant(f"{exact}surgery"),
        },
        differences=(("in-domain", "noise"), ("oracle", "in-domain"), ("CLIP, value path", "CLIP, raw")),
    )


def robustness() -> Study:
    """Train and test on clips of one kind of camera, or of distractors: where does motion guide wrongly?"""
    names = ("tube", "motion", "text")
    kinds = {camera: f"camera={camera}" for camera in ("static", "pan", "zoom")}
    kinds |= {"all distractors move": "moving_distractors=all", "some stand still": "moving_distractors=some"}
    variants = {
        f"{name}, {kind}": Variant(f"{MASKS[name]} data.where={where}")
        for kind, where in kinds.items()
        for name in names
    }
    return Study(
        question="Does guidance by text hold where the camera or other things move, and does guidance by motion fall?",
        variants=variants,
        differences=(
            *((f"{name}, {kind}", f"tube, {kind}") for kind in kinds for name in ("motion", "text")),
            *((f"text, {kind}", f"motion, {kind}") for kind in kinds),
            *((f"{name}, pan", f"{name}, static") for name in names),
        ),
    )
