"""From a picture of any size to one four times larger: tiles, the engine that runs them, and its backends."""
