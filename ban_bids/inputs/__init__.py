"""From a BIDS folder to participants, runs and clips on each run's clock.

Read in this order: ``types`` (what there is), ``missing`` (what is not there), ``read`` (the one reading of a dataset,
in its order), ``events`` (tables as people write them), ``rules`` (how events become clips) and ``rule_files`` (their
TOML, and which is the dataset's), ``joined`` (tables that rules join), ``unheard`` (rows that are no sound),
``stim_ids`` (BIDS's identifiers), ``sound_files`` (a sound by its name), ``excerpts`` (a stretch of it), ``stimuli``
(rows to clips), ``played`` (the clips of a run), ``hearing`` (those of all runs), ``starting_rule`` (what to say of
events that cannot be understood), ``timing`` (clocks of volumes), ``runs`` and ``images`` (one participant's),
``derivatives`` (fMRIPrep's files in place of images), ``heldout`` (which runs are held out), ``people`` (their genre
choices), ``notes`` (each told once), ``describe`` (what ``--dry-run`` prints) with ``fetch`` (how missing files are
got).
"""
