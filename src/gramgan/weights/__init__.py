"""Weight files: reading and writing them, their cards, and the table of known ones."""
