"""What this machine is good at, measured once and remembered."""
