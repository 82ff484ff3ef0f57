"""Zero-shot classification: a clip gets the class whose prompts lie nearest in the space of the contrast head.

The protocol, whole. A class's name, as words, is put into every one of `templates`; its vector is the mean of their
embeddings, each of length 1, by the model that embedded the captions; then the contrast head compares it with the mean
token of one centre clip. No label is used but to count what is right; every class of the labels is a candidate.
"""

from typing import ClassVar

import chz
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tubelet.aligners.base import Aligner, open_aligner
from tubelet.aligners.unknown_words import check_classes
from tubelet.corpus.captions import label_words
from tubelet.corpus.table import normalise_text
from tubelet.errors import CorpusError, RecipeError
from tubelet.evaluations.base import Context, Evaluation
from tubelet.evaluations.classification import measure_scores, with_chance
from tubelet.evaluations.intervals import in_words
from tubelet.results import Result
from tubelet.stores.embeddings import same_texts

TEMPLATES = ("{}", "a video of {}", "a clip that shows {}")


@chz.chz
class ZeroShot(Evaluation):
    name: ClassVar[str] = "zero_shot"
    compares_text: ClassVar[bool] = True

    templates: tuple[str, ...] = chz.field(default=TEMPLATES, doc="sentences with {} where the class goes")
    aligner: str | None = chz.field(
        default=None, doc="folder or hub name of the model that embedded the captions (None: the corpus's aligner)"
    )
    split: str = chz.field(default="test", doc="whose clips are classified")
    samples: int = chz.field(default=1000, doc="bootstrap samples of the intervals")

    @chz.validate
    def _places(self) -> None:
        if not self.templates or any("{}" not in template for template in self.templates):
            raise RecipeError("every one of zero_shot.templates holds {} where the class goes")

    def run(self, context: Context) -> Result:
        head = None if context.task is None else context.task.text_head
        if head is None:
            raise RecipeError("zero_shot needs a run with a contrast head, such as one of the recipe tiny_text_guided")
        every = context.features(self.split)
        test = every.with_label()
        if not len(test):
            raise CorpusError(f"zero_shot needs labels to count what is right, and split {self.split} has none")
        aligner = self.open(context)
        names = [label_words(name) for name in test.classes]
        notes = check_classes(aligner, names)
        vectors = prompts(aligner, names, self.templates)
        expected = head.text_width
        if vectors.shape[1] != expected:
            raise CorpusError(
                f"{aligner.identity} gives vectors {vectors.shape[1]} wide and the contrast head expects {expected}; "
                "name the model that the run was trained with as zero_shot.aligner=PATH"
            )
        device = next(head.parameters()).device
        with torch.inference_mode():
            video = head.embed_video(test.mean[:, None].to(device)).double().cpu()
            scores = video @ head.embed_text(vectors.to(device)).double().cpu().T
        numbers, details = measure_scores(scores, test, seed=context.seed, samples=self.samples)
        guess = 1 / len(test.classes)
        return Result(
            metrics=with_chance(numbers, {"accuracy": guess, "balanced_accuracy": guess}),
            protocol={
                "split": f"measured on {self.split}; no label is used but to count",
                "features": "mean of all tokens of one centre clip a video, through the contrast head",
                "templates": list(self.templates),
                "prompts": f"{label_words(test.classes[0])!r} and {len(test.classes) - 1} others, "
                f"by {aligner.identity}",
                "selection": "none: nothing is trained",
                "intervals": in_words(self.samples),
                "seed": context.seed,
            },
            counts={self.split: every.counts()},
            failed={self.split: list(every.failed)},
            classes=test.classes,
            details={"contrast": details},
            notes=notes,
        )

    def open(self, context: Context) -> Aligner:
        """The model that embedded the captions of the run, or a sentence that says which one it is."""
        folder = context.corpus.folder / "aligner"
        wanted = context.texts.identity(context.corpus)
        if self.aligner is None and not (folder / "aligner.json").is_file():
            raise CorpusError(
                f"the captions that the run was trained with were embedded by {wanted}, which also has to read the "
                "prompts; name it as zero_shot.aligner=PATH"
            )
        aligner = open_aligner(self.aligner or folder)
        if not same_texts(aligner.identity, wanted):
            raise CorpusError(
                f"the captions that the run was trained with were embedded by {wanted}, and the prompts would be by "
                f"{aligner.identity}; name the same model as zero_shot.aligner=PATH"
            )
        return aligner


def prompts(aligner: Aligner, classes: list[str], templates: tuple[str, ...]) -> Float[Tensor, "c e"]:
    """One vector a class: the mean of its prompts, each of length 1."""
    texts = [normalise_text(template.replace("{}", name)) for name in classes for template in templates]
    vectors = normalize(aligner.texts(texts).float(), dim=1)
    return vectors.unflatten(0, (len(classes), len(templates))).mean(1)
