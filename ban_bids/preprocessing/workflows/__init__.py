"""Nipype workflow factories, ``init_*_wf``, with their inputs and outputs in the docstrings.

Read in this order: ``participant`` (the whole), ``anatomy``, ``bold`` (one run).
"""
