"""Quality of preprocessing: measures, their definitions and limits, pictures.

Read in this order: ``definitions`` (what each measure is, with source), ``thresholds`` (values, limits, words of
warnings), ``measures`` (formulas on arrays), ``assess`` (all of a participant), ``carpet`` and ``figures``
(pictures).
"""
