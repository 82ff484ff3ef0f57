"""A recipe is a function that returns a typed `Pretrain`. The list below is the registry, in the order of the help."""

from tubelet.recipes.find import Recipe, find
from tubelet.recipes.paper import PAPER
from tubelet.recipes.pretrain import Pretrain
from tubelet.recipes.text_guided import text_guided
from tubelet.recipes.tiny import miniature, miniature_whole, tiny, tiny_text_guided
from tubelet.recipes.videomae import videomae

RECIPES: tuple[Recipe, ...] = (tiny, tiny_text_guided, miniature, miniature_whole, videomae, text_guided, *PAPER)

__all__ = [
    "RECIPES",
    "Pretrain",
    "Recipe",
    "find",
    "miniature",
    "miniature_whole",
    "text_guided",
    "tiny",
    "tiny_text_guided",
    "videomae",
]
