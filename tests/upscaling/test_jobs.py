"""Names of results, and every clash found before any work."""

from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.upscaling.jobs import Job, plan_jobs


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "c.tif", "d.webp", "tree/a.jpg", "tree/deep/e.TIFF", "tree/notes.txt"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read here")


def planned(inputs: list[str], output: str, form: str | None = None) -> list[tuple[str, str]]:
    jobs = plan_jobs([Path(one) for one in inputs], Path(output), form)
    assert all(isinstance(job, Job) for job in jobs)
    return [(job.source.as_posix(), job.target.as_posix()) for job in jobs]


def test_one_file_to_a_file() -> None:
    assert planned(["a.jpg"], "new/x.webp") == [("a.jpg", "new/x.webp")]
    assert Path("new").is_dir()


@pytest.mark.parametrize("output", ["out", "made.v2"])
def test_one_file_to_a_folder(output: str) -> None:
    Path("made.v2").mkdir()
    assert planned(["a.jpg"], output) == [("a.jpg", f"{output}/a.png")]


def test_lossless_types_stay_and_others_become_png() -> None:
    assert planned(["a.jpg", "b.png", "c.tif", "d.webp"], "out") == [
        ("a.jpg", "out/a.png"),
        ("b.png", "out/b.png"),
        ("c.tif", "out/c.tif"),
        ("d.webp", "out/d.png"),
    ]


def test_the_tree_of_a_folder_is_kept() -> None:
    assert planned(["tree"], "out") == [
        ("tree/a.jpg", "out/a.png"),
        ("tree/deep/e.TIFF", "out/deep/e.TIFF"),
    ]


@pytest.mark.parametrize(("form", "suffix"), [("png", ".png"), ("jpg", ".jpg"), ("webp", ".webp"), ("tiff", ".tif")])
def test_a_format_that_is_asked_for(form: str, suffix: str) -> None:
    assert planned(["b.png", "c.tif"], "out", form) == [("b.png", f"out/b{suffix}"), ("c.tif", f"out/c{suffix}")]


def test_results_inside_of_the_input_folder_are_not_inputs_of_the_next_run() -> None:
    first = planned(["tree"], "tree/out")
    for _, target in first:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_bytes(b"done")
    assert planned(["tree"], "tree/out") == first


def test_a_picture_given_twice_is_done_once() -> None:
    assert planned(["a.jpg", "./a.jpg", "b.png"], "out") == [("a.jpg", "out/a.png"), ("b.png", "out/b.png")]


@pytest.mark.parametrize(
    ("inputs", "output", "form", "message"),
    [
        (["no.png"], "out", None, "no.png: no such file or folder"),
        (["no.png"], "out.png", None, "no.png: no such file or folder"),
        (["a.jpg", "no"], "out", None, "no: no such file or folder"),
        (["a.jpg", "b.png"], "x.png", None, "x.png: the name of one file"),
        (["tree"], "x.jpg", None, "x.jpg: the name of one file"),
        (["a.jpg"], "x.gif", None, "x.gif: cannot write '.gif' files"),
        (["a.jpg"], "x.png", "jpg", "x.png: its suffix says PNG and the format asked for is jpg"),
        (["a.jpg"], "out", "bmp", "format 'bmp': unknown; use png, jpg, webp, tiff"),
        (["a.jpg", "tree"], "out", None, "out/a.png: both a.jpg and tree/a.jpg would be written here"),
        (["b.png"], ".", None, "b.png: this is an input"),
        (["a.jpg"], "a.jpg", None, "a.jpg: this is an input"),
        (["tree"], "tree", "jpg", "tree/a.jpg: this is an input"),
        (["a.jpg", "b.png"], "tree/notes.txt", None, "notes.txt: a file stands where a folder is needed"),
        (["a.jpg"], "tree/notes.txt/x.png", None, "notes.txt: a file stands where a folder is needed"),
    ],
)
def test_mistakes_are_one_line_that_names_them(inputs: list[str], output: str, form: str | None, message: str) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError) as caught:
        planned(inputs, output, form)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before, "nothing is made before all is checked"


def test_a_link_to_the_input_is_the_input() -> None:
    Path("link.png").symlink_to("b.png")
    with pytest.raises(UserError, match="this is an input"):
        planned(["b.png"], "link.png")


def test_two_inputs_of_one_stem() -> None:
    Path("a.png").write_bytes(b"not read here")
    with pytest.raises(UserError, match=r"out/a\.png: both a\.jpg and a\.png"):
        planned(["a.jpg", "a.png"], "out")
