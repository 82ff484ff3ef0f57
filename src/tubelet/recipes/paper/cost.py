"""FLOPs of a step of ViT-B with the 4 x 384 decoder, counted by hand (a product and a sum are 2), and GPU-hours."""

PEAK, UTILISATION = 312e12, 0.4  # FLOP/s of an A100 in bf16, and the share of it that a good run reaches
GPU = "A100s at 40 % of 312 TFLOP/s (bf16)"
TUBELETS, VALUES = 1568, 1536


def step_flops(hidden: int, *, width: int = 768, depth: int = 12, decoder: int = 384, layers: int = 4) -> float:
    """Forward and backward of one clip of which so many tubelets are hidden. Backward is counted as two forwards."""
    visible = TUBELETS - hidden
    encoder = 2 * visible * VALUES * width + depth * block(visible, visible, width)
    middle = 2 * visible * width * decoder
    early = (layers - 1) * block(TUBELETS, TUBELETS, decoder)
    last = block(TUBELETS, hidden, decoder) + 2 * hidden * decoder * VALUES
    return 3.0 * (encoder + middle + early + last)


def block(tokens: int, computed: int, width: int) -> int:
    """One transformer block of which only so many tokens are computed, attending to all."""
    queries, keys_values = 2 * computed * width**2, 2 * tokens * 2 * width**2
    attention = 2 * 2 * computed * tokens * width
    out, mlp = 2 * computed * width**2, 2 * 2 * computed * 4 * width**2
    return queries + keys_values + attention + out + mlp


def hours(flops: float, videos: int, epochs: float) -> float:
    """GPU-hours of so many epochs."""
    return flops * videos * epochs / (PEAK * UTILISATION) / 3600
