"""A recipe is a function that returns a typed `Pretrain`. The list below is the registry, in the order of the help."""

from typing import Any

from tubelet.config import override
from tubelet.recipes.codes import beit, motion_aura, vq
from tubelet.recipes.few import few_clips, pseudo_motion
from tubelet.recipes.find import Recipe, find, name_of
from tubelet.recipes.guided import automae, internvideo, marlin, semmae, videomae_v2
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.sampled import cpc, diffmae, siam_mcvae
from tubelet.recipes.siamese import crop_mae, siam_mae
from tubelet.recipes.signals import av_mae, coca, diff_mavil, imu_mae, lv_mae, m3ae, mavil, mavil_again, smaug, tvlt
from tubelet.recipes.spatiotemporal import ego_only, hvm, motion_mae, slow_fast, st_mae
from tubelet.recipes.taught import umt, videoprism_2, vjepa
from tubelet.recipes.text_guided import text_guided
from tubelet.recipes.tiny import miniature, miniature_fine, miniature_whole, tiny, tiny_text_guided
from tubelet.recipes.videomae import videomae
from tubelet.recipes.views import brave, byol, cross_video_mae, cvrl, iic, lstcl, moco, nnclr, rho_moco, simclr, vic_mae

RECIPES: tuple[Recipe, ...] = (
    tiny, tiny_text_guided, miniature, miniature_whole, miniature_fine, few_clips, videomae, text_guided,
    st_mae, hvm, motion_mae, slow_fast, siam_mae, crop_mae, pseudo_motion, vjepa, umt, videoprism_2,
    simclr, moco, nnclr, cvrl, rho_moco, iic, lstcl, byol, brave, vic_mae, cross_video_mae,
    semmae, automae, marlin, videomae_v2, internvideo, diffmae, siam_mcvae, cpc,
    vq, beit, motion_aura,
    av_mae, tvlt, mavil, mavil_again, diff_mavil, imu_mae, m3ae, smaug, coca, lv_mae, ego_only,
)  # fmt: skip


def resolve_recipe(recipe: str | Pretrain | Recipe, *words: str, **fields: Any) -> tuple[str, Pretrain]:
    """The name of a recipe and its config: by name, of a file, a function, or a config as it is; with fields set."""
    if isinstance(recipe, Pretrain):
        name, config = type(recipe).__name__, recipe
    else:
        name, function = find(recipe, RECIPES) if isinstance(recipe, str) else (name_of(recipe), recipe)
        config = function()
    return name, override(config, [*words, *(f"{name}={value}" for name, value in fields.items())])


__all__ = [
    "RECIPES",
    "Pretrain",
    "Recipe",
    "automae",
    "av_mae",
    "beit",
    "brave",
    "byol",
    "coca",
    "cpc",
    "cross_video_mae",
    "cvrl",
    "diff_mavil",
    "diffmae",
    "ego_only",
    "few_clips",
    "find",
    "iic",
    "imu_mae",
    "internvideo",
    "lstcl",
    "lv_mae",
    "m3ae",
    "marlin",
    "mavil",
    "mavil_again",
    "miniature",
    "miniature_fine",
    "miniature_whole",
    "moco",
    "motion_aura",
    "motion_mae",
    "nnclr",
    "pseudo_motion",
    "resolve_recipe",
    "rho_moco",
    "semmae",
    "siam_mcvae",
    "simclr",
    "slow_fast",
    "smaug",
    "text_guided",
    "tiny",
    "tiny_text_guided",
    "tvlt",
    "vic_mae",
    "videomae",
    "videomae_v2",
    "videoprism_2",
    "vjepa",
    "vq",
]
