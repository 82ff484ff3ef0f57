"""VideoMAE (Tong et al., NeurIPS 2022, arXiv 2203.12602) as a recipe."""

from tubelet.jobs.pool import cores
from tubelet.loading.data import Data
from tubelet.maskers import Tube
from tubelet.models.encoder import Base
from tubelet.objectives import Pixels
from tubelet.optim import Optim
from tubelet.recipes.pretrain import Pretrain
from tubelet.video.sampling import Sampling


def videomae() -> Pretrain:
    """ViT-B, tube masks at .9, normalised pixels: VideoMAE as published for SSv2-like and Kinetics-like corpora.

    tubelet index videos/ --out corpora/mine
    torchrun --nproc-per-node 8 -m tubelet pretrain videomae --on corpora/mine --out runs/videomae

    Stride 4 for Kinetics-like videos; data.sampling.stride=2 for SSv2-like ones. The paper trains 800 epochs (K400)
    or 2400 (SSv2) at a batch of 1024 to 2048: batch x accumulate x processes.
    Nothing that this recipe trains is measured here yet; on two cores see docs/results/real-input.md.
    """
    return Pretrain(
        data=Data(sampling=Sampling(stride=4), workers=min(8, cores())),
        encoder=Base(),
        masker=Tube(ratio=0.9),
        objectives={"pixels": Pixels()},
        optim=Optim(base_lr=1.5e-4, floor_lr=1e-5, warmup=0.05),
        epochs=800.0,
        batch=64,
    )
