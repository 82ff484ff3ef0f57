"""Two real processes with gloo share work, and one fails."""

import json
import time
from pathlib import Path

import pytest
import torch.multiprocessing
from torch import distributed

from tubelet.distributed import is_rank0, map_over_ranks, rank_and_world_size
from tubelet.errors import CorpusError, OtherRankError


def on_a_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine: list[int] = []

    def square(item: int) -> int:
        mine.append(item)
        Path(folder, f"{item} is begun").touch()
        while item == 0 and not Path(folder, "4 is begun").exists():  # meanwhile the other rank takes the rest
            time.sleep(0.01)
        return item**2

    def nested(item: int) -> list[int]:
        return [*rank_and_world_size(), *map_over_ranks([item, item], square, "squares of a square")]

    def refuse(item: int) -> int:
        if item == 3:
            raise CorpusError("the third is damaged")
        return item

    told = {"squares": map_over_ranks(range(5), square, "squares"), "mine": list(mine)}
    told["one"] = map_over_ranks([rank], square, "one square")  # no exchange: each has its own
    told["nested"] = map_over_ranks([1, 2], nested, "nested squares")
    told["first"] = is_rank0()
    try:
        map_over_ranks(range(4), refuse, "what cannot be read")
    except (CorpusError, OtherRankError) as error:
        told["error"] = [type(error).__name__, str(error)]
    told["after"] = map_over_ranks(range(3), square, "squares again")
    distributed.barrier()
    told["kept"] = distributed.distributed_c10d._get_default_store().check(["tubelet/0/0"])
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(on_a_rank, (str(folder),), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_every_rank_has_every_result_in_order_and_each_is_computed_once(told):
    assert [each["squares"] for each in told] == [[0, 1, 4, 9, 16]] * 2
    assert sorted(told[0]["mine"] + told[1]["mine"]) == [0, 1, 2, 3, 4]


def test_a_rank_that_is_free_takes_what_another_has_no_time_for(told):
    slow = next(each["mine"] for each in told if 0 in each["mine"])
    assert slow == [0]


def test_fewer_items_than_ranks_are_computed_by_every_rank(told):
    assert [each["one"] for each in told] == [[0], [1]]


def test_what_is_shared_is_not_shared_again(told):
    assert [each["nested"] for each in told] == [[[0, 1, 1, 1], [0, 1, 4, 4]]] * 2
    assert [each["first"] for each in told] == [True, False]


def test_an_error_of_one_rank_is_an_error_of_all_and_they_go_on_together(told):
    names = {each["error"][0] for each in told}
    assert names == {"CorpusError", "OtherRankError"}
    assert all("the third is damaged" in each["error"][1] for each in told)
    assert [each["after"] for each in told] == [[0, 1, 4]] * 2


def test_what_was_exchanged_is_not_kept(told):
    assert not any(each["kept"] for each in told)


def test_one_process_computes_all():
    assert map_over_ranks(range(3), str, "words") == ["0", "1", "2"]
