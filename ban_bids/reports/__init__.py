"""The pages, one HTML file each, made from derivatives only; ``--reports-only`` makes them again.

Read in this order: ``page`` (plain blocks in, one self-contained page out), ``participant`` and ``group`` (the two
pages), ``answer`` (the sentences they open on), ``comparison`` (several models beside each other), ``models`` (one
model), ``failures`` (what is missing, and why), ``quality`` (of preprocessing), ``methods`` (the methods in words),
``citation`` (what to cite), ``figures`` and ``model_figures`` (PNG bytes; numbers carry labels, axes units). Templates
lie in ``templates/``.
"""
