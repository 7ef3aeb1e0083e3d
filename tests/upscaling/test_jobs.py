"""Names of results, and every clash found before any work."""

from pathlib import Path

import pytest
from PIL import Image

from gramgan.errors import UserError
from gramgan.upscaling import jobs as module
from gramgan.upscaling.jobs import JOURNAL_NAME, RESULT_SUFFIXES, FolderJournal, Job, NameTemplate, plan_jobs


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "c.tif", "d.webp", "tree/a.jpg", "tree/deep/e.TIFF", "tree/notes.txt"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read here")


def planned(
    inputs: list[str], output: str, form: str | None = None, name: NameTemplate | None = None
) -> list[tuple[str, str]]:
    jobs = plan_jobs(inputs, output, form, name)
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


@pytest.mark.parametrize(("form", "suffix"), list(RESULT_SUFFIXES.items()))
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
        (["a.jpg"], "x.bmp", None, "x.bmp: cannot write '.bmp' files"),
        (["a.jpg"], "x.png", "jpg", "x.png: its suffix says PNG and the format asked for is jpg"),
        (["a.jpg"], "out", "bmp", "format 'bmp': unknown; use png, jpg, webp, tiff, avif, gif"),
        (["tree/*.gif"], "out", None, "tree/*.gif: no image matches this pattern"),
        (["tree/*.txt"], "out", None, "tree/*.txt: no image matches this pattern"),
        (["tree/*.jpg"], "x.png", None, "x.png: the name of one file"),
        (["tree/*"], "tree", "jpg", "tree/a.jpg: this is an input"),
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


def test_pictures_of_one_stem_are_all_done() -> None:
    for name in ("a.png", "a_jpg.webp", "a.JFIF"):
        Path(name).write_bytes(b"\xff\xd8\xff not read here")
    inputs = ["a.jpg", "a.png", "a_jpg.webp", "a.JFIF"]
    assert planned(inputs, "out") == [
        ("a.jpg", "out/a_jpg-2.png"),
        ("a.png", "out/a.png"),
        ("a_jpg.webp", "out/a_jpg.png"),
        ("a.JFIF", "out/a_JFIF.png"),
    ]
    assert planned(["a.jpg", "a.png"], "out", name=template("{stem}{source_suffix}_x{scale}{suffix}")) == [
        ("a.jpg", "out/a.jpg_x1.5.png"),
        ("a.png", "out/a.png_x1.5.png"),
    ]
    assert planned(["a.jpg", "a.JFIF"], "out", "jpg", name=template("{stem}_x{scale}{suffix}")) == [
        ("a.jpg", "out/a_x1.5.jpg"),
        ("a.JFIF", "out/a_JFIF_x1.5.jpg"),
    ]


def test_names_of_any_length_have_results() -> None:
    name = "x" * 251 + ".png"
    Path(name).write_bytes(b"not read here")
    ((_, target),) = planned([name], "out", "webp")
    assert len(Path(target).name) == 255
    assert Path(target).suffix == ".webp"
    ((_, other),) = planned([name], "out", name=template("{stem}_x{scale}{suffix}"))
    assert len(Path(other).name) == 255


def test_a_hard_link_to_an_input_is_the_input() -> None:
    Path("hard.png").hardlink_to("b.png")
    with pytest.raises(UserError, match="this is an input"):
        planned(["a.jpg", "b.png"], ".", name=template("{stem}{suffix}"))
    Path("out").mkdir()
    Path("out/a.png").hardlink_to("b.png")
    with pytest.raises(UserError, match=r"out/a\.png: this is an input"):
        planned(["a.jpg", "b.png"], "out")


def test_where_case_does_not_matter_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("A.jpg").write_bytes(b"not read here")
    assert planned(["a.jpg", "A.jpg"], "out") == [("a.jpg", "out/a.png"), ("A.jpg", "out/A.png")]
    monkeypatch.setattr(module, "_ignores_case", lambda folder: True)
    with pytest.raises(UserError, match=r"out/A\.png: both a\.jpg and A\.jpg"):
        planned(["a.jpg", "A.jpg"], "out")
    with pytest.raises(UserError, match="this is an input"):
        planned(["b.png"], "B.png")


def test_a_pattern_keeps_the_tree_below_its_fixed_part() -> None:
    assert planned(["tree/**/*"], "out") == [
        ("tree/a.jpg", "out/a.png"),
        ("tree/deep/e.TIFF", "out/deep/e.TIFF"),
    ]
    assert planned(["t*/*.jpg"], "out") == [("tree/a.jpg", "out/tree/a.png")]
    assert planned([str(Path.cwd() / "*.webp")], "out") == [((Path.cwd() / "d.webp").as_posix(), "out/d.png")]


def test_a_file_whose_name_looks_like_a_pattern() -> None:
    Path("a[1].jpg").write_bytes(b"not read here")
    assert planned(["a[1].jpg"], "x.png") == [("a[1].jpg", "x.png")]


def test_results_of_a_pattern_are_not_its_inputs() -> None:
    Path("tree/out").mkdir()
    Path("tree/out/a.png").write_bytes(b"done")
    assert [source for source, _ in planned(["tree/**/*"], "tree/out")] == ["tree/a.jpg", "tree/deep/e.TIFF"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_stay_animations(suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(f"moving{suffix}", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(f"still{suffix}")
    assert planned([f"moving{suffix}", f"still{suffix}"], "out") == [
        (f"moving{suffix}", f"out/moving{suffix}"),
        (f"still{suffix}", "out/still.png"),
    ]


def template(text: str) -> NameTemplate:
    return NameTemplate(text, scale="1.5", model="tiny/er")


def test_names_by_a_template() -> None:
    assert planned(["tree"], "out", name=template("{stem}_x{scale}{suffix}")) == [
        ("tree/a.jpg", "out/a_x1.5.png"),
        ("tree/deep/e.TIFF", "out/deep/e_x1.5.TIFF"),
    ]
    assert planned(["a.jpg"], "out", "webp", template("{model}/{{{stem}}}{suffix}")) == [
        ("a.jpg", "out/tiny_er/{a}.webp")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{stem}{colour}{suffix}", r"\{colour\} is unknown; use \{stem\}, \{suffix\}, \{scale\}, \{model\}"),
        ("{stem.__class__}{suffix}", "is unknown"),
        ("{stem!r}{suffix}", "is unknown"),
        ("{stem:>9}{suffix}", "is unknown"),
        ("{}{suffix}", "is unknown"),
        ("{stem{suffix}", "name '{stem{suffix}'"),
        ("all{suffix}", "all results would have one name"),
        ("{stem}", "does not end in .png"),
        ("{stem}.bmp", "does not end in .png"),
        ("../{stem}{suffix}", "leads out of the output folder"),
        ("/tmp/{stem}{suffix}", "leads out of the output folder"),
        ("C:/{stem}{suffix}", "leads out of the output folder"),
    ],
)
def test_templates_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(["a.jpg"], "out", name=template(text))


def test_a_template_for_one_named_file() -> None:
    with pytest.raises(UserError, match=r"x\.png is the name of the result already"):
        planned(["a.jpg"], "x.png", name=template("{stem}{suffix}"))


def finished(job: Job) -> Job:
    job.target.parent.mkdir(exist_ok=True)
    job.target.write_bytes(b"result")
    return job


def test_the_journal_remembers_finished_results() -> None:
    done, other = (finished(job) for job in plan_jobs(["a.jpg", "b.png"], "out"))
    FolderJournal(Path("out"), "key").add(done)
    journal = FolderJournal(Path("out"), "key")
    assert journal.holds(done, done.written())
    assert not journal.holds(other, other.written())
    assert not FolderJournal(Path("out"), "other settings").holds(done, done.written())


@pytest.mark.parametrize("change", ["source", "result", "gone"])
def test_the_journal_believes_nothing_that_has_changed(change: str) -> None:
    (job,) = (finished(job) for job in plan_jobs(["a.jpg"], "out"))
    FolderJournal(Path("out"), "key").add(job)
    if change == "gone":
        job.target.unlink()
    else:
        (job.source if change == "source" else job.target).write_bytes(b"something else")
    assert not FolderJournal(Path("out"), "key").holds(job, job.written())


def test_a_journal_that_was_cut_off_or_damaged() -> None:
    done, last = (finished(job) for job in plan_jobs(["a.jpg", "b.png"], "out"))
    journal = FolderJournal(Path("out"), "key")
    journal.add(done)
    journal.add(last)
    path = Path("out") / JOURNAL_NAME
    path.write_bytes(b"\xff\xfe{\n[1]\n" + path.read_bytes()[:-20])
    journal = FolderJournal(Path("out"), "key")
    assert journal.holds(done, done.written())
    assert not journal.holds(last, last.written())
    journal.add(last)
    assert FolderJournal(Path("out"), "key").holds(last, last.written())


def test_the_journal_goes_when_all_is_done_and_others_are_not_touched() -> None:
    one, two = (finished(job) for job in plan_jobs(["a.jpg", "b.png"], "out"))
    first, second = FolderJournal(Path("out"), "first"), FolderJournal(Path("out"), "second")
    first.add(one)
    second.add(two)
    first.finish()
    assert FolderJournal(Path("out"), "second").holds(two, two.written())
    assert not FolderJournal(Path("out"), "first").holds(one, one.written())
    second.finish()
    assert not (Path("out") / JOURNAL_NAME).exists()
