"""Files of every kind, one way each: whole or not at all.

Read in this order: ``write`` (atomic writes of text, JSON, TSV and maps), ``arrays`` (arrays with checksums),
``locks`` (one process at a time), ``progress`` (how far along, how long).
"""
