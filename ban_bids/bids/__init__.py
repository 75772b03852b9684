"""BIDS itself, whatever is computed: names, the files of a dataset, and what stands beside an image.

Read in this order: ``names`` (build names and take them apart), ``ignored`` (which files ``.bidsignore`` names),
``listing`` (which files lie where BIDS wants them), ``metadata`` (sidecars by inheritance, image headers), ``images``
(orientation, copies), ``index`` (which images are asked for, by pybids), ``fmriprep`` (which of fMRIPrep's files stand
for a run), ``fmriprep_folder`` (is a folder its output), ``fmriprep_index`` (the runs where its output stands for
images), ``behavior`` (tables of people's choices).
"""
