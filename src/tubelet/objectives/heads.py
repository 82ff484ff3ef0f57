"""From the mean token of a clip to the space in which an objective compares clips."""

from torch import nn

from tubelet.models.blocks import initialise


def projector(width: int, hidden: int, out: int, layers: int) -> nn.Sequential:
    """An MLP of `layers` linear layers. LayerNorm between them where the papers have batch norm, in which a clip's
    embedding depends on the other clips of its batch (ours)."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(width, hidden, bias=False), nn.LayerNorm(hidden), nn.GELU()]
        width = hidden
    made = nn.Sequential(*parts, nn.Linear(width, out, bias=False))
    return made.apply(initialise)
