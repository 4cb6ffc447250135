"""What a user gets wrong with the benchmarks is one line, and costs no result."""

import json
import sys
from argparse import Namespace

import pytest

from benchmarks import environment, records, report, suite
from jaxcolor.training.stopping import Interrupted


@pytest.fixture
def run(monkeypatch, capsys):
    """A function of the command line's words: exit status and lines of stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, words)])
        try:
            status = suite.main()
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err.splitlines()

    return call


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trainstep"], "invalid choice: 'trainstep'"),
        (["train_step", "--batch", "0"], "--batch: needs a whole number of at least 1, got 0"),
        (["train_step", "--batch", "1", "two"], "at least 1, got two"),
        (["train_step", "--image_size", "100"], "--image_size: needs a power of two, got 100"),
        (["train_step", "--image_size", "16"], "--image_size: needs a whole number of at least 32"),
        (["inference", "--repetitions", "-1"], "--repetitions: needs a whole number of at least 1"),
        (["input_pipeline", "--workers", "-1"], "--workers: needs a whole number of at least 0"),
        (["train_step", "--repet", "3"], "unrecognized arguments: --repet 3"),
    ],
)
def test_a_wrong_option_is_one_line(words, line, run):
    status, lines = run(*words)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert line in lines[0]


def test_no_data_and_no_folder_to_write_are_one_line(tmp_path, run):
    absent = tmp_path / "absent"
    words = ["input_pipeline", "--quick", f"--data={absent}", f"--out={tmp_path}"]
    status, (line,) = run(*words)
    assert status == 1
    assert line.startswith(f"error: no directory {absent}/train")
    assert not list(tmp_path.iterdir()), "nothing was measured"
    file = tmp_path / "file"
    file.write_text("")
    assert run("train_step", f"--out={file}") == (1, [f"error: {file}: File exists"])


def stopped_after(count):
    for number in range(count):
        yield {"title": f"table {number}"}
    raise KeyboardInterrupt if count else Interrupted("saved in a folder that is gone")


def test_what_was_measured_outlives_a_run_cut_short(tmp_path, monkeypatch, capsys):
    options = Namespace(out=str(tmp_path), quick=False)
    records.record("memory", iter([{"title": "earlier"}]), options)
    assert [path.name for path in tmp_path.iterdir()] == ["memory.json"]
    before = (tmp_path / "memory.json").read_text()
    for count in (0, 2):
        monkeypatch.setattr(
            suite, "BENCHMARKS", {"memory": Namespace(tables=lambda _, n=count: stopped_after(n))}
        )
        chosen = Namespace(benchmark="memory", out=str(tmp_path), quick=False)
        monkeypatch.setattr(suite.options, "parse", lambda *_, chosen=chosen, **__: chosen)
        assert suite.main() == 130
        assert (tmp_path / "memory.json").read_text() == before
        assert (tmp_path / "memory.unfinished").exists() == (count > 0)
    kept = json.loads((tmp_path / "memory.unfinished").read_text())
    assert [table["title"] for table in kept["tables"]] == ["table 0", "table 1"]
    assert capsys.readouterr().err.splitlines() == [
        "stopped",
        f"2 finished tables: {tmp_path}/memory.unfinished (to report them, name it memory.json)",
        "stopped",
    ]


GOOD = {"title": "start", "first": {"whole": 9.0}, "samples": {"whole": [8.0]}, "others": 0.0}


def write(path, tables, **changes):
    described = {"command": "c", "machine": "m", "versions": {}, "environment": {}}
    described |= {"commit": "a", "started": "b", "platform": "cpu", "tables": tables}
    described["options"] = {"image_size": 256, "base_width": 64}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described | changes))


@pytest.mark.parametrize(
    "text",
    [
        '{"benchmark": "start',
        "[]",
        "\x00",
        '{"platform": "cpu"}',
        '{"platform": "cpu", "tables": [{"title": "start"}]}',
        '{"platform": "cpu", "tables": 1}',
    ],
)
def test_a_damaged_result_is_one_line_and_the_report_stays(text, tmp_path, run):
    (tmp_path / "RESULTS.md").write_text("earlier")
    write(tmp_path / "results" / "startup.json", [GOOD])
    damaged = tmp_path / "results" / "zen 4" / "startup.json"
    damaged.parent.mkdir()
    damaged.write_text(text)
    status, (line,) = run("report", "--out", tmp_path / "results")
    assert status == 1
    assert line.startswith(f"error: {damaged}: damaged, or of another version (")
    assert (tmp_path / "RESULTS.md").read_text() == "earlier"


def test_a_result_that_no_target_can_be_read_from_is_one_line(tmp_path, run):
    write(tmp_path / "results" / "startup.json", [GOOD | {"dtype": "float32"}], options={})
    status, (line,) = run("report", "--out", tmp_path / "results")
    assert status == 1
    assert line.startswith(f"error: {tmp_path}/results/startup.json: damaged, or of another")


def test_a_report_of_no_results_says_what_to_do(tmp_path, run):
    (tmp_path / "RESULTS.md").write_text("earlier")
    for folder in ("results", "typo"):
        status, (line,) = run("report", "--out", tmp_path / folder)
        assert status == 1
        assert line.endswith("no results; measure first: python -m benchmarks train_step")
        (tmp_path / "results").mkdir(exist_ok=True)
    write(tmp_path / "results" / "startup_quick.json", [GOOD])
    _, (line,) = run("report", "--out", tmp_path / "results")
    assert line.endswith("no results; those of --quick are there: report --quick")
    assert (tmp_path / "RESULTS.md").read_text() == "earlier"
    assert run("report", "--quick", "--out", tmp_path / "results") == (0, [])
    assert "8.00 (8.00..8.00)" in (tmp_path / "RESULTS_quick.md").read_text()


def test_pictures_are_found_from_any_folder(tmp_path, monkeypatch):
    peaks = {"jaxcolor float32": {"training": 1_000_000, "process": 2_000_000}}
    table = {"title": "peak", "samples": peaks, "ratios": [], "failures": {}}
    folder = tmp_path / "my results"
    write(folder / "memory.json", [table])
    monkeypatch.chdir(folder)
    text = report.write_report(report.Path("."), quick=False).read_text()
    assert "](my%20results/memory_cpu.png)" in text
    assert (tmp_path / "RESULTS.md").exists()


def test_the_commit_is_unknown_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.commit() == "unknown"
