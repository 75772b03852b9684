"""fMRIPrep's derivatives in place of our own preprocessing."""
