"""BIDS itself, whatever is computed: names, the files of a dataset, and what stands beside an image.

Read in this order: ``names`` (build names and take them apart), ``metadata`` (sidecars by inheritance, image
headers), ``index`` (which files there are, by pybids), ``behavior`` (tables of people's choices).
"""
