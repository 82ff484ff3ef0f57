"""A corpus as a data set of the hub: its tables, its current maps and a card; its videos only when asked for.

What is written is itself a corpus, so `Corpus.open("hf://datasets/owner/name")` opens it there. No path of this machine
is in it: a video that lies outside the corpus is named by its id. Start reading at `write_dataset`.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from tubelet.checksums import write_json, write_parquet
from tubelet.corpus.schema import CAPTIONS, MOMENTS, VIDEOS, Video, file_id, read_table
from tubelet.corpus.table import STORE, Corpus
from tubelet.errors import CorpusError
from tubelet.escape import markdown, yaml
from tubelet.formats.card import without_folders
from tubelet.jobs.shards import chosen
from tubelet.remote.address import as_text, is_remote
from tubelet.remote.mirror import is_plain
from tubelet.reports.tables import pipes
from tubelet.stores.maps import Maps
from tubelet.video.members import Member
from tubelet.video.sequences import is_sequence
from tubelet.wording import plural

VIDEO_FOLDER = "videos"
PRIVATE = ("sources", STORE, "checksum")  # what corpus.json says of this machine


def write_dataset(corpus: Corpus, folder: Path, name: str, license: str | None, videos: bool) -> None:
    """Writes it into a folder, which links to large files instead of copying them."""
    folder.mkdir(parents=True)
    paths, files = published(corpus)
    write_tables(corpus, folder, paths)
    maps = link_maps(corpus, folder)
    if videos:
        link_videos(corpus, folder, files)
    about = {key: said for key, said in corpus.about.items() if key not in PRIVATE}
    write_json(folder / "corpus.json", about, indent=2)
    (folder / "README.md").write_text("\n".join(card(corpus, name, license, videos, maps)), encoding="utf-8")


def published(corpus: Corpus) -> tuple[list[str], dict[Path, str]]:
    """The path of every row as others see it, and where in the data set each file of this machine lies."""
    files: dict[Path, str] = {}
    paths = []
    for video in corpus.videos:
        member = Member.of(video.path)
        file = video.path if member is None else member.container
        if is_remote(file):
            paths.append(as_text(video.path))
            continue
        if file not in files:
            files[file] = place_of(corpus, video, file, set(files.values()))
        place = files[file]
        paths.append(place if member is None else str(Member(Path(place), member.offset, member.size).path))
    return paths, files


def place_of(corpus: Corpus, video: Video, file: Path, taken: set[str]) -> str:
    """Where it lies in the corpus; else by its id, or by a number where that is no name for a file."""
    if file.is_relative_to(corpus.folder):
        return file.relative_to(corpus.folder).as_posix()
    own = file_id(video) if Member.of(video.path) is None else file.name
    name = f"{VIDEO_FOLDER}/{own if own.endswith(file.suffix) else own + file.suffix}"
    return name if is_plain(name) and name not in taken else f"{VIDEO_FOLDER}/{len(taken):06d}{file.suffix}"


def write_tables(corpus: Corpus, folder: Path, paths: list[str]) -> None:
    table = read_table(corpus.folder / "videos.parquet", VIDEOS)
    reasons = [without_folders(reason) for reason in table["reason"].to_pylist()]
    for column, values in (("path", paths), ("reason", reasons)):
        table = table.set_column(VIDEOS.get_field_index(column), VIDEOS.field(column), pa.array(values, pa.string()))
    write_parquet(folder / "videos.parquet", table)
    table = read_table(corpus.folder / "captions.parquet", CAPTIONS)
    models = [model and without_folders(model) for model in table["model"].to_pylist()]
    place = CAPTIONS.get_field_index("model")
    write_parquet(
        folder / "captions.parquet", table.set_column(place, CAPTIONS.field(place), pa.array(models, pa.string()))
    )
    if corpus.moments:
        write_parquet(folder / "moments.parquet", read_table(corpus.folder / "moments.parquet", MOMENTS))


def link_maps(corpus: Corpus, folder: Path) -> list[str]:
    """Links the current maps of every name; `trained_on.parquet`, with pictures of what an aligner saw, stays here."""
    names = []
    for root in sorted(path for path in (corpus.folder / Maps.folder).glob("*") if path.is_dir()):
        series = chosen(root)
        shards = [] if series is None else sorted(series.glob("shard-*.arrow"))
        if series is None or not shards:
            continue
        about = (series / "about.json").read_text(encoding="utf-8")
        if without_folders(about) != about:
            raise CorpusError(
                f"{series / 'about.json'} names a folder of this machine; move {root} away to push the rest"
            )
        for path in (root / "current", series / "about.json", *shards):
            link(path, folder / path.relative_to(corpus.folder))
        names.append(json.loads(about)["name"])
    return names


def link_videos(corpus: Corpus, folder: Path, files: Mapping[Path, str]) -> None:
    """Links the files that lie on this machine; those of a URL stay where they are."""
    for file, place in files.items():
        if is_sequence(file):
            raise CorpusError(
                f"{file} is a folder of pictures, which is not uploaded; push a pack of the corpus: "
                f"`tubelet pack {corpus.folder} --out PACK`"
            )
        if file.is_file():
            link(file, folder / place)


def link(path: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    new.symlink_to(path.resolve())


def card(corpus: Corpus, name: str, license: str | None, videos: bool, maps: list[str]) -> list[str]:
    """README.md of the data set, in the format of the hub."""
    tables = ["videos", "captions", *(["moments"] if corpus.moments else [])]
    return [
        "---",
        f"license: {yaml(license or 'unknown')}",
        "tags: [video, tubelet]",
        "configs:",
        *(line for table in tables for line in (f"- config_name: {table}", f"  data_files: {table}.parquet")),
        "---",
        "",
        f"# {markdown(name.split('/')[1])}",
        "",
        *contents(corpus, videos),
        "",
        "## Licence",
        "",
        markdown(license or "") or "Not stated: whoever shares this must say under which licence, with `--license`.",
        "",
        *parts(corpus, maps),
        "## How to load",
        "",
        "```python",
        "import pandas",
        "",
        f'captions = pandas.read_parquet("hf://datasets/{name}/captions.parquet")',
        "```",
        "",
        f'With tubelet: `tubelet.Corpus.open("hf://datasets/{name}")`, or that name wherever a command takes a corpus.',
        f"Corpus {markdown(corpus.name)}, fingerprint {corpus.fingerprint()[:12]}.",
        "",
    ]


def contents(corpus: Corpus, videos: bool) -> list[str]:
    usable = corpus.select("all")
    splits = sorted(Counter(video.split for video in usable).items())
    unused = len(corpus.videos) - len(usable)
    where = "The files of the videos are in this repository, where the column `path` says."
    if not videos:
        where = (
            "The videos are not in this repository. Whoever has the same files puts them where the column `path` says, "
            "beside the tables; maps find them by their content."
        )
    return [
        f"{plural(len(usable), 'video')}, {sum(video.duration for video in usable) / 3600:.2g} h: "
        f"{', '.join(f'{markdown(split)} {count}' for split, count in splits) or 'none'}; "
        f"{plural(len({video.group for video in usable}), 'group')}.",
        *([f"{plural(unused, 'row')} more cannot be used or were left out (`status`, `keep`)."] if unused else []),
        where,
    ]


def parts(corpus: Corpus, maps: list[str]) -> list[str]:
    """Classes, captions and maps, of those that there are."""
    models = {caption.source: without_folders(caption.model) for caption in corpus.captions if caption.model}
    sources = sorted(Counter(caption.source for caption in corpus.captions).items())
    lines = []
    if corpus.labels:
        lines += ["## Classes", "", f"{len(corpus.labels)}: {', '.join(map(markdown, corpus.labels))}.", ""]
    if sources:
        rows = [(source, str(count), models.get(source, "")) for source, count in sources]
        lines += ["## Captions", "", *pipes(("source", "captions", "model"), rows), ""]
    if maps:
        lines += ["## Maps", "", f"{', '.join(map(markdown, maps))}: Arrow files in `maps/`, a row a map.", ""]
    return lines
