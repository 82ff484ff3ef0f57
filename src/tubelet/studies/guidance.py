"""What guides: captions and their controls, the scorer, and what happens when the camera moves."""

from tubelet.studies.base import Study, Way
from tubelet.studies.hiding import CONTRAST, MASKS, SUBJECT, joined

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
            "of another video": Way(f"{text} data.captions.whose=another"),
            "noise": Way(NOISE),
            "subject + contrast": Way(joined(text, CONTRAST)),
            "verb + contrast": Way(joined(of("verb"), CONTRAST.replace(SUBJECT, ""))),
            "of another video + contrast": Way(joined(text, CONTRAST, "data.captions.whose=another")),
        },
        differences=(
            ("subject", "of another video"),
            ("subject", "noise"),
            ("of another video", "noise"),
            ("subject + contrast", "of another video + contrast"),
            ("subject", "verb"),
        ),
    )


def scorer() -> Study:
    """Who says what is like the caption: the aligner, CLIP raw or corrected, the truth, or nobody."""
    exact = f"{MASKS['text']} text.exact=True text.aligner=clip text.scorer="
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
    """Train and test on clips with one kind of camera: does motion guide wrongly where the camera moves?"""
    cameras = ("static", "pan", "zoom")
    names = ("tube", "motion", "text")
    ways = {
        f"{name}, {camera}": Way(f"{MASKS[name]} data.where=camera={camera}") for camera in cameras for name in names
    }
    return Study(
        question="Does guidance by text hold where the camera moves, and does guidance by motion fall?",
        ways=ways,
        differences=tuple(
            (f"{name}, {camera}", f"tube, {camera}") for camera in cameras for name in ("motion", "text")
        ),
    )
