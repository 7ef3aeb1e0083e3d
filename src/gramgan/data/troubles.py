"""What goes wrong while images are read: counted, named once in the log, and handed to the run's records."""

import logging
import threading
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceEvents:
    """What happened in a source since the look before.

    `waited` are the seconds for which the training waited for crops. `replaced` counts the crops that were cut from
    another image than the one drawn. `troubles` says what went wrong, by the name of the file or worker.
    """

    waited: float = 0.0
    replaced: int = 0
    troubles: dict[str, str] = field(default_factory=dict)


class Troubles:
    """Collects what one source meets; may be told from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: set[str] = set()
        self._waited, self._replaced = 0.0, 0
        self._named: dict[str, str] = {}

    def add(self, name: str, what: str, *, then: str = "", logged: bool = True) -> None:
        """`what` went wrong with `name`, and `then` is done about it; logged if it is new."""
        with self._lock:
            self._named[name] = what
            line = f"{name}: {what}" + (f"; {then}" if then else "")
            new = logged and line not in self._logged
            self._logged.add(line)
        if new:
            _log.warning("%s", line)

    def taken(self, waited: float, *, replaced: bool) -> None:
        """The training has taken a crop, for which it `waited` seconds, from the image drawn or from another one."""
        with self._lock:
            self._waited += waited
            self._replaced += replaced

    def look(self) -> SourceEvents:
        """Everything since the last call."""
        with self._lock:
            look = SourceEvents(self._waited, self._replaced, self._named)
            self._waited, self._replaced, self._named = 0.0, 0, {}
        return look
