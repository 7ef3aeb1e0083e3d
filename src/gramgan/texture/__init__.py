"""Texture supervision: what a patch's texture is, and which real texture each patch should look like."""
