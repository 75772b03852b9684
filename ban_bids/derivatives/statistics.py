"""What each statistical map holds, in words: the definitions that its JSON file repeats."""

from __future__ import annotations

_MOVED = (
    "in which the prediction of each held-out run is moved round in time by its own number of volumes, the same for "
    "all voxels"
)
_RELABELLED = (
    "or, where that would part the presentations of a clip or leave too few arrangements, in which clips change places "
    "in all of theirs"
)


def _p_of(arrangements: str, tested: str) -> str:
    return (
        f"(1 + b) / (1 + m): b of m arrangements, {arrangements}, reach the true correlation with BOLD. Where folds "
        "train on one another's held-out rows the true correlation is first multiplied by the layer's CrossingFactors, "
        f"the joint model's by the square root of 1/2; with {tested}"
    )


_ADJUSTED = "Benjamini-Hochberg false discovery rate over the voxels of the mask"

_TEXTS = {
    "r": (
        "Correlation of predicted and measured BOLD on held-out runs",
        "Pearson r over the scored held-out volumes (repeats averaged where there are any)",
    ),
    "rsquare": (
        "Share of variance predicted on held-out runs",
        "1 - sum of squared residuals / sum of squares about the mean; can be negative",
    ),
    "ccnorm": (
        "Correlation relative to the noise ceiling",
        "r / CCmax (Schoppe et al. 2016); n/a where CCmax squared is not positive or EV1 is under its floor; can "
        "exceed 1 by chance",
    ),
    "psound": (
        "p value of the test that the voxel follows sound",
        _p_of(_MOVED, "the whole prediction, the response to sound at all included"),
    ),
    "pspecific": (
        "p value of the test that the voxel follows these sounds",
        _p_of(
            f"{_MOVED}, {_RELABELLED}",
            "what is left of the prediction without that of the run's mean clip; what all clips of a run have in "
            "common was taken out of both",
        ),
    ),
    "qsound": ("p values of following sound, adjusted for the number of voxels", _ADJUSTED),
    "qspecific": ("p values of following these sounds, adjusted for the number of voxels", _ADJUSTED),
    "share": (
        "Share of the joint model's R squared that falls to this layer",
        "Product measure of the joint banded ridge; the shares of the layers in it sum to its R squared",
    ),
    "unique": (
        "Variance that only this layer predicts",
        "R squared of the joint model minus that of the model of all other layers, which chooses its weights and its "
        "penalty anew on the same inner folds",
    ),
    "alpha": (
        "Ridge penalty of the layer",
        "Chosen on inner folds of the training rows among the penalties of the grid (PenaltiesChosen counts them), on "
        "kernels of mean diagonal 1; geometric mean over folds",
    ),
    "bestlayer": (
        "Layer of the model that predicts the voxel best",
        "Number of the layer (see Levels) with the smallest mean squared error on inner folds of the training runs, "
        "mean over folds; held-out runs have no part in the choice, unless each run is held out in turn. Every voxel "
        "has one, also where no layer predicts: threshold by qsound or qspecific",
    ),
    "ev": (
        "Single-repeat explainable variance",
        "EV1 = SP / TP with TP the mean of the repeats' variances and SP = (N Var(mean) - TP) / (N - 1) less what the "
        "voxel's own noise, cleaned alike, is expected to give in this layout of repeats",
    ),
    "ccmax": (
        "Noise ceiling of the correlation with the mean of the repeats",
        "CCmax = sqrt(SP / Var(mean)) with SP as of EV1; n/a where SP is not positive",
    ),
    "mean": ("Mean correlation over participants", "tanh of the mean over participants of Fisher's z = atanh(r)"),
    "t": (
        "One-sample t over participants",
        "Mean of Fisher's z over participants, divided by its standard error; n - 1 degrees of freedom",
    ),
    "group p": (
        "p value of the one-sample t over participants",
        "One-sided (r greater than 0), Student's t with n - 1 degrees of freedom, uncorrected",
    ),
}

STATISTICS: dict[str, dict[str, str]] = {
    stat: {"Description": description, "Definition": definition, "Units": "arbitrary"}
    for stat, (description, definition) in _TEXTS.items()
}
"""Statistic -> Description, Definition, Units of a map; ``mean``, ``t`` and ``group p`` are of the group."""
