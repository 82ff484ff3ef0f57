"""What a corpus holds that nobody wants to train on. Start reading at `curate.curate`."""
