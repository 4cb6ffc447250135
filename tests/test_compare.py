"""The comparison of runs: its numbers, its refusals, its page in a real browser."""

import json
import re

import numpy as np
import pytest
from browsers import requested_urls, start_browser
from comparisons import COUNT, make_workdir

from jaxcolor.compare import command, stored
from jaxcolor.compare.history import POINTS, read_history
from jaxcolor.compare.runs import ComparisonError, Run, parse_runs, read_member
from jaxcolor.compare.scores import score_runs
from jaxcolor.errors import UserError
from jaxcolor.evaluation_results import Evaluation
from jaxcolor.training.checkpoints import Checkpoints

HOSTILE = '<script>alert("stolen")</script>'


def load(label, *workdirs):
    return Run(label, tuple(read_member(workdir, "val") for workdir in workdirs))


def scores_of(*runs):
    return {found.name: found for found in score_runs(runs, draws=300)}


def test_runs_are_named_by_label_or_by_workdir(tmp_path):
    odd = tmp_path / "a=b,c"
    odd.mkdir()
    found = parse_runs([f"GAN={tmp_path}/x,{tmp_path}/y", f"{tmp_path}/l1", str(odd)])
    assert list(found) == ["GAN", "l1", "a=b,c"]
    assert [path.name for path in found["GAN"]] == ["x", "y"]
    assert found["a=b,c"] == [odd]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one"], "two runs or more"),
        (["a/x", "b/x"], "two runs are called 'x': write LABEL=b/x"),
        (["A=x", "B=x"], "x is named twice"),
        (["=x", "y"], "write WORKDIR, or LABEL=WORKDIR"),
        (["=.", "y"], "write WORKDIR, or LABEL=WORKDIR"),
        (["A=x,,y", "z"], "write WORKDIR, or LABEL=WORKDIR"),
    ],
)
def test_runs_that_cannot_be_told_apart_are_refused(words, message):
    with pytest.raises(ComparisonError, match=message):
        parse_runs(words)


def test_differences_are_paired_and_sharper_than_the_intervals(tmp_path):
    """Pictures differ far more than the runs do: paired, they are told apart all the same."""
    runs = [load(name, make_workdir(tmp_path / name, error=error)) for name, error in
            (("worse", 0.21), ("better", 0.2))]  # fmt: skip
    worse, better = scores_of(*runs)["l1"].scores
    assert (worse.is_best, better.is_best) == (False, True)
    assert worse.interval[0] < better.value < worse.interval[1]  # the intervals overlap
    hardness = np.random.default_rng(7).uniform(0.5, 1.5, COUNT)
    assert worse.behind == pytest.approx(0.01 * hardness.mean(), rel=1e-6)
    assert 0 < worse.behind_interval[0] < worse.behind < worse.behind_interval[1] < 0.02
    assert not worse.is_close


def test_what_the_pictures_cannot_tell_apart_is_marked(tmp_path):
    runs = [load(str(seed), make_workdir(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    scores = scores_of(*runs)["l1"].scores
    assert sorted((score.is_best, score.is_close) for score in scores) == [
        (False, True),
        (True, False),
    ]


def test_the_best_is_by_each_metrics_own_rule(tmp_path):
    low = load("low", make_workdir(tmp_path / "low", error=0.1, chroma=15))
    high = load("high", make_workdir(tmp_path / "high", error=0.3, chroma=27))
    found = scores_of(low, high)
    best = {name: [score.is_best for score in metric.scores] for name, metric in found.items()}
    assert best == {
        "l1": [True, False],
        "psnr": [True, False],
        "chroma_ratio": [False, True],  # 1.08 is nearer to 1 than 0.6
        "sepia_index": [False, False],  # describes
    }
    same = scores_of(low, load("again", make_workdir(tmp_path / "x", error=0.1, chroma=15)))
    assert [score.is_best for score in same["l1"].scores] == [True, True]


def test_what_has_a_truth_is_best_near_it(tmp_path):
    low = load("low", make_workdir(tmp_path / "low", error=0.1, chroma=15))
    high = load("high", make_workdir(tmp_path / "high", error=0.3, chroma=27))
    truth = {"low": 0.45, "high": 0.45}
    for run, factor in ((low, 1.0), (high, 1.1)):
        evaluation = run.members[0].evaluation
        rows, entries = evaluation.rows, evaluation.summary["metrics"]
        rows["sepia_chroma_target"] = 0.45 * rows["chroma_target"]
        rows["sepia_chroma"] = factor * rows["sepia_chroma"]
        entries["sepia_index"]["value"] *= factor
        entries["sepia_index_target"] = entries["sepia_index"] | {"value": truth[run.label]}
    found = scores_of(low, high)
    worse, better = found["sepia_index"].scores  # 0.40 and 0.44 to 0.45
    assert (worse.is_best, better.is_best) == (False, True)
    assert worse.behind == pytest.approx(0.04)
    assert worse.behind_interval == pytest.approx((0.04, 0.04))
    assert [score.is_best for score in found["sepia_index_target"].scores] == [False, False]


def test_a_network_that_gives_no_numbers_is_compared_all_the_same(tmp_path):
    words = [str(make_workdir(tmp_path / name)) for name in ("good", "bad")]
    directory = tmp_path / "bad" / "evaluation" / "val"
    evaluation = Evaluation.read(directory)
    for name in ("l1", "psnr"):
        evaluation.rows[name][3:] = np.nan
        evaluation.summary["metrics"][name] |= {"value": np.nan, "interval": [np.nan, np.nan]}
    histogram = evaluation.summary["histograms"]["chroma"]
    histogram["prediction"] = [np.nan] * len(histogram["prediction"])
    evaluation.write(directory)
    good, bad = command.compare(words, tmp_path / "report.html")
    assert [score.is_best for score in scores_of(good, bad)["l1"].scores] == [True, False]
    assert "nan" not in (tmp_path / "report.html").read_text()


def test_seeds_are_averaged_and_their_spread_told(tmp_path):
    errors = (0.1, 0.2, 0.4)
    parts = [make_workdir(tmp_path / str(error), error=error) for error in errors]
    single = [scores_of(load("a", part), load("b", parts[0]))["l1"].scores[0] for part in parts]
    (score, _) = scores_of(load("all", *parts), load("b", parts[0]))["l1"].scores
    values = [one.value for one in single]
    assert score.value == pytest.approx(np.mean(values))
    assert score.spread == pytest.approx(np.std(values, ddof=1))
    ends = np.mean([one.interval for one in single], axis=0)
    assert score.interval == pytest.approx(ends, rel=0.02)  # nearly: the pictures' order is shared


def test_the_interval_of_a_run_is_that_of_its_evaluation(tmp_path):
    from jaxcolor.evaluation_results import bootstrap_interval

    run = load("a", make_workdir(tmp_path / "a"))
    rows = run.members[0].evaluation.rows
    for name in ("l1", "chroma_ratio"):
        (score, _) = scores_of(run, run)[name].scores
        assert score.interval == pytest.approx(bootstrap_interval(rows, name, draws=300))


@pytest.mark.parametrize(
    ("key", "value"), [("digest", "ffff"), ("count", 31), ("split", "test"), ("fit", "stretch")]
)
def test_other_pictures_or_another_protocol_are_refused(tmp_path, capsys, key, value):
    one, other = (make_workdir(tmp_path / name) for name in ("one", "other"))
    path = other / "evaluation" / "val" / "summary.json"
    summary = json.loads(path.read_text())
    summary["protocol" if key == "fit" else "data"][key] = value
    path.write_text(json.dumps(summary))
    assert command.main([str(one), str(other), "--out", str(tmp_path / "report.html")]) == 1
    message = capsys.readouterr().err
    assert f"{key} " in message
    assert repr(value) in message
    assert message.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_a_workdir_with_nothing_to_compare_is_named(tmp_path):
    make_workdir(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        with pytest.raises(UserError, match=f"{name} (has neither|is no directory)"):
            command.compare([str(tmp_path / "one"), str(tmp_path / name)], tmp_path / "x.html")


def test_only_an_earlier_report_is_replaced(tmp_path, monkeypatch):
    words = [str(make_workdir(tmp_path / name)) for name in ("one", "other")]
    out = tmp_path / "report.html"
    for _ in range(2):
        command.compare(words, out)
    assert out.stat().st_size > 1000
    out.write_text("<!DOCTYPE html>mine")
    with pytest.raises(UserError, match="is there and no report of compare"):
        command.compare(words, out)
    assert out.read_text() == "<!DOCTYPE html>mine"
    with pytest.raises(UserError, match="is a directory"):
        command.compare(words, tmp_path / "one")
    out.unlink()

    def fail(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(out), "replace", fail)
    with pytest.raises(UserError, match="No space left"):
        command.compare(words, out)
    assert not list(tmp_path.glob("report*"))


@pytest.mark.parametrize("weights", [False, True])
def test_numbers_that_can_be_measured_now_are_not_left_out(tmp_path, monkeypatch, capsys, weights):
    """With one line on the others, however many runs lack them."""
    monkeypatch.setenv("JAXCOLOR_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    if weights:
        (tmp_path / "weights" / "lpips_alex.npz").write_bytes(b"")
    runs, asked = [make_workdir(tmp_path / name) for name in ("one", "other")], []

    def evaluate(values, changes):
        asked.append((values.workdir, values.metrics.split(",")))
        return Evaluation.read(runs[0] / "evaluation" / "val")

    monkeypatch.setattr(stored.evaluate_command, "evaluate", evaluate)
    with Checkpoints(runs[1] / "checkpoints"):
        pass  # there, and none is better than the one that was evaluated
    path = runs[1] / "evaluation" / "val" / "summary.json"
    summary = json.loads(path.read_text())
    whole = dict.fromkeys((*stored.USUAL, "fid"), summary["metrics"]["l1"])
    summary["metrics"] = {name: x for name, x in whole.items() if name != "lpips_alex"}
    path.write_text(json.dumps(summary))
    command.compare(list(map(str, runs)), tmp_path / "report.html")
    output = capsys.readouterr().out
    assert output.count("not measured of every run: ") == 1
    assert "lpips_alex" in output
    if weights:  # and what was there besides the usual is measured again
        wanted = {*stored.USUAL, "frechet_distance"}
        assert [(place, set(names)) for place, names in asked] == [(str(runs[1]), wanted)]
    else:
        assert asked == []
    summary["missing"] = {"lpips_alex": "LPIPS (alex) needs pictures of 31 pixels or more"}
    assert stored.lacking(summary) == []


@pytest.mark.parametrize("option", ["--first", "--different"])
def test_fewer_than_no_pictures_are_refused(tmp_path, capsys, option):
    assert command.main(["a", "b", option, "-1"]) == 1
    assert capsys.readouterr().err == f"error: {option} -1 must be at least 0\n"


def test_long_histories_are_thinned_to_their_means(tmp_path):
    rows = [
        {"step": step, "epoch": 1 + (step - 1) // 500, "kind": "train", "x": float(step % 2)}
        for step in range(1, 1001)
    ]
    rows.append({"step": 1000, "epoch": 2, "kind": "validation", "psnr": "inf"})
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "metrics.jsonl").write_text(text + '\nnonsense\n[1]\n{"step": 1}\n')
    history = read_history(tmp_path)
    curve = history.training["x"]
    assert len(curve) <= POINTS
    assert curve[-1][0] == 2  # epochs
    assert all(0.4 < value < 0.6 for _, value in curve)
    assert history.validation == {}
    assert history.timing == {}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on two seeds of one network and one of another, with hostile names everywhere."""
    folder = tmp_path_factory.mktemp("report")
    parts = {"a": 0.2, "b": 0.21, "c": 0.4}
    for seed, (name, error) in enumerate(parts.items()):
        make_workdir(
            folder / name,
            error=error,
            chroma=20 + 3 * seed,
            seed=seed,
            name=HOSTILE,
            source=HOSTILE,
        )
    words = [f"{HOSTILE}={folder}/a,{folder}/b", f"L2={folder}/c"]
    command.compare(words, folder / "report.html", first=3, different=2)
    return folder / "report.html"


def test_the_page_holds_all_and_fetches_nothing(report):
    text = report.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    for heading in (
        "Numbers",
        "Pictures",
        "Colours against the truth",
        "Training",
        "Time and size",
    ):
        assert f"<h2>{heading}</h2>" in text
    for fact in ("over 2 seeds", "12,345", "losses.l1", "no weights", "30 of split val", "3.1 min"):
        assert fact in text, fact


def test_a_browser_shows_the_report(report, tmp_path):
    browser = start_browser(tmp_path / "profile", 1280, 2400)
    try:
        browser.get(report.as_uri())
        _check_page(browser)
        assert browser.save_screenshot(str(tmp_path / "report.png"))
        browser.set_window_size(420, 900)
        assert browser.execute_script("return document.body.scrollWidth <= window.innerWidth")
        assert browser.get_log("browser") == []
        assert requested_urls(browser, report.as_uri()) == {report.as_uri()}
    finally:
        browser.quit()


def _check_page(browser):
    assert browser.title == f"Comparison of {HOSTILE} and L2"
    find = browser.execute_script
    best = find("return [...document.querySelectorAll('td.best b')].map(x => x.textContent)")
    assert len(best) == 3  # of four metrics, one only describes
    assert find("return getComputedStyle(document.querySelector('td.best b')).fontWeight") == "700"
    columns = find("return [...document.querySelectorAll('td.best')].map(x => x.cellIndex)")
    assert columns[:2] == [1, 1]  # l1 and psnr: the first run errs less
    widths = find("return [...document.images].map(x => x.naturalWidth)")
    assert widths == [24] * (3 + 2) * (2 + 2)
    charts = find(
        "return [...document.querySelectorAll('svg')].map(x => x.getBoundingClientRect().width)"
    )
    assert len(charts) == 6
    assert min(charts) > 200
