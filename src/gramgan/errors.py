"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can put right.

    The message is one line: which file or key, what is wrong with it, what to do. The command line prints it without a
    traceback and exits with code 2; any other exception is a defect of the program and keeps its traceback.
    """


class ReportedError(UserError):
    """The same in a process that need not say it, because another one of those that train together does."""


class WriteFailedError(UserError):
    """A file could not be written: the disk is full or read-only. It is no fault of what was to be written."""
