"""Quality of preprocessing: measures, their definitions and limits, pictures."""
