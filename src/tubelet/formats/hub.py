"""Runs and corpora to the Hugging Face hub; `push` alone sends anything, only files that it names.

`tubelet.inference.hub` opens runs that are there, `tubelet.remote` corpora.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import chz

from tubelet.corpus.table import Corpus
from tubelet.errors import RunError
from tubelet.formats.dataset import write_dataset
from tubelet.formats.export import export
from tubelet.formats.opened import open_run
from tubelet.inference.hub import SAMPLING, SCHEME, repository_of
from tubelet.inference.rows import is_corpus
from tubelet.runs.run import Run
from tubelet.weights.files import error_line

Kind = Literal["model", "dataset"]
BEGUN = {".gitattributes", "README.md"}  # what a new repository may hold


@dataclass(frozen=True)
class Pushed:
    """Where it was uploaded to, and what: names and bytes of its files. `url` is empty after a dry run."""

    repository: str
    files: dict[str, int]
    url: str


def push(
    source: str | Path | Run | Corpus,
    repository: str,
    *,
    private: bool = False,
    update: bool = False,
    license: str | None = None,
    decoder: bool = False,
    videos: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Uploads the encoder of a run, or a corpus, to `owner/name` on the hub, with a card.

    An encoder is exported as transformers reads it, loaded again and compared first; `decoder` adds its decoder. Of a
    corpus the tables and maps are uploaded, as a data set, and only with `videos` its videos. A repository that holds
    files already is left alone, unless `update`, which adds a commit. The token is that of `hf auth login` or HF_TOKEN.
    `RunError` where the hub refuses or cannot be reached; `WeightsError` where transformers has no such model.
    """
    name = repository_of(repository)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / name.split("/")[1]
        kind: Kind = "dataset" if isinstance(source, Corpus) or is_corpus(Path(source)) else "model"
        if kind == "dataset":
            if decoder:
                raise RunError("a corpus has no decoder; leave --decoder away")
            write_dataset(Corpus.of(source), folder, name, license, videos)  # type: ignore[arg-type]
        else:
            if videos:
                raise RunError(f"{source} is no corpus, and --videos uploads those of a corpus; leave it away")
            write_encoder(Path(source), folder, name, license, decoder)
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
        if dry_run:
            return Pushed(name, files, "")
        return Pushed(name, files, upload(folder, name, kind, private, update))


def write_encoder(run: Path, folder: Path, name: str, license: str | None, decoder: bool) -> None:
    export(run, "transformers", folder, decoder=decoder, license=license)
    write_sampling(run, folder)
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + how_to_load(name), encoding="utf-8")


def upload(folder: Path, name: str, kind: Kind, private: bool, update: bool) -> str:
    """The address of the repository, whose files are those of the folder now."""
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise RunError(
            f"pushing needs huggingface_hub ({error}); install it with `pip install 'tubelet[vl]'`"
        ) from None
    client = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        there = client.list_repo_files(name, repo_type=kind) if client.repo_exists(name, repo_type=kind) else []
        if (strange := sorted(set(there) - BEGUN)) and not update:
            raise RunError(
                f"{name} holds {', '.join(strange[:3])} already; name a new repository, or add a commit with --update"
            )
        address = client.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        message = f"Upload {'an encoder' if kind == 'model' else 'a corpus'} of tubelet"
        client.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message=message)
        return str(address)
    except RunError:
        raise
    except Exception as error:  # the hub's client and the network raise of many kinds
        status = getattr(getattr(error, "response", None), "status_code", None)
        remedy = "check the network, or HF_ENDPOINT"
        if status in (401, 403):
            remedy = "log in with `hf auth login` or set HF_TOKEN, with a token that may write there"
        raise RunError(f"{name} could not be pushed ({error_line(error)}); {remedy}") from None


def write_sampling(run: Path, folder: Path) -> None:
    sampling = open_run(run).plan.config.data.sampling
    said = {"kind": type(sampling).__name__, **chz.asdict(sampling)}
    (folder / SAMPLING).write_text(json.dumps(said, indent=2) + "\n")


def how_to_load(name: str) -> str:
    return f'\nWith tubelet: `tubelet.load_encoder("{SCHEME}{name}")`.\n'


def listing(files: dict[str, int]) -> Sequence[str]:
    """A line a file."""
    return [f"  {name}  {size / 1e6:.2f} MB" for name, size in files.items()]
