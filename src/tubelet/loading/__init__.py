"""From a corpus to batches: what is read, how it is augmented, and the workers that do it."""
