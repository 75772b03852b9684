"""From a BIDS folder to participants, runs and clips on each run's clock.

Read in this order: ``types`` (what there is), ``read`` (the one reading of a dataset, in its order), ``events``
(tables as people write them), ``rules`` (how a dataset describes its stimuli), ``stimuli`` (rows to clips),
``timing`` (clocks of volumes), ``heldout`` (which runs are held out), ``runs`` (which there are and what was played),
``images`` (which of their images can be used), ``people`` (their genre choices), ``describe`` (what ``--dry-run``
prints).
"""
