"""What a bucket of S3, Google Cloud Storage or Azure is asked, through obstore, which has the engine that Lance has.

Whoever uses this names a bucket's objects as `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or `az://CONTAINER/KEY`. Credentials
come from the environment, and are in no message.
"""

import functools
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from gramgan.errors import UserError, WriteFailedError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")

_PART = 8 << 20  # bytes of one part of an upload or download
_PARTS_AT_ONCE = 4
_READ_AHEAD = 1 << 20
_CONNECT, _ANSWER, _TRYING = timedelta(seconds=10), timedelta(seconds=60), timedelta(seconds=60)
_RETRIES = 2
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SIGNATURE", re.IGNORECASE)
_SHORTEST_SECRET = 6  # characters; less stands in texts by chance

_ASKED = re.compile(r"(for path .*?: )?Error performing [A-Z]+ \S+ in \S+")  # names and times say nothing of the cause

# What is asked of a user, by what the storage's answer has in it.
_ANSWERS = (
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", "there is no such bucket; check the name"),
    (
        r"status code: 40[13]\b|[Cc]redential|PermissionDenied|Unauthenticated|metadata endpoint|InvalidAccessKey|"
        r"Signature",
        "access is denied; check the rights of the credentials in the environment",
    ),
    (
        r"status code: 301\b|PermanentRedirect|HeaderMalformed|bare redirect",
        "the bucket is in another region; set AWS_REGION",
    ),
)


@dataclass(frozen=True)
class StoredObject:
    """An object below a prefix: its key from there on, size in bytes, and second of its last change."""

    name: str
    size: int
    changed: int


def status(url: str) -> StoredObject | None:
    """Size and time of an object (its name is empty); None where there is none.

    Raises:
        UserError: the storage cannot be reached, refuses, or has no such bucket.
    """
    store, key = _connect(url)
    try:
        return _found(store.head(key), "") if key else None
    except FileNotFoundError:
        _check_bucket(url)
        return None
    except Exception as error:  # noqa: BLE001 (obstore's have no class of their own in common with its OSErrors)
        raise problem(url, error) from None


def is_prefix(url: str) -> bool:
    """Whether there are objects below `url`, or it is a bucket. Raises what `status` raises."""
    store, key = _connect(url)
    try:
        return next(iter(store.list(key or None)), None) is not None or not key
    except Exception as error:  # noqa: BLE001
        raise problem(url, error) from None


def listing(url: str, *, recursive: bool = True) -> tuple[list[StoredObject], list[str]]:
    """All objects below `url`, and unless `recursive` the names of the prefixes ("folders") there; both sorted.

    One request for 1,000 objects. Empty objects that consoles make for folders are left out.

    Raises:
        UserError: the storage cannot be reached, refuses, or has no such bucket.
    """
    store, key = _connect(url)
    start = len(key) + 1 if key else 0
    folders: list[str] = []
    try:
        if recursive:
            found = [_found(meta, meta["path"][start:]) for page in store.list(key or None) for meta in page]
        else:
            result = store.list_with_delimiter(key or None)
            folders = sorted(name[start:] for name in result["common_prefixes"])
            found = [_found(meta, meta["path"][start:]) for meta in result["objects"]]
    except Exception as error:  # noqa: BLE001
        raise problem(url, error) from None
    above = {parent for one in found for parent in _parents(one.name)} | set(folders)
    files = (one for one in found if one.name and (one.size or one.name not in above))
    return sorted(files, key=lambda one: one.name), folders


def open_object(url: str, size: int) -> BinaryIO:
    """An object of `size` bytes for reading from any place; only what is read is transferred."""
    return cast(BinaryIO, io.BufferedReader(_Reader(url, size), _READ_AHEAD))


def download(url: str, path: Path) -> None:
    """Copy an object to a local file, part by part: an answer has a time by which it must be complete.

    Raises:
        FileNotFoundError: there is none.
        UserError: the storage cannot be reached, refuses, or has no such bucket.
        OSError: the file cannot be written.
    """
    store, key = _connect(url)
    first = _asked(url, lambda: store.get(key))
    with path.open("wb") as file:
        if first.meta["size"] <= _PART:
            file.write(_asked(url, first.bytes))
            return
        for start in range(0, first.meta["size"], _PART):
            same = {"range": (start, start + _PART), "if_match": first.meta["e_tag"]}
            file.write(_asked(url, lambda same=same: store.get(key, options=same).bytes()))


def upload(path: Path, url: str) -> None:
    """Make a local file an object, which others see when all of it is there (a large one goes in parts).

    Raises:
        UserError: the storage cannot be reached, refuses, or has no such bucket.
    """
    _put(url, path)


def create_marker(url: str) -> None:
    """Write an empty object. Raises what `upload` raises."""
    _put(url, b"")


def delete(urls: Sequence[str]) -> None:
    """Delete objects of one bucket, many with one request; those that are gone do not matter.

    Raises:
        UserError: the storage cannot be reached, refuses, or has no such bucket.
    """
    places = [_connect(url) for url in urls]
    try:
        if places:
            places[0][0].delete([key for _, key in places])
    except FileNotFoundError:
        return
    except Exception as error:  # noqa: BLE001
        raise problem(urls[0], error) from None


def lance_options(url: str) -> dict[str, str] | None:
    """What Lance needs to know of the storage beside what it takes from the environment; None for a local path."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        return None
    options = {"client_max_retries": str(_RETRIES), "client_retry_timeout": str(int(_TRYING.total_seconds()))}
    scheme = url.partition(":")[0]
    endpoint = _endpoint() if scheme == "s3" else None
    if endpoint is not None:
        options["aws_endpoint"] = endpoint
    return options | {"allow_http": str(_may_be_plain(scheme, endpoint)).lower()}


def problem(url: str, error: BaseException) -> UserError:
    """What a user is told of an error of obstore's."""
    whole = str(error)
    text = _ASKED.sub("", whole.partition("Debug source")[0])
    for pattern, answer in _ANSWERS:
        if re.search(pattern, text):
            return UserError(f"{url}: {answer}")
    if "HTTP error" in whole or "timed out" in whole or "HttpError" in whole:
        endpoint = _endpoint() if url.startswith("s3://") else None
        at = f" at {endpoint}" if endpoint else ""
        return UserError(f"{url}: the storage{at} cannot be reached; check the address and the network")
    line = next(iter(text.strip(" -").splitlines()), type(error).__name__)
    said = re.search(r"status code: (\d+ [\w ]+)", line)
    return UserError(f"{url}: the storage answers with an error ({masked(said[1] if said else line)}); try again later")


def masked(text: str) -> str:
    """`text` without the values of environment variables that hold secrets."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return text


class _Reader(io.RawIOBase):
    """An object, read range by range."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._at = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        store, key = _connect(self._url)
        data = _asked(self._url, lambda: store.get_range(key, start=self._at, length=count))
        buffer[: len(data)] = memoryview(data)
        self._at += len(data)
        return len(data)


def _asked(url: str, question: Any) -> Any:
    try:
        return question()
    except FileNotFoundError:
        _check_bucket(url)
        raise FileNotFoundError(2, "No such object", url) from None
    except Exception as error:  # noqa: BLE001
        raise problem(url, error) from None


def _put(url: str, what: Path | bytes) -> None:
    store, key = _connect(url)
    try:
        store.put(key, what, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)
    except Exception as error:  # noqa: BLE001
        raise WriteFailedError(str(problem(url, error))) from None


def _found(meta: "ObjectMeta", name: str) -> StoredObject:
    return StoredObject(name, meta["size"], int(meta["last_modified"].timestamp()))


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _check_bucket(url: str) -> None:
    scheme, _, path = url.partition("://")
    bucket = path.partition("/")[0]
    if not _is_there(scheme, bucket, _endpoint()):
        _is_there.cache_clear()  # somebody may make it
        raise UserError(f"{url}: there is no such bucket; check the name")


@functools.cache
def _is_there(scheme: str, bucket: str, endpoint: str | None) -> bool:
    try:
        next(iter(_store(scheme, bucket, endpoint).list(chunk_size=1)), None)
    except Exception as error:  # noqa: BLE001 (who may read objects may not always list them)
        return re.search(_ANSWERS[0][0], str(error)) is None
    return True


def _connect(url: str) -> "tuple[ObjectStore, str]":
    scheme, _, path = url.partition("://")
    bucket, _, key = path.partition("/")
    return _store(scheme, bucket, _endpoint()), key


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _may_be_plain(scheme: str, endpoint: str | None) -> bool:
    """Whether the server may be one without TLS: for all but S3 the environment alone names it."""
    return scheme != "s3" or (endpoint or "").startswith("http://")


@functools.cache
def _store(scheme: str, bucket: str, endpoint: str | None) -> "ObjectStore":
    from obstore.store import from_url

    url = f"{scheme}://{bucket}"
    if not bucket:
        raise UserError(f"{url}: names no bucket; write {scheme}://BUCKET/KEY")
    if scheme == "az" and not os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
        raise UserError(f"{url}: AZURE_STORAGE_ACCOUNT_NAME is not set; set it to the storage account's name")
    given: dict[str, Any] = {"endpoint": endpoint} if scheme == "s3" and endpoint else {}
    try:
        return from_url(
            url,
            client_options={
                "allow_http": _may_be_plain(scheme, endpoint),
                "connect_timeout": _CONNECT,
                "timeout": _ANSWER,
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": _TRYING},
            **given,
        )
    except Exception as error:  # noqa: BLE001
        raise problem(url, error) from None
