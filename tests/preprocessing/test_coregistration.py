"""A BOLD reference finds its T1w image although the coils see one end of the head better."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from ban_bids.preprocessing.files import save_image
from ban_bids.preprocessing.functional import coregister_session
from ban_bids.preprocessing.masks import epi_mask
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.template import template_brain
from ban_bids.preprocessing.space.transforms import apply_affine


def test_receive_field_does_not_tilt_the_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = nib.load(template_brain())
    brain = image.get_fdata(dtype=np.float32)
    truth = rigid_matrix(np.array([3.0, -5, 4, 0.05, -0.03, 0.04]), np.zeros(3))
    bold_affine = truth @ image.affine @ np.diag([4.0, 4, 4, 1])
    t1w_affine = image.affine @ np.diag([2.0, 2, 2, 1])
    t1w = ndimage.gaussian_filter(brain, 0.7)[::2, ::2, ::2]
    bold = ndimage.gaussian_filter(np.where(brain > 1, 130.0 - brain, 0).clip(0), 1.2)[::4, ::4, ::4]
    # the lower slices are missing and signal rises threefold from front to back and bottom to top
    bold = bold[:, :, 9:]
    bold_affine = bold_affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 9], [0, 0, 0, 1.0]])
    place = np.indices(bold.shape) / np.array(bold.shape)[:, None, None, None]
    bold = bold * np.exp(1.1 * (place[2] - place[1])) * 8 + rng.normal(0, 4, bold.shape)
    bold = bold.astype(np.float32)
    found = coregister_session(
        save_image(tmp_path / "reference.nii.gz", bold, bold_affine),
        save_image(tmp_path / "mask.nii.gz", epi_mask(bold), bold_affine),
        save_image(tmp_path / "t1w.nii.gz", t1w, t1w_affine),
        t1w_mask=save_image(tmp_path / "t1w_mask.nii.gz", t1w > 5, t1w_affine),
        folder=tmp_path,
    )
    points = apply_affine(t1w_affine, np.argwhere(t1w > 5)[::50].T.astype(float))
    error = np.linalg.norm(apply_affine(found, points) - apply_affine(truth, points), axis=0)
    assert error.max() < 1.0, f"{error.mean():.2f} mm on average, {error.max():.2f} mm at most"
