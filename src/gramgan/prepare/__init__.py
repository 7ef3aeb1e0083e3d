"""Making a folder of photographs ready to train on: checked, reported, cut into sub-images."""
