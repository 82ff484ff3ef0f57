"""What decides in which steps an objective counts."""

import chz


@chz.chz
class When:
    """A frozen config that says by which factor an objective counts at a step. Where it is 0, nothing is computed."""

    def factor(self, step: int, progress: float) -> float:
        """At this step of the training, which is this share of it."""
        raise NotImplementedError
