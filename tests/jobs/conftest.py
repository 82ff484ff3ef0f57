"""Small real files."""

from support.clips import clips_folder, corpus, make_corpus, run, video_file

__all__ = ["clips_folder", "corpus", "make_corpus", "run", "video_file"]
