"""Where voxels are: motion, registration, resampling and transforms, on arrays and ANTs images.

Read in this order: ``template`` (spaces and grids), ``transforms`` (as points see them), ``realign`` (head motion),
``register`` (ANTs: rigid, SyN, N4), ``resample`` (slice timing and the one interpolation in space).
"""
