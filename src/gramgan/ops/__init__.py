"""The bottom layer: resizing, luma, patches and box filters over tensors. Imports nothing of the package."""
