"""What a step is said to cost is what PyTorch counts when it is taken."""

from dataclasses import replace

import chz
import pytest
import torch

from tubelet.flops import counted, encoder_flops
from tubelet.loading.pairings import Again, Apart
from tubelet.maskers import Nothing, Random, Tube
from tubelet.models import Cross, Decoder, Vit
from tubelet.objectives import Pixels, Predict
from tubelet.objectives.targets import Features
from tubelet.recipes.tiny import miniature
from tubelet.recipes.views import moco
from tubelet.streams import Own, Stream
from tubelet.studies import Study, Variant
from tubelet.studies.cost import cost
from tubelet.studies.trials import trials_of
from tubelet.teachers import Momentum
from tubelet.types import Batch, Clip

CLIP = Clip(frames=4, size=64, tubelet_frames=2, tubelet_size=16)
SMALL = Decoder(width=48, depth=2, heads=3)
PLAIN = chz.replace(
    miniature(), clip=CLIP, encoder=Vit(width=64, depth=2, heads=4), masker=Tube(ratio=0.5),
    objectives={"pixels": Pixels(decoder=SMALL)},
)  # fmt: skip
METHODS = {
    "plain": PLAIN,
    "two clips": chz.replace(
        PLAIN,
        streams={"second": Stream(pairing=Apart(), masker=Random(ratio=0.75))},
        objectives={"pixels": Pixels(decoder=SMALL, on=("clip", "second"))},
    ),
    "siamese": chz.replace(
        PLAIN,
        masker=Nothing(),
        streams={"later": Stream(pairing=Apart(), masker=Random(ratio=0.75))},
        objectives={"pixels": Pixels(on=("later",), decoder=Cross(width=48, depth=2, heads=3, attend_to="clip"))},
    ),
    "own tower": chz.replace(
        PLAIN,
        streams={
            "small": Stream(
                pairing=Again(), masker=Tube(ratio=0.5), tower=Own(encoder=Vit(width=32, depth=1, heads=2)), frames=2
            )
        },
        objectives={**PLAIN.objectives, "small": Predict(on=("small",), decoder=SMALL)},
    ),
    "teacher": chz.replace(
        PLAIN, teacher=Momentum(), objectives={"latent": Predict(decoder=SMALL, target=Features(), weight=1.0)}
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_of_a_method_is_what_is_counted_in_a_step_of_one_clip(name):
    config = METHODS[name]
    task = config.build(None)
    key = torch.arange(1)

    def batch_of(clip):
        return Batch(torch.zeros(1, 3, clip.frames, clip.size, clip.size, dtype=torch.uint8), key, ("",))

    streams = {name: batch_of(stream.clip(CLIP)) for name, stream in config.streams.items()}
    batch = replace(batch_of(CLIP), streams=streams)
    with counted() as counter:
        task(batch).loss.backward()
    assert cost(config).flops == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_variant_of_another_recipe_gets_as_many_steps_as_make_it_equal_in_flops(corpus):
    study = Study(
        "Which?",
        {"plain": Variant(), "views": Variant(recipe="simclr", equal="flops"), "same": Variant(recipe="simclr")},
        reference="plain",
    )
    found = {trial.variant: trial for trial in trials_of("mine", study, corpus, [0])}
    assert [found[name].recipe for name in study.variants] == ["miniature", "simclr", "simclr"]
    assert found["views"].commands()[0][:2] == ["pretrain", "simclr"]
    flops = {name: cost(trial.config).flops * trial.config.steps for name, trial in found.items()}
    assert flops["views"] == pytest.approx(flops["plain"], rel=0.01)
    assert found["same"].config.steps == found["plain"].config.steps


def test_a_stream_that_the_teacher_alone_sees_costs_the_student_nothing():
    config = moco()
    own, clip = config.encoder, config.clip
    student = encoder_flops(own, clip, clip.num_tubelets)
    teacher = encoder_flops(own, clip, clip.num_tubelets, backward=False)
    assert cost(config).flops == student + teacher
    assert cost(config).tokens == clip.num_tubelets
