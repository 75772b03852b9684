"""Raw BIDS images to BOLD in the output space, masks, confounds and auditory regions; or fMRIPrep's derivatives.

Read in this order: ``run`` (all participants in one Nipype workflow), ``result`` (what is handed on), then the
rooms ``workflows`` (factories), ``interfaces`` (typed nodes), ``space`` (realign, register, resample), ``quality``,
``fmriprep``. The steps: ``anatomy``, ``average``, ``without_t1w``, ``masks``, ``functional``, ``distortion``,
``confounds``, ``compcor``, ``strategies`` (what ``--confounds`` takes out), ``atlases``, ``regions``, ``targets``,
``figures``. How nodes run: ``plugin``, ``plugin_file``, ``lock``. What is kept: ``publish``, ``publish_anat``,
``files``.
"""

import os

# ITK reads this once, at its first filter: registrations repeat bit for bit only with one thread.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
