"""Nipype workflow factories: anatomy, one BOLD run, regions, one participant."""
