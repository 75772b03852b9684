"""BIDS itself, whatever is computed.

Read in this order: ``names`` (build names and take them apart), ``index`` (which files there are, by pybids).
"""
