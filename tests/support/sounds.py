"""Real files with sound of every sort, and a corpus of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tubelet.corpus.table import Corpus
from tubelet.corpus.write import write_corpus
from tubelet.video.writer import Audio, write_video

SECONDS = 3.0
CODECS = {  # ending, codec of the frames, codec of the sound, samples a second, channels, seconds before it begins
    "flac": ("mkv", "libx264", "flac", 16000, 1, 0.0),
    "flac, 96 kHz, stereo": ("mkv", "libx264", "flac", 96000, 2, 0.0),
    "flac, 8 kHz": ("mkv", "libx264", "flac", 8000, 1, 0.0),
    "aac, 44.1 kHz, stereo": ("mp4", "libx264", "aac", 44100, 2, 0.0),
    "aac, later": ("mp4", "libx264", "aac", 48000, 1, 0.7),
    "opus": ("webm", "libvpx", "libopus", 48000, 2, 0.0),
    "opus, later": ("mkv", "libx264", "libopus", 48000, 1, 0.5),
    "mp3": ("mkv", "libx264", "mp3", 32000, 2, 0.2),
    "samples, 22.05 kHz": ("mkv", "libx264", "pcm_s16le", 22050, 2, 0.3),
}


def pictures(count: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 6, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)


def burst(rate: int, channels: int = 1, hertz: float = 1000.0, begin: float = 1.0, end: float = 1.5) -> np.ndarray:
    """Silence, but for a sine of amplitude .3 from one moment to another."""
    seconds = np.arange(int(rate * SECONDS)) / rate
    one = 0.3 * np.sin(2 * np.pi * hertz * seconds) * ((seconds >= begin) & (seconds < end))
    return np.repeat(one[None], channels, 0)


def write(path: Path, samples: np.ndarray | None, rate: int = 16000, codec: str = "flac", start: float = 0.0) -> None:
    sound = None if samples is None else Audio(samples, rate, codec, start)
    write_video(path, pictures(), 10.0, sound=sound, codec="libvpx" if path.suffix == ".webm" else "libx264")


def write_drifting(path: Path, rate: int, speed: float) -> None:
    """Beeps, one a second by the clock of the file, whose samples come `speed` times as often as they say."""
    block, seconds = 160, 6
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for picture in pictures(10 * seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        for number in range(int(seconds * rate / (speed * block))):
            clock = speed * block * number / rate
            loud = np.full((1, block), 8000 if clock % 1 < 0.2 else 0, np.int16)
            frame = av.AudioFrame.from_ndarray(loud, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(clock * rate), Fraction(1, rate)
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))


def sound_corpus(folder: Path, count: int = 8, silent: tuple[int, ...] = (), length: float = 3.0) -> Corpus:
    """Videos of noise whose class is the height of a tone; some without sound."""
    rows = []
    for number in range(count):
        path = folder / f"{number}.mkv"
        samples = burst(16000, hertz=(400.0, 1600.0)[number % 2], begin=0.0, end=3.0)
        write(path, None if number in silent else samples)
        rows.append(
            {
                "id": str(number), "path": path, "start": 0.0, "end": length, "duration": length, "fps": 10.0,
                "frames": 30, "width": 64, "height": 48, "split": "test" if number % 4 == 3 else "train",
                "label": ("low", "high")[number % 2],
            }
        )  # fmt: skip
    captions = [{"video": row["id"], "text": f"a {row['label']} tone", "source": "subject"} for row in rows]
    return write_corpus(folder / "corpus", "sounds", rows, captions)
