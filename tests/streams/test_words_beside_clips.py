"""Words beside a clip: how they are embedded, what is scored of them, and what does not see them."""

import math
from dataclasses import replace

import chz
import pytest
import torch

from support.small_tasks import DECODER, SMALL, batch_of, gradients, recipe_of, rows, task_of
from tubelet.errors import RecipeError
from tubelet.loading.pairings import Apart
from tubelet.maskers import Random
from tubelet.models import Vit
from tubelet.objectives import InstanceContrast, Pixels, Predict
from tubelet.objectives.targets import Ids
from tubelet.streams import Joint, Own, Shared, Stream
from tubelet.types import CLIP, Words

WORDS = Words(frames=8, vocabulary=32)
TOWERS = {
    "own": Own(encoder=Vit(width=32, depth=1, heads=2)),
    "shared": Shared(),
    "joint": Joint(),
    "fused": Joint(blocks=1, last=1),
}
every_tower = pytest.mark.parametrize("tower", TOWERS.values(), ids=TOWERS.keys())
VIEWS = InstanceContrast(of=(CLIP, "words"), hidden=8, width=8)


def recipe(tower, **objectives):
    words = Stream(signal=WORDS, masker=Random(ratio=0.5), tower=tower)
    said = Predict(on=("words",), target=Ids(), decoder=DECODER)
    return recipe_of({"pixels": Pixels(decoder=DECODER), "words": said, **objectives}, streams={"words": words})


def with_other_words(batch):
    words = batch.streams["words"]
    return replace(batch, streams={"words": replace(words, video=words.video.flip(0))})


@every_tower
def test_words_are_predicted_and_all_weights_are_trained(tower):
    config = recipe(tower)
    task, batch = task_of(config), batch_of(config)
    found = gradients(task, batch)
    assert found.keys() == {name for name, _ in task.named_parameters()}
    table = next(value for name, value in found.items() if name.startswith("towers") and "embed.weight" in name)
    seen = task.look(batch).of("words")
    used = seen.tubelets.gather(1, seen.mask.visible[..., None]).long().unique()
    assert (table.abs().sum(1) > 0).nonzero()[:, 0].tolist() == used.tolist(), "of the words that are visible alone"


@every_tower
def test_other_words_change_no_embedding_of_the_clip_that_is_compared(tower):
    config = recipe(tower, views=VIEWS)
    task, batch = task_of(config).eval(), batch_of(config)
    head = task.objectives["views"]
    seen, other = task.look(batch), task.look(with_other_words(batch))
    assert torch.equal(head.views(seen)[0], head.views(other)[0])
    assert not torch.equal(head.views(seen)[1], head.views(other)[1])
    assert torch.equal(seen.tokens, other.tokens) != isinstance(tower, Joint), "tokens see words where they are joined"


def test_the_cost_of_words_is_that_of_an_independent_loop_and_no_padding_is_scored():
    config = recipe(TOWERS["own"])
    task, batch = task_of(config).eval(), batch_of(config, count=6)
    whole = task.look(batch)
    head, seen = task.objectives["words"], whole.of("words")
    prediction = head.predict(whole, "words").detach()
    scores = Ids().score(prediction, seen)
    costs, right, counted, weights = [], 0, 0, {}
    for row, places in enumerate(seen.mask.decode.tolist()):
        said = [(at, int(seen.tubelets[row, place, 0])) for at, place in enumerate(places)]
        scored = [(at, word) for at, word in said if word]
        cost = 0.0
        for at, word in scored:
            shares = prediction[row, at].double().exp()
            cost -= math.log(shares[word] / shares.sum()) / len(scored)
            right += int(prediction[row, at].argmax()) == word
            counted += 1
            weights[word] = weights.get(word, 0.0) + 1 / len(scored)
        costs.append(cost)
        for at, word in said:
            assert (scores.per_token[row, at] == 0) == (word == 0)
    torch.testing.assert_close(scores.per_token.mean(1).double(), torch.tensor(costs, dtype=torch.float64))
    assert counted < seen.mask.decode.numel(), "some captions have ended"
    total = sum(weights.values())
    entropy = -sum(one / total * math.log(one / total) for one in weights.values())
    assert scores.baseline.item() == pytest.approx(entropy * total / 6, rel=1e-5)
    assert scores.terms["accuracy"].item() == pytest.approx(right / counted)


def test_a_batch_without_a_word_to_score_costs_nothing():
    config = recipe(TOWERS["own"])
    task, batch = task_of(config), batch_of(config)
    words = batch.streams["words"]
    step = task(replace(batch, streams={"words": replace(words, video=torch.zeros_like(words.video))}))
    assert step.terms["words"] == step.terms["words.baseline"] == step.terms["words.accuracy"] == 0
    assert torch.isfinite(step.loss)


@every_tower
def test_a_sample_is_its_own_whatever_else_is_in_its_batch(tower):
    config = recipe(tower)
    task, batch = task_of(config).eval(), batch_of(config)
    seen, part = task.look(batch), task.look(rows(batch, [2, 0]))
    for name in (CLIP, "words"):
        torch.testing.assert_close(part.of(name).tokens, seen.of(name).tokens[[2, 0]], atol=1e-5, rtol=1e-5)


def test_equal_captions_are_no_negatives_of_each_other():
    config = recipe(TOWERS["own"], views=VIEWS)
    task, batch = task_of(config).eval(), batch_of(config)
    assert task(batch).terms["views.baseline"].item() == pytest.approx(math.log(7))
    same = replace(batch, caption=torch.tensor([0, 1, 0, 2]))
    streams = {name: replace(one, caption=same.caption) for name, one in batch.streams.items()}
    terms = task(replace(same, streams=streams)).terms
    assert terms["views.baseline"].item() == pytest.approx((math.log(5) + math.log(7)) / 2)


def test_what_cannot_be_is_refused_with_its_remedy():
    with pytest.raises(RecipeError, match=r"the stream clip holds none; give it streams\.clip\.signal=Words"):
        task_of(recipe_of({"words": Predict(target=Ids(), decoder=DECODER)}))
    with pytest.raises(RecipeError, match=r"pairing=Apart .* caption that is drawn for the clip .*leave it out"):
        Stream(signal=WORDS, pairing=Apart())
    with pytest.raises(RecipeError, match="a word has size=1 and tubelet_frames=1, not 1 and 2"):
        chz.replace(WORDS, tubelet_frames=2)
    with pytest.raises(RecipeError, match="vocabulary=1 must be 2 or more"):
        Words(vocabulary=1)
    assert recipe(TOWERS["own"]).clip == SMALL
