"""One way to train and evaluate: BAN, the networks and the low-level models that it is compared with.

Read in this order: ``datasets`` (a folder of genres becomes tracks; ``cache`` keeps what was decoded), ``splits``
(which tracks train, which validate, which may do neither), ``crops`` (what a network sees of them), ``settings`` (what
fixes a training, and on what it runs), ``train`` (the order of a training, once for all processes), ``fit`` (Lightning:
loss, schedule, averaged weights, early stopping) or ``low_level`` (scikit-learn), ``readout`` (a linear read-out for a
model that has none), ``records`` (the card, and the state of an unfinished training), ``evaluate`` (answers to whole
tracks), ``scores`` (what they are worth), ``code_measures`` (what a model's layers hold, beside an untrained
network's), ``evaluation_report``.

Lightning takes seconds to import, so only ``fit`` does, and only ``train`` imports that, when a network is trained.
"""
