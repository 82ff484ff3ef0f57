"""Captioning: no word sees those after it, the loss is that of a loop, and what is said is said word by word."""

import math

import pytest
import torch

from support.small_tasks import batch_of, recipe_of, task_of
from tubelet.errors import RecipeError
from tubelet.maskers import Nothing
from tubelet.objectives import Captioning, InstanceContrast
from tubelet.streams import Bare, Stream
from tubelet.types import CLIP, Words

WORDS = Stream(signal=Words(frames=6, vocabulary=16), tower=Bare())


def made(count=5):
    objective = Captioning(width=24, heads=2)
    config = recipe_of({"caption": objective}, streams={"words": WORDS}, masker=Nothing())
    task, batch = task_of(config).eval(), batch_of(config, count=count)
    with torch.no_grad():  # so that the clip decides which word is said
        for parameter in task.objectives["caption"].parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return task.objectives["caption"], task.look(batch)


def test_a_word_changes_no_score_of_those_before_it_and_the_clip_changes_all():
    head, seen = made()
    words = seen.of("words").tubelets[..., 0].long()[:, :-1]
    scores = head.scores(seen.alone, words)
    for place in range(words.shape[1]):
        other = words.clone()
        other[:, place] = (other[:, place] + 1) % 16
        changed = (head.scores(seen.alone, other) - scores).abs().amax((0, 2))
        assert changed[: place + 1].max() == 0
        assert (changed[place + 1 :] > 0).all()
    assert ((head.scores(seen.alone.roll(1, 0), words) - scores).abs().amax(2) > 0).all()


def test_the_loss_is_that_of_a_loop_that_stops_behind_the_end():
    head, seen = made()
    words = seen.of("words").tubelets[..., 0].long()
    costs, right, counts, said = [], 0, {}, 0
    for row, numbers in enumerate(words.tolist()):
        caption = [number for number in numbers if number]
        wanted = [*caption, 0][: len(numbers)]
        cost = 0.0
        for place, word in enumerate(wanted):
            scores = head.scores(seen.alone[row : row + 1], torch.tensor([caption[:place]], dtype=torch.int64))[0, -1]
            cost -= scores.double().log_softmax(-1)[word].item() / len(wanted)
            right += int(scores.argmax()) == word
            counts[word] = counts.get(word, 0) + 1 / len(wanted) / len(words)
        said += len(wanted)
        costs.append(cost)
    loss = head(seen)
    assert loss.value.item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)
    assert loss.terms["caption.accuracy"].item() == pytest.approx(right / said)
    entropy = -sum(share * math.log(share) for share in counts.values())
    assert loss.terms["caption.baseline"].item() == pytest.approx(entropy, rel=1e-5)


def test_what_is_said_is_the_most_likely_word_after_those_that_were_said():
    head, seen = made(12)
    said = head.say(seen.alone)
    assert said.shape == (12, 6)
    for row, numbers in enumerate(said.tolist()):
        caption: list[int] = []
        while len(caption) < 6:
            scores = head.scores(seen.alone[row : row + 1], torch.tensor([caption], dtype=torch.int64))[0, -1]
            if (word := int(scores.argmax())) == 0:
                break
            caption.append(word)
        assert numbers == caption + [0] * (6 - len(caption))
    assert len({tuple(row) for row in said.tolist()}) > 1, "clips are described apart"


def test_words_that_are_not_encoded_are_read_by_captioning_alone():
    with pytest.raises(RecipeError, match=r"streams\.words\.tower=Bare makes none; name another"):
        task_of(recipe_of({"views": InstanceContrast(of=(CLIP, "words"))}, streams={"words": WORDS}))
    with pytest.raises(RecipeError, match=r"the stream words holds none; give it streams\.words\.signal=Words"):
        task_of(recipe_of({"caption": Captioning()}, streams={"words": Stream()}))
    with pytest.raises(RecipeError, match=r"reads a stream 'word', and this recipe has none; did you mean words\?"):
        task_of(recipe_of({"caption": Captioning(words="word")}, streams={"words": WORDS}))
    assert not task_of(recipe_of({"caption": Captioning()}, streams={"words": WORDS})).towers["words"].state_dict()
