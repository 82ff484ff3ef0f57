"""What guides: captions and their controls, the scorer, and what happens when the camera or other things move."""

from tubelet.studies.base import Study, Way
from tubelet.studies.questions.hiding import CONTRAST, DRAWN, MASKS, SUBJECT, TEXT_FRAME, joined

NOISE = "masker=Blend masker.ratio=0.6 masker.weights.noise=1 masker.weights.text=0 masker.weights.motion=0"
"""Hides the top of `noise` maps, slot by slot, exactly as Text hides the top of its own."""


def of(source: str, words: str = "masker=Text masker.ratio=0.6") -> str:
    return f"{words} data.captions.source={source}"


def captions() -> Study:
    """What must a caption say? Captions of other videos and noise are the controls."""
    text = MASKS["text"]
    return Study(
        question="What must a caption say, and does it matter that it is the video's own?",
        ways={
            "subject": Way(text),
            "verb": Way(of("verb")),
            "subject and verb": Way(of("both")),
            "any of the three": Way(of("None")),
            "of another video": Way(f"{text} data.captions.whose=another"),
            "noise": Way(NOISE),
            "subject + contrast": Way(joined(text, CONTRAST)),
            "verb + contrast": Way(joined(of("verb"), CONTRAST.replace(SUBJECT, ""))),
            "of another video + contrast": Way(joined(text, CONTRAST, "data.captions.whose=another")),
            "tube + contrast": Way(joined(MASKS["tube"], CONTRAST)),
            "tube + contrast, of another video": Way(joined(MASKS["tube"], CONTRAST, "data.captions.whose=another")),
        },
        differences=(
            ("subject", "of another video"),
            ("subject", "noise"),
            ("of another video", "noise"),
            ("subject + contrast", "of another video + contrast"),
            ("tube + contrast", "tube + contrast, of another video"),
            ("subject", "verb"),
        ),
    )


def start() -> Study:
    """Both objectives on crops: what should one begin with, and how much of what the caption names should be hidden?"""
    masks = {name: MASKS[name] for name in ("tube", "random", "motion")} | {"text frame": TEXT_FRAME} | DRAWN
    ways = {f"{name} + contrast": Way(joined(words, CONTRAST)) for name, words in masks.items()}
    light = {f"tube + contrast {weight}": Way(joined(MASKS["tube"], CONTRAST, f"objectives.contrast.weight={weight}"))
             for weight in (0.03, 0.3)}  # fmt: skip
    return Study(
        question="With captions at hand and minutes on two cores, what should a newcomer begin with?",
        ways=ways | light,
        differences=tuple((name, "tube + contrast") for name in (*ways, *light) if name != "tube + contrast"),
    )


def scorer() -> Study:
    """Who says what is like the caption: the aligner, CLIP raw or corrected, the truth, or nobody."""
    exact = f"{MASKS['text']} text.online=True text.aligner=clip text.scorer="
    return Study(
        question="How much does it matter who scores the patches?",
        ways={
            "in-domain": Way(MASKS["text"]),
            "oracle": Way(MASKS["oracle"]),
            "noise": Way(NOISE),
            "CLIP, raw": Way(f"{exact}raw"),
            "CLIP, value path": Way(f"{exact}value"),
            "CLIP Surgery": Way(f"{exact}surgery"),
        },
        differences=(("in-domain", "noise"), ("oracle", "in-domain"), ("CLIP, value path", "CLIP, raw")),
    )


def robustness() -> Study:
    """Train and test on clips of one kind of camera, or of distractors: where does motion guide wrongly?"""
    names = ("tube", "motion", "text")
    kinds = {camera: f"camera={camera}" for camera in ("static", "pan", "zoom")}
    kinds |= {"all distractors move": "moving_distractors=all", "some stand still": "moving_distractors=some"}
    ways = {
        f"{name}, {kind}": Way(f"{MASKS[name]} data.where={where}") for kind, where in kinds.items() for name in names
    }
    return Study(
        question="Does guidance by text hold where the camera or other things move, and does guidance by motion fall?",
        ways=ways,
        differences=(
            *((f"{name}, {kind}", f"tube, {kind}") for kind in kinds for name in ("motion", "text")),
            *((f"text, {kind}", f"motion, {kind}") for kind in kinds),
            *((f"{name}, pan", f"{name}, static") for name in names),
        ),
    )
