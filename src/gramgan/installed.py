"""Which packages and modules are installed; nothing is imported to find out."""

import importlib.metadata
import importlib.util


def is_installed(module: str) -> bool:
    """Whether `import module` would find something."""
    return importlib.util.find_spec(module) is not None


def package_version(name: str) -> str:
    """Version of an installed package, "" where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
