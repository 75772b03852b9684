"""Nipype workflow factories, ``init_*_wf``, with their inputs and outputs in the docstrings.

Read in this order: ``participant`` (the whole), ``anat``, ``bold`` (one run), ``rois`` (regions), ``base`` (what
all share).
"""
