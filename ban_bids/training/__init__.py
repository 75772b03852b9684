"""One way to train and to evaluate networks, for BAN and what it is compared with.

Read in this order: ``train`` (from a folder of genres to a checkpoint), ``settings`` (what fixes a training),
``datasets`` and ``splits`` (tracks, and who trains), ``cache`` (decoded audio), ``crops`` and ``augmentation``
(what the network sees), ``module``, ``fit``, ``callbacks``, ``stopping``, ``clock`` and ``hardware`` (the training
itself), ``resume`` and ``lock`` (going on after a kill, once for all processes), ``card``, ``low_level``
(read-outs), ``evaluate`` with ``evaluation_scores``, ``evaluation_report`` and ``evaluation_figures``.
"""
