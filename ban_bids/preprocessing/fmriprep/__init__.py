"""fMRIPrep's derivatives in place of our own preprocessing.

Files of runs are found while the dataset is read (`ban_bids.inputs.derivatives`). Read in this order: ``files`` (where
each version keeps the anatomy), ``ingest`` (series, masks, confounds as they are; regions laid on their grid),
``quality`` (the same table of measures as for our own).
"""
