"""HR to LR, batched, on the device."""
