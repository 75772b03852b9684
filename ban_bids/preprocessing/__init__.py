"""Raw BIDS images to BOLD in the output space, masks, confounds and auditory regions."""
