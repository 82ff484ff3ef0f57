"""The clips of a small corpus that a test inspects, and an encoder that is made in no time."""

WORDS = ["clip.size=64", "clip.frames=4", "encoder.width=48", "encoder.depth=1", "encoder.heads=2"]
