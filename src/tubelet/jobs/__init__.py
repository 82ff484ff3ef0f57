"""Work over thousands of files that may fail, hang or be killed: a pool of processes, and what is done so far."""
