"""From a BIDS folder to participants, runs and clips on each run's clock.

Read in this order: ``types`` (what there is), ``missing`` (what is not there), ``read`` (the one reading of a
dataset, in its order), ``events``
(tables as people write them), ``rules`` (how a dataset describes its stimuli), ``stimuli`` (rows to clips),
``timing`` (clocks of volumes), ``runs`` (images and events together), ``heldout`` (which runs are held out),
``people`` (their genre choices), ``notes`` (each told once), ``describe`` (what ``--dry-run`` prints) with
``fetch`` (how missing files are got).
"""
