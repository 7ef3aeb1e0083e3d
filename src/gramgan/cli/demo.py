"""`gramgan demo`."""


def demo() -> None:
    """The main job on sample photographs, with a report."""
