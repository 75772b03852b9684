"""Raw BIDS images to BOLD in the output space, masks, confounds and auditory regions; or fMRIPrep's derivatives.

Read in this order: ``run`` (all participants in one Nipype workflow), ``result`` (what is handed on), then the
rooms ``workflows`` (factories), ``interfaces`` (typed nodes), ``space`` (realign, register, resample),
``fmriprep``. The steps: ``checks`` (of options), ``anatomy``, ``masks``, ``functional`` (one run), ``distortion``,
``confounds``, ``strategies`` (what ``--confounds`` takes out), ``atlases``, ``regions``, ``figures``, ``quality``
and ``quality_figures``. How nodes run: ``execution``; why they failed: ``crashes``.
What is kept: ``publish``, ``files``; how much that will be: ``on_disk``.
"""

import os

# ITK reads this once, at its first filter: registrations repeat bit for bit only with one thread.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
