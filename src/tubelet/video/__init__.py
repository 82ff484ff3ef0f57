"""Pixels of a moment: files and image sequences decoded, clips sampled, cropped and viewed."""
