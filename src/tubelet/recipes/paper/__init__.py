"""The main cells of the TGM paper (Fan et al., ECCV 2024, arXiv 2408.00759) as recipes: data x mask x contrast.

`tubelet pretrain paper_ssv2_tgm_contrast --help` is one screen: the launch command, what it costs, what the paper
reports. None of them was run by us yet.
"""

from tubelet.recipes.paper.cells import CELLS, Cell, recipe_of

PAPER = tuple(recipe_of(cell) for cell in CELLS)

__all__ = ["CELLS", "PAPER", "Cell", "recipe_of"]
