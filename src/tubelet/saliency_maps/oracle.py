"""The truth as maps, for corpora of `tubelet synth`: what no method that looks at pixels can beat.

`oracle` is the share of every cell that the subject covers, frame by frame; `oracle_flow` how far what is seen there
moves to the next frame, exactly, the last frame included. Start reading at `fill`.
"""

from functools import partial
from pathlib import Path

import numpy as np

from tubelet.corpus.table import Corpus, Video
from tubelet.errors import CorpusError, VideoError
from tubelet.jobs.runner import Work
from tubelet.progress import Progress, silent
from tubelet.saliency_maps.filling import Filled, Map, Running, alone, fill_maps, task_of, usable
from tubelet.saliency_maps.vectors import to_cells
from tubelet.stores.maps import MapsWriter, map_grid
from tubelet.synthetic import VERSION, truth
from tubelet.video.reader import frame_duration, timestamps

NAME, FLOW = "oracle", "oracle_flow"
Job = tuple[Path, str, Path, float, str | None]


def fill(corpus: Corpus, cells: int = 14, running: Running | None = None, progress: Progress = silent) -> Filled:
    """Both maps of every usable video, with `cells` along the short side."""
    if "synth" not in corpus.about:
        raise CorpusError(f"{corpus.folder} holds no truth about its clips; only corpora of `tubelet synth` do")
    videos = usable(corpus)
    method = {"truth": VERSION, "cells": cells}
    with (
        MapsWriter(corpus, NAME, "scalar", method) as subject,
        MapsWriter(corpus, FLOW, "vector", method) as flow,
    ):
        has = {video.id: subject.has(video, "") and flow.has(video, "") for video in videos}
        tasks = [task_of(video, [job(corpus, video)]) for video in videos]
        work, writers = Work(partial(look_up, cells=cells), whole=alone), {NAME: subject, FLOW: flow}
        return fill_maps(writers, videos, tasks, work, lambda task: has[task.name], running, progress)


def job(corpus: Corpus, video: Video) -> Job:
    return corpus.folder, video.id, video.path, video.fps, video.reading


def look_up(job: Job, cells: int) -> dict[tuple[str, str], Map]:
    """The maps of one clip."""
    folder, name, path, fps, reading = job
    known = truth(folder, name)
    frames, height, width = known.owner.shape
    times = timestamps(path, reading)
    if len(times) != frames:
        raise VideoError(f"the file holds {len(times)} frames and the truth {frames}")
    rows, columns = map_grid(height, width, cells)
    moves = known.flow / np.array([width, height], np.float32)
    flow = np.stack([to_cells(moves[..., axis], rows, columns) for axis in (0, 1)], axis=-1)
    ends = np.append(times, times[-1] + frame_duration(times, fps))
    return {(NAME, ""): (to_cells(known.mask.astype(np.float32), rows, columns), times), (FLOW, ""): (flow, ends)}
