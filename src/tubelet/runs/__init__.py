"""A run on disk: its folder, how it is started and resumed, fine-tuned, imported and opened again."""
