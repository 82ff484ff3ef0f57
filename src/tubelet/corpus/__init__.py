"""What videos there are: the table of a corpus, and how it is made of folders, lists and official data sets."""
