"""The order of everything: what runs after what at the participant and at the group level; nothing else knows it.

Read in this order: ``participant`` (from the dataset to every participant's page), ``candidates`` (the models: loaded
or trained once, leaks refused), ``behavior`` (compared with people, a read-out fitted where there is none),
``scored`` (encoding and scoring of one model wired together), ``kept`` (what later comparisons need), ``summary``
(what was computed, as facts for sidecars and pages), ``outcome`` (how a call ended, for the closing table and the
exit status), ``ended`` (the same, kept over a kill), ``least_memory`` (what ``--mem`` must be at least),
``work_folder`` (what lies there, and how it goes), ``disk_need`` (how much that will be), ``score`` (the participant
level from Python), ``group`` (from derivatives alone) and ``group_table`` (means over participants), ``comparable`` and
``comparison`` (differences and ranks of the models of one output directory), ``overlap`` (the mark of models that know
held-out tracks).

It may import from every room but ``cli``, ``demo`` and ``listen``.
"""
