"""Collect people's choices: a web experiment made from a dataset, its local server, and the way back into BIDS.

Nothing but the command line imports this room. Read in this order: ``experiment`` (what is asked about which clips,
and where it lies), ``texts`` (what people read), ``make`` (the folder, from a dataset), ``schedule`` (each
person's order), ``store`` (sessions and answers on the disk), ``server`` (personal links, sounds, answers),
``answers`` (all that was answered), ``exported`` (the same in other programs' tables, by a map of ``columns``;
``records``: their rows), ``importing`` (into the dataset), ``plan`` (how many people and clips are needed).
"""
