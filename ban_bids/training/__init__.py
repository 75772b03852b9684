"""One way to train and evaluate: BAN, the networks and the low-level models that it is compared with.

Read in this order: ``tracks`` (what is trained on, and what is asked of it), ``datasets`` (folders of classes become
tracks: ``folders`` finds the files, ``fields`` knows speakers and the like, ``cache`` keeps what was decoded),
``splits`` (which tracks train, which validate, which may do neither; ``grouped`` keeps groups whole), ``crops`` (what a
network sees of them, with ``acoustics``), ``settings`` (what fixes a training, and on what it runs), ``schedule`` (the
learning rate, and when it ends), ``train`` (the order of a training, once for all processes), ``fit`` (Lightning: loss,
averaged weights, early stopping; ``auxiliary``: read-outs beside the main one; ``code_losses``: what else is asked of
the areas) or ``low_level`` (scikit-learn), ``readout`` (a linear read-out for a model that has none), ``records`` (the
card, and the state of an unfinished training), ``evaluate`` (answers to whole tracks), ``scores`` (what they are
worth), ``code_measures`` (what a model's layers hold, beside an untrained network's), ``evaluation_report``.

Lightning takes seconds to import, so only ``fit`` does, and only ``train`` imports that, when a network is trained.
"""
