"""A small corpus of clips that brighten or darken."""

from support.brightness import clip, data, small

__all__ = ["clip", "data", "small"]
