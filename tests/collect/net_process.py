"""A collecting run in a process of its own, whose way into the net ends at a local server: PORT, FOLDER."""

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gramgan.collect.net import collect_found
from gramgan.collect.services import SERVICES
from gramgan.collect.services.base import Query
from gramgan.errors import UserError
from gramgan.fetch import Answer, Manners, Target
from gramgan.pace import Pace

PUBLIC = "93.184.215.14"
NAMES: Mapping[str, Sequence[Sequence[str]]] = {
    "internal.example": [["10.0.0.5"]],
    "mixed.example": [[PUBLIC, "192.168.0.1"]],
    "rebinding.example": [[PUBLIC], ["127.0.0.1"]],  # another address each time that it is asked for
}


class LocalTransport:
    """Says which addresses names have, and brings every request to the local server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._asked: dict[str, int] = {}

    def resolve(self, host: str, port: int) -> Sequence[str]:
        if host[0].isdigit():
            return [host]
        answers = NAMES.get(host, [[PUBLIC]])
        turn = self._asked[host] = self._asked.get(host, -1) + 1
        return answers[turn % len(answers)]

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        assert address == PUBLIC
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", target.path, headers={**headers, "Host": target.host})
        response = connection.getresponse()
        names = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, names, response.read1, connection.close)


def run(port: int, folder: Path, *, limit: int = 100) -> None:
    query = Query("wheat field", ("cc0", "pdm", "by"), 192)
    result = collect_found(
        folder,
        [(service, query) for service in SERVICES.values()],
        manners=Manners(pause=0.01, attempts=4, pace=Pace(at_once=2), agent="gramgan-test"),
        limit=limit,
        size_limit=3 << 20,
        transport=LocalTransport(port),
    )
    print(len(result.entries), result.new)


if __name__ == "__main__":
    try:
        run(int(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        print(f"error: {error}")
        sys.exit(2)
