"""Collect people's choices: a web experiment made from a dataset, its local server, and the way back into BIDS.

Nothing but the command line imports this room. Read in this order: ``experiment`` (what is asked about which clips,
and where it lies), ``answers`` (what was answered), ``columns`` (the same in other programs' tables), ``importing``
(into the dataset), ``plan`` (how many people and clips are needed).
"""
