"""Measures of a model's code on sounds that it was not trained on: they stand in for cortex, and are not brain data.

Read in this order: ``sounds`` (held-out sounds, and the frames at which layers and targets meet), ``contours`` (pitch
and loudness over time), ``dimension`` (how many directions a layer uses), ``ridge`` (linear maps, fitted on some
recordings and tested on others), ``probes`` (what can be read from a layer linearly), ``tuning`` (how a layer answers
to time and frequency), ``measure`` (all of it for one model), ``comparison`` (a checkpoint beside its untrained twin),
``pictures``.
"""
