"""`tubelet inspect`: a page in the browser over a corpus and its runs. Start reading at `inspector.inspect`."""
