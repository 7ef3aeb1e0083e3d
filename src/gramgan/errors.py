"""The one exception that a user is meant to read, and what he reads of all others where they must not end a job."""

import logging

_log = logging.getLogger(__name__)


class UserError(Exception):
    """Something that the user can put right.

    The message is one line: which file or key, what is wrong with it, what to do. The command line prints it without a
    traceback and exits with code 2; any other exception is a defect of the program and keeps its traceback.
    """


class ReportedError(UserError):
    """The same in a process that need not say it, because another one of those that train together does."""


class WriteFailedError(UserError):
    """A file could not be written: the disk is full or read-only. It is no fault of what was to be written."""


class BusyError(UserError):
    """Another process is writing this very file."""


class ForeignFileError(OSError):
    """In place of one of the program's own files stands a link, or a file of somebody else."""


def message_of(error: Exception, most: int = 300) -> str:
    """What another library's error says, on one line of at most so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def in_one_line(error: Exception, name: object) -> str:
    """What a list of failures says of `name`, one of many files; the log has the traceback of a defect, at DEBUG."""
    if isinstance(error, UserError):
        return str(error)
    _log.debug("%s", name, exc_info=error)
    what = next(iter(str(error).splitlines()), "")
    kind = type(error).__name__
    return f"{name}: a defect of the program or its libraries ({f'{kind}: {what}' if what else kind}); see it with -v"
