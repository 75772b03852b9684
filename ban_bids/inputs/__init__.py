"""From a BIDS folder to participants, runs and clips on each run's clock.

Read in this order: ``types`` (what there is), ``read`` (the one reading of a dataset), ``events``, ``rules`` (how a
dataset describes its stimuli), ``stimuli`` (rows to clips), ``timing`` (clocks of volumes), ``runs``,
``fieldmaps``, ``heldout`` (which runs are held out), ``people`` (their genre choices), ``checks`` and ``describe``
(``--dry-run``).
"""
