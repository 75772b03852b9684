"""What each statistical map holds, in words: the definitions that its JSON file repeats."""

from __future__ import annotations

from types import MappingProxyType

STATISTICS: MappingProxyType[str, dict[str, str]] = MappingProxyType(
    {
        "r": {
            "Description": "Correlation of predicted and measured BOLD on held-out runs",
            "Definition": "Pearson r over the scored held-out volumes (repeats averaged where there are any)",
            "Units": "arbitrary",
        },
        "rsquare": {
            "Description": "Share of variance predicted on held-out runs",
            "Definition": "1 - sum of squared residuals / sum of squares about the mean; can be negative",
            "Units": "arbitrary",
        },
        "ccnorm": {
            "Description": "Correlation relative to the noise ceiling",
            "Definition": "r / CCmax (Schoppe et al. 2016); n/a where CCmax squared is not positive or "
            "EV1 is under its floor; can exceed 1 by chance",
            "Units": "arbitrary",
        },
        "p": {
            "Description": "p value of the prediction by permuting blocks of the held-out runs",
            "Definition": "(1 + b) / (1 + m): b of m block permutations, the same for all voxels, reach the "
            "correlation of BOLD with the prediction; PermutationTests says whether the response to the "
            "run's mean clip was first taken out of it. With leave-one-run-out the correlation's distance "
            "from its mean over arrangements is multiplied by the layer's CrossingFactors, the joint model's "
            "by the square root of 1/2",
            "Units": "arbitrary",
        },
        "q": {
            "Description": "p values adjusted for the number of voxels",
            "Definition": "Benjamini-Hochberg false discovery rate over the voxels of the mask",
            "Units": "arbitrary",
        },
        "share": {
            "Description": "Share of the joint model's R squared that falls to this layer",
            "Definition": "Product measure of the joint banded ridge; the four layers' shares sum to its R squared",
            "Units": "arbitrary",
        },
        "unique": {
            "Description": "Variance that only this layer predicts",
            "Definition": "R squared of the joint model minus that of the joint model without this layer",
            "Units": "arbitrary",
        },
        "bestlayer": {
            "Description": "Layer of the model that predicts the voxel best",
            "Definition": "Number of the layer (see Levels) with the smallest mean squared error on inner "
            "folds of the training runs, mean over folds; held-out runs have no part in the choice, unless "
            "each run is held out in turn. Every voxel has one, also where no layer predicts: threshold by q",
            "Units": "arbitrary",
        },
        "ev": {
            "Description": "Single-repeat explainable variance",
            "Definition": "EV1 = SP / TP with SP = (N Var(mean) - TP) / (N - 1) and TP the mean of the "
            "repeats' variances",
            "Units": "arbitrary",
        },
        "ccmax": {
            "Description": "Noise ceiling of the correlation with the mean of the repeats",
            "Definition": "CCmax = sqrt(SP / Var(mean)); n/a where SP is not positive",
            "Units": "arbitrary",
        },
        "mean": {
            "Description": "Mean correlation over participants",
            "Definition": "tanh of the mean over participants of Fisher's z = atanh(r)",
            "Units": "arbitrary",
        },
        "t": {
            "Description": "One-sample t over participants",
            "Definition": "Mean of Fisher's z over participants, divided by its standard error; n - 1 "
            "degrees of freedom",
            "Units": "arbitrary",
        },
    }
)
"""Statistic -> Description, Definition, Units of a participant's map (``mean`` and ``t``: of the group)."""

GROUP_P = {
    "Description": "p value of the one-sample t over participants",
    "Definition": "One-sided (r greater than 0), Student's t with n - 1 degrees of freedom, uncorrected",
    "Units": "arbitrary",
}
"""The group's ``p`` map, which is no permutation p."""
