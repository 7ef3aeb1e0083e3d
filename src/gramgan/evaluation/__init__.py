"""Scores under named protocols: of generators, and of results that other programs made."""
