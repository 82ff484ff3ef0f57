"""Whether two implementations compute the same: checked before they are timed. Start reading at `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.implementations import Clips, Implementation, Tubelet, error, relative

LOSS, GRADIENT = 1e-6, 1e-5  # fp32: relative
ERROR = 1.1  # bf16: of the gradient, over that of transformers' autocast


@dataclass(frozen=True)
class Equality:
    """Against tubelet in fp32, and how far its own bf16 gradients are from fp32 ones."""

    loss: float
    gradient: float
    bf16: float | None = None

    @property
    def holds(self) -> bool:
        return self.loss <= LOSS and self.gradient <= GRADIENT

    def __str__(self) -> str:
        text = f"loss {self.loss:.0e}, gradients {self.gradient:.0e}"
        return text if self.bf16 is None else f"{text}; bf16 gradients {self.bf16:.4f}"


def compare(tubelet: Tubelet, others: Sequence[Implementation], clips: Clips) -> dict[str, Equality]:
    """Of every implementation of the same loss, tubelet too; where bf16 is measured, its gradients against fp32."""
    reference, expected = tubelet.gradients(clips, "fp32")
    found = {}
    for one in (tubelet, *(other for other in others if other.same_loss)):
        loss, gradients = (reference, expected) if one is tubelet else one.gradients(clips, "fp32")
        apart = abs(loss - reference) / abs(reference)
        bf16 = error(one.gradients(clips, "bf16")[1], gradients) if one.dtype == "bf16" else None
        found[one.name] = Equality(apart, relative(gradients, expected), bf16)
    return found


def voided(found: dict[str, Equality], name: str, yardstick: str = "transformers") -> str:
    """Why the row of this implementation is no comparison; "" where it is one."""
    one = found.get(name)
    if one is None:
        return "another loss"
    if not one.holds:
        return f"not equal ({one})"
    limit = found[yardstick].bf16 if yardstick in found else None
    if name == "tubelet" and one.bf16 is not None and limit is not None and one.bf16 > ERROR * limit:
        return f"bf16 gradients {one.bf16:.4f} from fp32, {yardstick}' {limit:.4f}"
    return ""
