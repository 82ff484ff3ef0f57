"""The methods of the field, side by side at equal FLOPs."""

from tubelet.studies.base import MEASURES, Study, Variant

PREDICTED = ("reconstruction", "retrieval")  # which not every method can be measured by
RECIPES = (
    "st_mae", "hvm", "siam_mae", "crop_mae", "vjepa", "vic_mae", "simclr", "moco", "nnclr", "cvrl", "iic", "lstcl",
    "byol", "brave", "motion_mae", "cross_video_mae", "videomae_v2", "diffmae", "siam_mcvae", "cpc", "vq",
    "semmae", "automae", "marlin", "rho_moco",
)  # fmt: skip
SUBJECT = "data.captions.source=subject"
SIZES = (
    "teacher.encoder=Vit teacher.encoder.width=128 teacher.encoder.depth=2 teacher.encoder.heads=4 "
    "teacher.clip=Clip teacher.clip.frames=8 teacher.clip.size=64"
)  # of what the commands before train: they decide the FLOPs, before there is a run to read them from
TOKENIZER = "pretrain vq --on {corpus} --out {run}-tokenizer steps=400 seed={seed}"
CAPTIONED = "pretrain tiny_text_guided --on {corpus} --out {run}-stage-1 steps=400 seed={seed}"
CODES = f"teacher.init={{run}}-tokenizer {SIZES} teacher.codebook=512,32"
STAGE_2 = f"init={{run}}-stage-1 teacher.init={{run}}-stage-1 {SIZES}"


def methods() -> Study:
    """Every recipe of a method, of the size of `miniature`, at the FLOPs of VideoMAE's mask. Teachers and tokenizers
    that are trained before, maps and caption embeddings are not counted."""
    variants = {
        "VideoMAE": Variant(),
        **{recipe: Variant(recipe=recipe, equal="flops") for recipe in RECIPES},
        "beit": Variant(CODES, "flops", "beit", first=(TOKENIZER,)),
        "motion_aura": Variant(CODES, "flops", "motion_aura", first=(TOKENIZER,)),
        "umt": Variant("teacher.aligner={corpus}/aligner", recipe="umt"),  # the aligner's FLOPs are not known
        "videoprism_2": Variant(STAGE_2, "flops", "videoprism_2", first=(CAPTIONED,)),
        "internvideo": Variant(SUBJECT, "flops", "internvideo"),
        "tiny_text_guided": Variant("", "flops", "tiny_text_guided"),
    }
    return Study(
        question="What do the methods of the field learn of motion and of appearance, at equal FLOPs?",
        variants=variants,
        differences=tuple((name, "VideoMAE") for name in variants if name != "VideoMAE"),
        reference="VideoMAE",
        measures=tuple(measure for measure in MEASURES if measure.evaluation not in PREDICTED),
    )


def moments() -> Study:
    """Which moments of a video are alike: the same, or so many seconds apart; two of them or three."""
    gaps = {"0 s": 0.0, "0.5 s": 0.5, "1 s": 1.0}
    apart = "streams.second.pairing.least={0} streams.second.pairing.most={0}"
    variants = {
        f"{recipe}, {name}": Variant(apart.format(gap), recipe=recipe)
        for recipe in ("cvrl", "vic_mae")
        for name, gap in gaps.items()
    }
    clips = {
        "two clips": Variant("objectives.others.weight=0", "flops", "rho_moco"),
        "three clips": Variant("", "flops", "rho_moco"),
    }
    return Study(
        question="How far apart, and how many, shall the moments of a video be that learn to be alike?",
        variants=variants | clips,
        differences=(
            *((f"{recipe}, {name}", f"{recipe}, 0 s") for recipe in ("cvrl", "vic_mae") for name in ("0.5 s", "1 s")),
            ("three clips", "two clips"),
        ),
        reference="cvrl, 0 s",
        measures=tuple(measure for measure in MEASURES if measure.evaluation not in PREDICTED),
    )
