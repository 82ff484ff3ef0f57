"""Two real processes with gloo against one: the same loss and the same gradients, also with unequal shares."""

import torch
import torch.multiprocessing
from torch import distributed

from tubelet.objectives import Contrast, Sizes
from tubelet.objectives.gather import Ranks
from tubelet.types import Batch, Clip, Encoded, Mask

CLIP = Clip(frames=4, size=32, tubelet_size=8)
COUNT = 7


def loss_of(rows: slice, world: int = 1):
    """Loss, weighed by its clips as the loop does, and gradients of a small encoder and the head, for these rows of
    the global batch."""
    random = torch.Generator().manual_seed(0)
    text = torch.randn(COUNT, 12, generator=random)
    features = torch.randn(COUNT, 10, 8, generator=random)
    caption = torch.tensor([0, 1, 2, 3, 1, 4, 5])  # rows 1 and 4, on different ranks, share a text
    source = torch.tensor([0, 1, 2, 3, 4, 0, 6])
    torch.manual_seed(1)
    encoder = torch.nn.Linear(8, 16)
    head = Contrast(width=6).build(Sizes(CLIP, 16, 12))
    count = len(range(COUNT)[rows])
    where = torch.arange(CLIP.num_tubelets).repeat(count, 1)
    batch = Batch(
        video=torch.zeros((count, 3, 4, 32, 32), dtype=torch.uint8),
        key=torch.arange(COUNT)[rows],
        ids=("clip",) * count,
        text=text[rows],
        caption=caption[rows],
        source=source[rows],
    )
    mask = Mask(visible=where[:, :10], hidden=where[:, 10:], decode=where[:, 10:])
    tubelets = torch.zeros((count, CLIP.num_tubelets, CLIP.tubelet_values), dtype=torch.uint8)
    loss = head(Encoded(CLIP, batch, mask, tubelets, encoder(features[rows]))).value * (count * world / COUNT)
    loss.backward()
    parameters = [*encoder.named_parameters(), *head.named_parameters()]
    return loss, {name: p.grad for name, p in parameters}


SPLITS = (4, 6)  # how many of the clips the first rank has


def on_a_rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    results = []
    for split in SPLITS:
        loss, gradients = loss_of(slice(0, split) if rank == 0 else slice(split, COUNT), world)
        value = loss.detach().clone()
        for tensor in (value, *gradients.values()):  # as DistributedDataParallel does: the mean over ranks
            distributed.all_reduce(tensor)
            tensor /= world
        results.append((value, gradients))
    rows = Ranks(rank + 1, torch.device("cpu")).gather(torch.full((rank + 1, 2), rank))
    torch.save({"results": results, "rows": rows}, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_the_gathered_contrast_of_two_ranks_equals_one_process_in_value_and_gradient(tmp_path):
    loss, gradients = loss_of(slice(None))
    torch.multiprocessing.spawn(on_a_rank, (2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert got["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]
        assert len(got["results"]) == len(SPLITS)
        for value, averaged in got["results"]:
            torch.testing.assert_close(value, loss.detach(), atol=2e-6, rtol=0)
            assert averaged.keys() == gradients.keys()
            for name, gradient in gradients.items():
                assert gradient.abs().max() > 0, name
                torch.testing.assert_close(averaged[name], gradient, atol=2e-6, rtol=0, msg=name)


def test_one_process_gathers_nothing():
    rows = torch.randn(3, 2, requires_grad=True)
    ranks = Ranks(3, rows.device)
    assert ranks.gather(rows) is rows
    assert (ranks.total, ranks.own) == (3, slice(0, 3))
