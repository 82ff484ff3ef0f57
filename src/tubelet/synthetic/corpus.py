"""A synthetic dataset as a corpus folder: real H.264 files, the two tables, and the truth of every clip.

`videos/ID.mp4` and `truth/ID.npz` are written clip by clip, so an interrupted call resumes where it stopped;
`truth/clips.parquet` says in words what each clip shows; the tables come last. `synth.json` marks the folder as ours.
Of `synth-2` the videos are `ID.mkv`, with sound, and `sensors/ID.parquet` lies beside each; `synth-long-1` has moments.
"""

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from tubelet.checksums import Damaged, read_json, read_npz, read_parquet, write_json, write_npz, write_parquet
from tubelet.corpus.table import Corpus
from tubelet.errors import CorpusError
from tubelet.files import remove_leftovers, within
from tubelet.progress import Progress, silent
from tubelet.synthetic import context, faces, long
from tubelet.synthetic.render import Rendered, Truth, render_scene
from tubelet.synthetic.scene import Scene, draw_captions, draw_scene

VERSION = "synth-1"
KINDS = (VERSION, faces.VERSION, "synth-long")  # asked for by name; `synth-context-1` by its strength
SIZES = {"synth-long": (180, 60, 64)}  # training and test clips and pixels, where not as of the others
MARK = "synth.json"


@dataclass(frozen=True)
class Size:
    """What is rendered. A clip is a function of (seed, split, index, pixels, frames): more clips change none.

    With `context` it is `synth-context-1`, whose surroundings speak for the subject with this strength, 0 to 1; with
    `faces` it is `synth-2`; with `long` it is `synth-long-1`, of whose scenes `frames` is the mean length."""

    train: int = 1200
    test: int = 400
    seed: int = 0
    pixels: int = 96
    frames: int = 32
    fps: int = 15
    context: float | None = None
    faces: Literal[True] | None = None
    long: Literal[True] | None = None

    def __post_init__(self) -> None:
        if sum((self.context is not None, bool(self.faces), bool(self.long))) > 1:
            raise CorpusError("synth-2, synth-long and synth-context-1 are datasets of their own; ask for one of them")
        if self.context is not None and not 0 <= self.context <= 1:
            raise CorpusError(f"context={self.context:g} must be from 0 to 1")
        if self.train < 1 or self.test < 0 or self.frames < 2 or self.fps < 1:
            raise CorpusError("a synthetic dataset needs at least 1 training clip, 2 frames and 1 frame a second")
        if self.pixels < 32 or self.pixels % 2:
            raise CorpusError(f"frames of {self.pixels} pixels cannot be rendered; --size must be even and at least 32")

    @classmethod
    def of(
        cls,
        kind: str = VERSION,
        train: int | None = None,
        test: int | None = None,
        pixels: int | None = None,
        **other: Any,
    ) -> "Size":
        """Of the dataset of this name; what is not said is as that has it."""
        if kind not in KINDS:
            raise CorpusError(f"there is no synthetic dataset {kind!r}; one of: {', '.join(KINDS)}")
        own = SIZES.get(kind, (cls.train, cls.test, cls.pixels))
        train, test, pixels = (
            mine if said is None else said for said, mine in zip((train, test, pixels), own, strict=True)
        )
        faced, long = kind == faces.VERSION or None, kind == "synth-long" or None
        return cls(train, test, pixels=pixels, faces=faced, long=long, **other)

    @property
    def clips(self) -> list[tuple[str, int]]:
        return [("train", index) for index in range(self.train)] + [("test", index) for index in range(self.test)]

    @property
    def version(self) -> str:
        if self.faces or self.long:
            return faces.VERSION if self.faces else long.VERSION
        return VERSION if self.context is None else context.VERSION

    def video(self, name: str) -> str:
        """Where a clip lies in the corpus."""
        return f"videos/{name}.mkv" if self.faces else f"videos/{name}.mp4"

    @property
    def folders(self) -> tuple[str, ...]:
        return ("videos", "truth", "sensors") if self.faces else ("videos", "truth")

    @property
    def mark(self) -> dict[str, Any]:
        """What a corpus says of itself; `context` where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def render(self, split: str, index: int) -> Rendered:
        if self.faces:
            return faces.render_face(index, self.seed, split, self.pixels, self.frames, self.fps)
        if self.long:
            return long.render_story(index, self.seed, split, self.pixels, self.frames)
        return render_scene(self.scene(split, index), self.pixels)

    def scene(self, split: str, index: int) -> Scene:
        if self.faces:
            return faces.draw_face(index, self.seed, split, self.frames).scene
        if self.context is None:
            return draw_scene(index, self.seed, split, self.frames)
        return context.draw_scene(index, self.context, self.seed, split, self.frames)

    def said(self, split: str, index: int) -> "Said":
        """What the tables say of a clip."""
        if self.long:
            story = long.draw_story(index, self.seed, split, self.frames)
            words: dict[str, Any] = {
                "order": story.label,
                "verbs": list(story.verbs),
                "subjects": [f"{scene.subject.colour} {scene.subject.shape}" for scene in story.scenes],
                "cuts": [cut / self.fps for cut in story.cuts],
                "light": list(story.light),
            }
            captions = long.captions_of(story, index, self.seed, split, self.fps)
            return Said(story.label, story.frames, captions, words, long.moments_of(story, self.fps))
        scene = self.scene(split, index)
        subject, *others = scene.things
        words = {
            "shape": subject.shape,
            "colour": subject.colour,
            "verb": subject.motion,
            "held_out": scene.held_out,
            "camera": scene.camera,
            "ground": scene.ground.kind,
            "distractors": [f"{thing.colour} {thing.shape} {thing.motion}" for thing in others],
            **({} if self.context is None else context.cues_of(scene)),
            **(faces.words_of(faces.draw_face(index, self.seed, split, self.frames)) if self.faces else {}),
        }
        texts = (
            list(draw_captions(index, scene, self.seed, split, self.version).items())
            if self.context is None
            else context.draw_captions(index, scene, self.seed, split)
        )
        return Said(subject.motion, self.frames, [(source, text, None) for source, text in texts], words)


@dataclass(frozen=True)
class Said:
    """What the tables say of a clip."""

    label: str
    frames: int
    captions: Sequence[tuple[str, str, float | None]]  # source, text, seconds
    words: Mapping[str, Any]  # of the truth
    moments: Sequence[tuple[float, float, str]] = ()  # start, end, label


def write_synth(folder: Path, size: Size, workers: int = 1, progress: Progress = silent) -> int:
    """Renders what is missing of the corpus and writes its tables; returns how many clips were rendered now.

    A folder that holds anything else, or a dataset drawn otherwise or larger, is left alone: `CorpusError`.
    """
    folder = Path(folder)
    claim(folder, size)
    missing = [clip for clip in size.clips if not is_done(folder, *clip)]
    total = len(size.clips)
    progress(total - len(missing), total, "")
    work = partial(write_clip, folder, size)
    if workers > 1 and len(missing) > 2 * workers:
        # spawned, not forked: a fork of a process that runs threads can hang
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            count(pool.imap_unordered(work, missing, chunksize=4), total - len(missing), total, progress)
    else:
        count(map(work, missing), total - len(missing), total, progress)
    if missing or not (folder / "corpus.json").exists():
        write_tables(folder, size)
    return len(missing)


def synth(
    out: str | Path,
    train: int | None = None,
    test: int | None = None,
    *,
    seed: int = 0,
    size: int | None = None,
    frames: int = 32,
    context: float | None = None,
    kind: str = VERSION,
    workers: int = 1,
    progress: Progress = silent,
) -> Corpus:
    """Renders the synthetic dataset `synth-1` into the corpus folder `out`: training and test clips of `size` x `size`
    pixels, with labels, captions, and the truth of each clip. Interrupted, the same call resumes; more clips may be
    added later. With `context`, 0 to 1, it is `synth-context-1`: surroundings that speak for the subject with this
    strength, captions as people write them; with `kind="synth-2"` subjects wear faces, are heard and carry sensors;
    with `kind="synth-long"` videos have five scenes, whose moments are known. Where no numbers are given there are 1200
    training and 400 test clips of 96 pixels, of synth-long 180 and 60 of 64. A script that asks for more `workers`
    (processes) than one needs the usual `if __name__ == "__main__":`, as they are spawned."""
    asked = Size.of(kind, train, test, size, seed=seed, frames=frames, context=context)
    write_synth(Path(out).expanduser(), asked, workers, progress)
    return Corpus.open(out)


class Mark(TypedDict):
    """What the file says that marks a folder as ours."""

    version: str
    train: int
    test: int
    seed: int
    pixels: int
    frames: int
    fps: int


def claim(folder: Path, size: Size) -> None:
    """Makes the folder ours, or finds that it is, or refuses."""
    mark = folder / MARK
    for part in (folder, *(folder / name for name in size.folders)):
        remove_leftovers(part)
    if mark.exists():
        there: dict[str, Any] = dict(
            read_json(mark, Mark, CorpusError, "restore it, or name another folder with --out")
        )
        wanted: dict[str, Any] = {"version": size.version, **size.mark}
        for name in ("version", "seed", "pixels", "frames", "fps", "context", "faces", "long"):
            if there.get(name) != wanted.get(name):
                raise CorpusError(
                    f"{folder} holds {there['version']} with {name}={there.get(name)}, not {wanted.get(name)}; "
                    "name another folder with --out"
                )
        for name in ("train", "test"):
            if there[name] > wanted[name]:
                raise CorpusError(
                    f"{folder} already holds {there[name]} {name} clips, more than {wanted[name]}; "
                    "use it as it is, or name another folder with --out"
                )
        if all(there[name] == wanted[name] for name in ("train", "test")):
            return
        (folder / "corpus.json").unlink(missing_ok=True)  # until the larger tables are there, it is not complete
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists and is no {size.version} corpus; name a new or empty folder with --out")
    write_json(mark, {"version": size.version, **size.mark})
    for name in size.folders:
        (folder / name).mkdir(exist_ok=True)


def count(results: Iterable[None], done: int, total: int, progress: Progress) -> None:
    for number, _ in enumerate(results, start=done + 1):
        progress(number, total, "")


def clip_id(split: str, index: int) -> str:
    return f"{split}-{index:05d}"


def is_done(folder: Path, split: str, index: int) -> bool:
    return (folder / "truth" / f"{clip_id(split, index)}.npz").exists()


def write_clip(folder: Path, size: Size, clip: tuple[str, int]) -> None:
    """One clip: the video first, its truth last, each complete or absent."""
    import pyarrow as pa

    from tubelet.video.writer import Audio, write_video

    split, index = clip
    rendered = size.render(split, index)
    name = clip_id(split, index)
    fast = {"preset": "superfast"}  # as near to the pixels as the slower presets, at a third of their time
    sound = None
    if isinstance(rendered, faces.Seen):
        sound = Audio(rendered.sound[None], faces.RATE)
        table = pa.table(faces.rows_of_sensors(rendered.sensors))
        write_parquet(folder / "sensors" / f"{name}.parquet", table)
    write_video(folder / size.video(name), rendered.frames, float(size.fps), options=fast, sound=sound)
    write_truth(folder / "truth" / f"{name}.npz", rendered)


def write_truth(path: Path, rendered: Rendered) -> None:
    truth = rendered.truth
    content = {"owner": truth.owner, "scale": truth.scale, "turn": truth.turn, "place": truth.position}
    parts = {} if truth.parts is None else {"parts": truth.parts}
    write_npz(path, {**content, **parts, "camera": np.array(truth.camera)})


def has_truth(corpus: Corpus) -> bool:
    """Whether it is a synthetic dataset with its truth beside the clips, which a copy or a pack of it lacks."""
    return "synth" in corpus.about and (corpus.folder / "truth").is_dir()


def truth(corpus: Any, video: Any) -> Truth:
    """What is known about a clip: `corpus` a Corpus or its folder, `video` a Video of it or its id."""
    folder, name = Path(getattr(corpus, "folder", corpus)), getattr(video, "id", video)
    path = within(folder / "truth", f"{name}.npz")
    if not path.exists():
        raise CorpusError(f"{folder} holds no truth about {name}; only clips of `tubelet synth` have one")
    remedy = "delete it and run `tubelet synth` again"
    parts = ["parts"] if (folder / "sensors").exists() else []
    stored = read_npz(path, ("owner", "scale", "turn", "place", *parts, "camera"), CorpusError, remedy)
    return Truth(
        stored["owner"], stored["scale"], stored["turn"], stored["place"], str(stored["camera"]), stored.get("parts")
    )


def truth_in_words(folder: Path) -> dict[str, list[Any]] | None:
    """What `truth/clips.parquet` says of each clip, a list a column; None where there is none.

    `moving_distractors` is said beside it: whether all, some or none of the distractors move.
    """

    path = folder / "truth" / "clips.parquet"
    if not path.exists():
        return None
    try:
        said = read_parquet(path).to_pydict()
    except (OSError, Damaged) as error:
        raise CorpusError(f"{path} is damaged ({error}); run `tubelet synth` again") from None
    if "distractors" in said:
        moving = [[not thing.endswith(" still") for thing in things] for things in said["distractors"]]
        said["moving_distractors"] = ["all" if all(some) else "some" if any(some) else "none" for some in moving]
    return said


def write_tables(folder: Path, size: Size) -> None:
    """The videos, captions and truth tables, from the draws and the files; `corpus.json` makes the corpus complete."""
    import pyarrow as pa

    from tubelet.corpus.content import content_columns
    from tubelet.corpus.write import write_corpus

    videos: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    clips: list[dict[str, Any]] = []
    moments: list[dict[str, Any]] = []
    for split, index in size.clips:
        name = clip_id(split, index)
        said = size.said(split, index)
        duration = said.frames / size.fps
        videos.append(
            {
                "id": name,
                "path": size.video(name),
                "start": 0.0,
                "end": duration,
                "duration": duration,
                "fps": float(size.fps),
                "frames": said.frames,
                "width": size.pixels,
                "height": size.pixels,
                "codec": "h264",
                "label": said.label,
                "split": split,
                "group": name,
                "status": "ok",
                "reason": "",
                **content_columns(folder / size.video(name)),
            }
        )
        captions += [
            {"video": name, "text": text, "source": source, "time": time} for source, text, time in said.captions
        ]
        moments += [{"video": name, "start": start, "end": end, "label": label} for start, end, label in said.moments]
        clips.append({"video": name, "split": split, **said.words})
    write_parquet(folder / "truth" / "clips.parquet", pa.Table.from_pylist(clips))
    write_corpus(folder, size.version, videos, captions, {"synth": size.mark}, moments=moments)
