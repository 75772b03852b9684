"""BIDS itself, whatever is computed: names, the files of a dataset, and what stands beside an image.

Read in this order: ``names`` (build names and take them apart), ``metadata`` (sidecars by inheritance, image
headers), ``voxels`` (read to the file's end), ``index`` (which files there are, by pybids), ``fmriprep`` (which of
fMRIPrep's files stand for a run), ``fmriprep_folder`` (is a folder its output), ``fmriprep_index`` (the runs where its
output stands for images), ``behavior`` (tables of people's choices).
"""
