"""The pages, one HTML file each, made from derivatives only; ``--reports-only`` makes them again.

Read in this order: ``page`` (plain blocks in, one self-contained page out), ``participant`` and ``group`` (the two
pages), ``models`` (what both say of several models), ``quality`` (of preprocessing), ``methods`` (the methods in
words), ``figures`` (PNG bytes; numbers carry labels, axes units). Templates lie in ``templates/``.
"""
