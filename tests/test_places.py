"""A path in object storage is used like one of a file system; against a real S3 server on this machine."""

import errno
import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from s3_server import SECRET, Bucket

from gramgan import places
from gramgan.errors import UserError
from gramgan.files import append_record, atomic_path, ensure_folder, write_bytes, write_text
from gramgan.images import find_images
from gramgan.objects import masked, problem
from gramgan.places import ObjectPath, as_place, workplace


def test_a_url_is_a_place_and_everything_else_a_local_path() -> None:
    for url in ("s3://bucket/a/b.png", "gs://bucket/a/b.png", "az://container/a/b.png"):
        place = as_place(url)
        assert isinstance(place, ObjectPath)
        assert str(place) == url
        assert as_place(Path(url)) == place  # as typer makes it, with one slash
        assert place.suffix == ".png" and place.stem == "b"
        assert str(place.with_name("c")) == url.replace("b.png", "c")
        assert str(place.parent / "d" / "e") == url.replace("b.png", "d/e")
        assert place.relative_to(place.parent.parent) == Path("a/b.png")
        assert pickle.loads(pickle.dumps(place)) == place
        assert Path("local") / place.relative_to(place.parent) == Path("local/b.png")
    for text in ("photos", "/s3:/x", "C:/x", "http://host/x", "https://host/x", "file:///x"):
        assert type(as_place(text)) is type(Path())


def test_objects_are_read_and_listed(bucket: Bucket) -> None:
    for key in ("in/b.txt", "in/sub/a.txt", "in/.hidden", "in/.state/x", "other"):
        bucket.put(key, key.encode())
    folder = as_place(f"{bucket.url}/in")
    assert folder.is_dir() and not folder.is_file() and folder.exists()
    assert isinstance(folder, ObjectPath)
    assert [str(path) for path in folder.files_below()] == [f"{folder}/b.txt", f"{folder}/sub/a.txt"]
    assert sorted(path.name for path in folder.iterdir()) == [".hidden", ".state", "b.txt", "sub"]
    path = folder / "b.txt"
    assert path.is_file() and not path.is_dir()
    assert path.read_bytes() == b"in/b.txt" == Path(os.fspath(path)).read_bytes()
    assert path.read_text() == "in/b.txt"
    assert path.stat().st_size == 8
    assert abs(path.stat().st_mtime_ns / 1e9 - time.time()) < 60
    assert not (folder / "none").exists()
    with pytest.raises(FileNotFoundError):
        (folder / "none").read_bytes()


def test_of_a_large_object_only_what_is_read_is_transferred(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_SMALL", 1000)
    data = os.urandom(100_000)
    with as_place(bucket.put("large", data)).open("rb") as file:
        file.seek(50_000)
        assert file.read(10) == data[50_000:50_010]
    assert places._spool().has(f"{bucket.url}/large") is False


def test_a_file_is_written_whole_or_not_at_all(bucket: Bucket) -> None:
    path = as_place(f"{bucket.url}/out/file.txt")
    write_text(path, "one")
    assert path.read_text() == "one"

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("tw")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert path.read_text() == "one"
    write_text(path, "three")
    assert path.read_text() == "three"  # and not the copy of what was there before
    assert [key for key in bucket.listed() if not key.endswith("/")] == ["out/file.txt"]
    assert list(workplace(path).parent.iterdir()) == []


def test_a_large_file_goes_in_parts(bucket: Bucket) -> None:
    data = os.urandom(20 << 20)
    write_bytes(as_place(f"{bucket.url}/large"), data)
    assert bucket.get("large") == data == as_place(f"{bucket.url}/large").read_bytes()
    assert sum(method == "PUT" and path.endswith("/large") for method, path in bucket.server.requests) > 1


def test_what_is_not_possible_in_object_storage_says_so(bucket: Bucket) -> None:
    path = as_place(bucket.put("a", b"a"))
    for wrong in (
        lambda: path.open("w"),
        lambda: path.write_text("b"),
        lambda: path.rename("b"),
        lambda: path.replace("b"),
        lambda: append_record(path, {}),
    ):
        with pytest.raises(UserError, match=r"^s3://bucket-\w+/a: .*; choose"):
            wrong()
    assert bucket.get("a") == b"a"


def test_copies_are_kept_up_to_a_number_of_bytes(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_SPOOL", 2500)
    spool = places._Spool()
    copies = [Path(spool.copy_of(bucket.put(f"{number}", bytes(1000)))) for number in range(5)]
    assert [copy.exists() for copy in copies] == [False, False, True, True, True]
    assert Path(spool.copy_of(f"{bucket.url}/0")).stat().st_size == 1000


def test_no_room_for_a_copy_is_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(url: str, path: Path) -> None:
        path.write_bytes(b"begun")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("gramgan.objects.download", full)
    spool = places._Spool()
    with pytest.raises(UserError, match=r"^s3://bucket-\w+/a: cannot be copied to .* \(No space left.*; free"):
        spool.copy_of(bucket.put("a", b"a"))
    assert list(Path(spool._folder.name).rglob("*")) == []


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_a_bucket_without_rights_is_one_line(bucket: Bucket, code: str) -> None:
    bucket.put("in/a.png", b"a")
    bucket.server.refuse = lambda method, path: code.encode()
    folder = as_place(f"{bucket.url}/in")
    for wrong in (
        folder.exists,
        lambda: find_images(folder),
        lambda: (folder / "a.png").read_bytes(),
        lambda: ensure_folder(folder),
        lambda: write_bytes(folder / "b.png", b"b"),
    ):
        with pytest.raises(UserError, match=r"^s3://bucket-\w+/in\S*: access is denied; check the rights") as told:
            wrong()
        assert SECRET not in str(told.value)


def test_a_bucket_that_may_only_be_read_says_so_before_the_work(bucket: Bucket) -> None:
    bucket.server.refuse = lambda method, path: b"AccessDenied" if method in ("PUT", "POST") else None
    with pytest.raises(UserError, match="access is denied"):
        ensure_folder(as_place(f"{bucket.url}/out"))


def test_an_unreachable_storage_is_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^s3://bucket-\w+/in: the storage at http://127.0.0.1:9 cannot be reached; "):
        find_images(as_place(f"{bucket.url}/in"))


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket) -> None:
    for wrong in (lambda path: path.exists(), find_images, ensure_folder):
        with pytest.raises(UserError, match=r"^s3://no-such-bucket/in\S*: there is no such bucket; check the name"):
            wrong(as_place("s3://no-such-bucket/in"))


def test_azure_without_an_account_and_a_url_without_a_bucket_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UserError, match=r"^az://container: AZURE_STORAGE_ACCOUNT_NAME is not set; set it"):
        as_place("az://container/a").exists()
    with pytest.raises(UserError, match=r"^s3://: names no bucket; write s3://BUCKET/KEY"):
        as_place("s3://").exists()


def test_secrets_of_the_environment_are_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "token-0123",
        "AZURE_STORAGE_ACCOUNT_KEY": "azure==",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    assert masked(f"denied for {' and '.join(secrets.values())}") == "denied for *** and *** and ***"


MEMORY = """
import resource, sys
from gramgan.images import find_images
from gramgan.places import as_place

images = find_images(as_place(sys.argv[1]))
assert all(path.stat().st_size == 1 for path in images)
print(len(images), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_ten_thousand_objects_are_listed_with_few_requests_and_little_memory(bucket: Bucket) -> None:
    bucket.put_many(f"few/{number}.png" for number in range(100))
    bucket.put_many(f"many/{number // 100}/{number}.png" for number in range(10_000))
    taken = {}
    for name, count in (("few", 100), ("many", 10_000)):
        bucket.server.requests.clear()
        command = [sys.executable, "-c", MEMORY, f"{bucket.url}/{name}"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(told[0]) == count
        assert len(bucket.server.requests) < 30
        taken[name] = int(told[1])
    assert taken["many"] - taken["few"] < 100_000  # KiB


def test_no_line_of_the_log_holds_a_secret(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bucket.put("in/a.txt", b"no picture")
    with pytest.raises(UserError) as told:
        find_images(as_place(f"{bucket.url}/in"))
    assert SECRET not in caplog.text + str(told.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Generic S3 error: Error performing GET http://127.0.0.1:9/b?prefix=a in 301.2ms, after 2 retries  - HTTP "
            "error: error sending request\n\nDebug source:\n",
            "cannot be reached",
        ),
        (
            "Generic S3 error: Error performing HEAD http://127.0.0.1:9/b/Signature%20403.png in 2.3ms - Server "
            "returned non-2xx status code: 500 Internal Server Error: ",
            "500 Internal Server Error",
        ),
        (
            "The operation lacked the necessary privileges to complete for path credential 301.png: Error performing "
            "HEAD http://127.0.0.1:9/b/credential%20301.png in 2.3ms - Server returned non-2xx status code: "
            "403 Forbidden: ",
            "access is denied",
        ),
        (
            "Generic S3 error: Error performing GET http://127.0.0.1:9/b?prefix=a in 2ms - Server returned non-2xx "
            "status code: 301 Moved Permanently: ",
            "another region",
        ),
    ],
)
def test_names_and_times_are_not_taken_for_what_the_storage_says(said: str, told: str) -> None:
    assert told in str(problem("s3://b/a", OSError(said)))
