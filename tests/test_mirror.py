"""A workdir in a bucket: what is copied, when, and what a machine without a copy starts with."""

import importlib
import json
import re
import shutil
from types import SimpleNamespace

import pytest
from memory_bucket import Bucket
from small_training import assert_same, train_with
from small_workdir import small_experiment

from jaxcolor import mirror, runner
from jaxcolor.data import buckets
from jaxcolor.data.cache_root import cache_root
from jaxcolor.errors import WorkdirError
from jaxcolor.mirror import INDEX, Mirror
from jaxcolor.settings import CheckpointSettings
from jaxcolor.trained import load_trained

URL = "gs://bucket/runs/one"


@pytest.fixture(autouse=True)
def quick(monkeypatch, bucket):
    """No waiting for checkpoints to be still."""
    monkeypatch.setattr(mirror, "STILL_SECONDS", 0.0)


def open_mirror():
    """A mirror of another run of the same machine, once the one before has ended."""
    found = Mirror(URL)
    found.release()
    return found


def on_a_new_machine():
    """The same where there is no local copy."""
    shutil.rmtree(open_mirror().local)
    return open_mirror()


def write(place, **files):
    """Files by name, with "__" for "/"."""
    for name, text in files.items():
        path = place.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(place):
    return {
        path.relative_to(place).as_posix(): path.read_text()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".mirrored.json"
    }


def test_a_path_of_the_disk_is_itself(tmp_path):
    with mirror.opened(tmp_path / "here") as place:
        assert place == tmp_path / "here"


def test_another_machine_starts_with_what_was_copied():
    first = open_mirror()
    write(first.local, config="{}", checkpoints__3__state="three", logs__a="1")
    write(
        first.local, **{".lock": "", "config.tmp": "", "checkpoints__4.orbax-checkpoint-tmp__a": ""}
    )
    first.push()
    second = on_a_new_machine()
    assert read(second.local) == {
        "config": "{}",
        "checkpoints/3/state": "three",
        "logs/a": "1",
    }


def test_what_has_not_changed_is_not_copied_again_and_what_has_gone_goes():
    run = open_mirror()
    write(run.local, config="{}", checkpoints__3__state="three", logs__a="1")
    run.push()
    Bucket.sent.clear()
    write(run.local, logs__a="1 and 2")
    shutil.rmtree(run.local / "checkpoints" / "3")
    run.push()
    assert [path.removeprefix("/bucket/runs/one/") for path in Bucket.sent] == ["logs/a"]
    held = {path.removeprefix("/bucket/runs/one/") for path in Bucket().find(URL)}
    assert held == {"config", "logs/a", INDEX}
    Bucket.sent.clear()
    run.push()
    assert Bucket.sent == []


def test_a_checkpoint_under_removal_is_left_out_whole(monkeypatch):
    run = open_mirror()
    write(run.local, checkpoints__3__a="x", checkpoints__3__b="y", checkpoints__6__a="z")
    monkeypatch.setattr(mirror.time, "sleep", lambda _: (run.local / "checkpoints/3/b").unlink())
    run.push()
    assert read(on_a_new_machine().local) == {"checkpoints/6/a": "z"}
    assert not Bucket().exists(f"{URL}/checkpoints/3/a")


def test_a_round_that_was_cut_short_leaves_the_one_before(capsys):
    run = open_mirror()
    write(run.local, checkpoints__3__state="three")
    run.push()
    write(run.local, checkpoints__6__state="six", checkpoints__6__z="more")
    Bucket.fails.add("z")
    with pytest.raises(WorkdirError, match=r"one cannot be written \(503 try again later\)"):
        run.push()
    assert read(on_a_new_machine().local) == {"checkpoints/3/state": "three"}


def test_a_copy_that_is_ahead_of_the_bucket_is_kept():
    run = open_mirror()
    write(run.local, checkpoints__3__state="three")
    run.push()
    write(run.local, checkpoints__6__state="six")  # killed before the next round
    Bucket.copied.clear()
    again = open_mirror()
    assert set(read(again.local)) == {"checkpoints/3/state", "checkpoints/6/state"}
    assert Bucket.copied == []
    again.push()
    assert set(read(on_a_new_machine().local)) == {"checkpoints/3/state", "checkpoints/6/state"}


def test_two_runs_do_not_write_over_each_other(tmp_path, monkeypatch):
    first = open_mirror()
    write(first.local, logs__a="first")
    first.push()
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path / "elsewhere"))
    second = open_mirror()
    write(second.local, logs__a="second")
    second.push()
    write(first.local, logs__a="first goes on")
    with pytest.raises(WorkdirError, match="is written by another run: use another --workdir"):
        first.push()
    assert read(on_a_new_machine().local) == {"logs/a": "second"}


def test_a_bucket_that_was_emptied_does_not_empty_the_copy():
    run = open_mirror()
    write(run.local, logs__a="1")
    run.push()
    Bucket().rm(URL, recursive=True)
    with pytest.raises(WorkdirError, match="has gone, and its copy"):
        open_mirror()
    assert read(run.local) == {"logs/a": "1"}


def test_a_copy_that_was_removed_does_not_empty_the_bucket():
    run = open_mirror()
    write(run.local, checkpoints__3__state="three")
    run.push()
    shutil.rmtree(run.local)
    with pytest.raises(WorkdirError, match="has been removed; the bucket keeps what it holds"):
        run.push()
    assert read(open_mirror().local) == {"checkpoints/3/state": "three"}


def test_what_the_bucket_never_got_is_set_aside(tmp_path, monkeypatch, capsys):
    first = open_mirror()
    write(first.local, logs__a="first")
    first.push()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("JAXCOLOR_CACHE", str(tmp_path / "elsewhere"))
        second = open_mirror()
        write(second.local, logs__a="second")
        second.push()
    write(first.local, logs__a="first goes on")
    assert read(open_mirror().local) == {"logs/a": "second"}
    (aside,) = first.local.parent.glob(f"{first.local.name}-*")
    assert read(aside) == {"logs/a": "first goes on"}
    assert f"did not copy to the bucket is in {aside}" in capsys.readouterr().out


def test_ctrl_c_does_not_wait_for_the_bucket():
    run = Mirror(URL)
    write(run.local, logs__a="1")
    with pytest.raises(KeyboardInterrupt), run.running():
        raise KeyboardInterrupt
    assert Bucket.sent == []
    with Mirror(URL).running():
        pass
    assert [path.rpartition("/")[2] for path in Bucket.sent] == ["a"]


def test_an_error_of_the_run_comes_before_one_of_the_bucket(capsys):
    run = Mirror(URL)
    write(run.local, logs__a="1")
    Bucket.fails.add("a")
    with pytest.raises(ZeroDivisionError), run.running():
        raise ZeroDivisionError
    assert "503 try again later" in capsys.readouterr().err


def test_one_run_of_a_machine_at_a_time():
    first = Mirror(URL)
    with pytest.raises(WorkdirError, match="is in use by another run"):
        Mirror(URL)
    with first.running():
        pass
    open_mirror()


def test_names_in_the_index_do_not_lead_out_of_the_copy(tmp_path):
    index = {"round": "1", "files": {"../../outside": [1, 1]}}
    Bucket().pipe_file(f"{URL}/{INDEX}", json.dumps(index).encode())
    with pytest.raises(WorkdirError, match="which is no name for a file"):
        open_mirror()
    assert not list(tmp_path.rglob("outside"))


def test_a_damaged_index_is_one_line():
    Bucket().pipe_file(f"{URL}/{INDEX}", b"[" * 100_000)
    with pytest.raises(WorkdirError, match="cannot be read"):
        open_mirror()


def test_many_hosts_need_a_disk_that_they_share():
    refused = pytest.raises(WorkdirError, match="on a disk that they share")
    with refused, mirror.opened(URL, many_hosts=True):
        pass


def test_a_failed_round_is_told_and_made_up_for(monkeypatch, capsys):
    monkeypatch.setattr(mirror, "SECONDS", 0.01)
    run = Mirror(URL)
    write(run.local, logs__a="1")
    Bucket.fails.add("a")
    with run.running():
        said = ""
        while "trying again" not in said:
            said += capsys.readouterr().err
        Bucket.fails.clear()
    assert "503 try again later" in said
    assert read(on_a_new_machine().local) == {"logs/a": "1"}


def test_a_bucket_that_cannot_be_written_is_told_before_the_training(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("403 denied")

    run = Mirror(URL)
    refused = pytest.raises(WorkdirError, match=r"cannot be written \(403 denied\)")
    with monkeypatch.context() as closed:
        closed.setattr(Bucket, "pipe_file", refuse)
        with refused, run.running():
            pytest.fail("trained in vain")
    open_mirror()  # nobody is in it any more


def test_a_checkpoint_of_which_the_bucket_has_lost_a_file_is_left_out(capsys):
    run = open_mirror()
    write(run.local, checkpoints__3__a="x", checkpoints__6__a="y", checkpoints__6__b="z")
    run.push()
    Bucket().rm_file(f"{URL}/checkpoints/6/b")
    assert read(on_a_new_machine().local) == {"checkpoints/3/a": "x"}
    said = f"{URL} lacks checkpoints/6/b, which its index names: left out, and with it checkpoint 6"
    assert said in capsys.readouterr().out


def test_a_bucket_that_has_lost_something_of_each_checkpoint_does_not_start_over():
    run = open_mirror()
    write(run.local, logs__a="1", checkpoints__3__a="x", checkpoints__3__b="y")
    run.push()
    Bucket().rm_file(f"{URL}/checkpoints/3/b")
    shutil.rmtree(run.local)
    with pytest.raises(WorkdirError, match="every checkpoint lacks files, such as checkpoints/3/b"):
        open_mirror()


def test_what_another_run_replaces_while_it_is_read_is_read_anew(tmp_path, monkeypatch):
    run = open_mirror()
    write(run.local, checkpoints__3__a="x")
    run.push()

    def go_on():
        write(run.local, checkpoints__6__a="y")
        shutil.rmtree(run.local / "checkpoints" / "3")
        run.push()

    class Busy(Bucket):
        """Its files are read just after a run elsewhere has gone on."""

        def get_file(self, *arguments, **options):
            while acts:
                acts.pop()()
            return super().get_file(*arguments, **options)

    acts = [go_on]
    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "gs", Busy)
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path / "elsewhere"))
    assert read(open_mirror().local) == {"checkpoints/6/a": "y"}


def test_a_workdir_is_read_while_a_run_of_this_machine_writes_it(monkeypatch):
    monkeypatch.setattr(mirror, "READ_SECONDS", 0.1)
    run = Mirror(URL)
    with run.running():
        write(run.local, checkpoints__3__a="not yet sent")
        assert mirror.as_it_is(URL) == run.local
    assert mirror.as_it_is(URL) == run.local


def test_nothing_there_is_one_line_that_names_the_bucket():
    with pytest.raises(WorkdirError, match=f"{URL} is no workdir of a training: nothing is there"):
        mirror.as_it_is(URL)


def test_a_training_in_a_bucket_goes_on_elsewhere(pictures, tmp_path, monkeypatch, capsys):
    runner.run(small_experiment(pictures, train__epochs=1), URL)
    assert Bucket().exists(f"{URL}/timing.csv")
    monkeypatch.setenv("JAXCOLOR_CACHE", str(tmp_path / "elsewhere"))
    buckets.fetch.cache_clear()
    state = runner.run(small_experiment(pictures, train__epochs=2), URL)
    assert f"resuming {tmp_path / 'elsewhere'}" in capsys.readouterr().out
    assert int(state.step) == 6
    assert load_trained(URL, "latest").step == 6
    timing = Bucket().cat_file(f"{URL}/timing.csv").decode().splitlines()
    assert [row.split(",")[0] for row in timing] == ["epoch", "1", "2"]
    steps = {
        path.split("/checkpoints/")[1].split("/")[0] for path in Bucket().find(f"{URL}/checkpoints")
    }
    assert steps == {"3", "6"}


def test_a_byte_that_the_bucket_flipped_costs_no_more_than_the_checkpoint(monkeypatch, capsys):
    """On a new machine, which goes on from the one before; the damaged one is kept aside."""
    monkeypatch.setattr(runner, "_run", lambda _, place, found: train_with(found, place))
    settings = SimpleNamespace(checkpoint=CheckpointSettings(keep_last=3))
    built = SimpleNamespace(settings=settings, config={})
    expected = runner.run(built, URL)
    before = Bucket().find(URL)
    array = max(path for path in before if "/checkpoints/12/state/d/" in path)
    content = bytearray(Bucket().cat_file(array))
    content[len(content) // 2] ^= 1
    Bucket().pipe_file(array, bytes(content))
    shutil.rmtree(cache_root() / "workdirs")
    capsys.readouterr()
    assert_same(runner.run(built, URL), expected)
    lines = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert len(lines) == 1
    assert re.fullmatch(r"checkpoint 12 is damaged \(state/d/.* differs\).*one is 8", lines[0])
    held = {*Bucket().find(URL)}
    assert {path for path in before if "/checkpoints/12/" not in path} <= held
    assert {path.replace("/checkpoints/12/", "/damaged/12/") for path in before} <= held
