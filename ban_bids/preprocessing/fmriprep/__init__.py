"""fMRIPrep's derivatives in place of our own preprocessing.

Read in this order: ``files`` (where each version keeps what is needed), ``ingest`` (series, masks, confounds as
they are; regions laid on their grid), ``quality`` (the same table of measures as for our own).
"""
