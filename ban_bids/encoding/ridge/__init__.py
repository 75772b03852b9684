"""Ridge and banded ridge on arrays, a small himalaya: no runs, no files, no settings.

Read in this order: ``solvers`` (the estimator in scikit-learn's conventions, by our closed form or himalaya's
search), ``hyperparameters`` (what is chosen from, and what was chosen), ``bands`` (features or kernels, behind one
interface), ``closed_form`` (a ridge problem and its fits), ``refitted`` (inner folds that are fitted on their own
rows), ``search`` (weights and penalty of every voxel by the error of left-out rows), ``limits`` (memory and threads),
``backend`` (which solver, which arrays, which device).

Columns have mean 0 in every run: there is no intercept.
"""
