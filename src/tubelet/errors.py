"""Errors that a user can act on: one sentence that says what, where and what to do.

The command line prints the sentence and exits with the `code` of the error, mostly 2; Python code may catch
`TubeletError` or a leaf.
"""


class TubeletError(Exception):
    """Something that the user can put right. The message is complete: what, where, remedy."""

    code = 2  # with which the command line ends


class UsageError(TubeletError):
    """The command line is wrong. Every rank was started with it, so the first alone says so."""


class CorpusError(TubeletError):
    """A corpus folder, its tables, captions or maps are missing, damaged or do not fit."""


class VideoError(TubeletError):
    """A video cannot be decoded; the message is the reason that the videos table carries."""


class RemoteError(TubeletError):
    """A file in an object store or on a web server cannot be read; `status` says why in a word for the table."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    def __str__(self) -> str:
        return self.message


class RecipeError(TubeletError):
    """An option is unknown, has the wrong type, or contradicts another."""


class RunError(TubeletError):
    """A run folder is in the way, damaged, or was made by another recipe."""


class PartlyMeasured(TubeletError):
    """Some of what was asked for could not be measured; the rest is, and is written. The message names both."""

    code = 1


class OtherRankError(TubeletError):
    """Another rank has failed and said why; this one ends with it, without a word."""


class WeightsError(TubeletError):
    """Weights are missing, offline, or do not fit the model; names the tensors concerned."""
