"""Training: from settings and photographs to weights."""
