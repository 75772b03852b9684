"""Ridge and banded ridge on arrays, a small himalaya: no runs, no files, no settings.

Read in this order: ``solvers`` (estimators in scikit-learn's conventions: our closed form, and himalaya's search),
``closed_form`` (a ridge problem and its fits), ``bands`` (eigenvectors of weighted kernels), ``search`` (weights
and penalty of every voxel by the error of left-out runs), ``weights`` (points on the simplex), ``limits`` (memory
and threads), ``backend`` (which solver, which arrays, which device).

Columns have mean 0 in every run: there is no intercept.
"""
