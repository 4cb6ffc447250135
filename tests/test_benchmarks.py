"""Every benchmark at tiny sizes; counts against XLA's; the report of a folder made by hand."""

import functools
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import SHIPPED_ENVIRONMENT

from benchmarks import (
    arithmetic,
    bystanders,
    checkpoint,
    end_to_end,
    environment,
    harness,
    hlo,
    limits,
    memory,
    options,
    preemption,
    records,
    report,
    startup,
    targets,
    train_step,
)
from benchmarks import suite as command
from jaxcolor.errors import UserError
from jaxcolor.models import patchgan, unet
from jaxcolor.training import optimizers, steps
from jaxcolor.training.state import Networks, Optimizers, create_state, from_linen

SIZES = ["--image_size=32", "--base_width=4"]


def parse(*words):
    return options.parse(command.BENCHMARKS, words, about="")


def lower_step(update, size, width):
    """The training step of the reference recipe with XLA's own convolutions, not compiled."""
    shared = {"base_width": width, "lowering": "native"}
    generator = unet.UNet(image_size=size, **unet.REFERENCE | shared)
    discriminator = patchgan.PatchGAN(**patchgan.REFERENCE | shared)
    networks = Networks(from_linen(generator), from_linen(discriminator))
    adam, _ = optimizers.adam(total_steps=1)
    both, shape = Optimizers(adam, adam), (1, size, size, 3)
    fixed = {"networks": networks, "optimizers": both}
    create = functools.partial(create_state, **fixed, condition_shape=shape, target_shape=shape)
    step = functools.partial(
        steps.train_step, **fixed, losses=steps.LossWeights(), update=update, axis_name=None
    )
    state = jax.eval_shape(create, jax.random.key(0))
    picture = jax.ShapeDtypeStruct(shape, np.uint8)
    key = jax.eval_shape(jax.random.key, 0)
    return state, jax.jit(step).lower(state, {"condition": picture, "target": picture}, key)


@pytest.mark.parametrize("update", steps.UPDATES)
def test_counted_arithmetic_is_what_xla_counts(update):
    """XLA leaves out products with padding, and counts norms, activations and Adam."""
    state, lowered = lower_step(update, 256, 64)
    counted = arithmetic.step_flops(update, 256, 64)
    assert lowered.cost_analysis()["flops"] == pytest.approx(counted, rel=0.04)
    trees = (state.generator.params, state.discriminator.params)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trees))
    assert arithmetic.parameter_count(256, 64) == pytest.approx(parameters, rel=1e-3)


def test_arithmetic_of_the_smallest_networks_by_hand():
    """Width 1, 16 pixels: the down and the up layers, outermost last."""
    down = 2 * 16 * (64 * 3 * 1 + 16 * 1 * 2 + 4 * 2 * 4 + 1 * 4 * 8)
    up = 2 * 16 * (1 * 8 * 4 + 4 * 8 * 2 + 16 * 4 * 1 + 64 * 2 * 3)
    assert arithmetic.inference_flops(16, 1) == down + up


def test_every_benchmark_takes_its_options_and_no_other(capsys):
    for name, module in command.BENCHMARKS.items():
        full, quick = vars(parse(name)), vars(parse(name, "--quick"))
        assert {key: full[key] for key in module.FULL} == module.FULL
        assert {key: quick[key] for key in module.FULL} == module.FULL | module.QUICK
    assert parse("train_step", "--quick", "--batch", "2").batch == [2]
    with pytest.raises(SystemExit):
        parse("conv_lowering", "--update", "sequential")
    assert "unrecognized arguments" in capsys.readouterr().err


def test_the_machine_is_described():
    found = environment.describe_run()
    assert f"{found['cores']} cores" in found["machine"]
    assert found["platform"] == "cpu"
    assert found["versions"]["jax"] == jax.__version__
    assert found["commit"] != "unknown"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")
def test_work_of_a_child_counts_as_our_own():
    before = bystanders.own_seconds()
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert bystanders.own_seconds() - before > 0.4


def table_of(benchmark, *words):
    """The only table of a tiny run, as it comes back from JSON."""
    chosen = parse(benchmark, *SIZES, *words)
    (table,) = command.BENCHMARKS[benchmark].tables(chosen)
    return json.loads(json.dumps(table))


def test_steps_in_one_dispatch_are_the_steps_one_by_one():
    def step(state, batch, rng):
        return 3 * state + batch["condition"].sum(), {"before": state, "rng": rng}

    batches = {"condition": np.arange(4.0)}
    state, metrics = train_step.take_steps(step, 2, jax.numpy.ones(()), batches, 7.0)
    assert (state, metrics["before"], metrics["rng"]) == (3 * (3 + 0 + 1) + 2 + 3, 3 + 0 + 1, 7)


def test_fractions_are_of_the_matrix_rate_of_their_own_dtype():
    rows = [
        harness.Contender(harness.OURS, "float32", None, flops=6.0),
        harness.Contender(harness.OURS, "bfloat16", None, flops=6.0),
        harness.Contender(harness.LIMIT, "float32 a", None, flops=10.0),
        harness.Contender(harness.LIMIT, "float32 b", None, flops=20.0),
        harness.Contender(harness.LIMIT, "bfloat16 a", None, flops=60.0),
    ]
    samples = {row.name: [1.0] * 5 for row in rows} | {"jaxcolor bfloat16": [0.5] * 5}
    measured = harness.Measurement(samples, {}, 0.0)
    assert harness.matrix_rates(rows, measured) == {"float32": 20.0, "bfloat16": 60.0}
    found = harness.fractions_of_limit(rows, measured)
    assert found == {"jaxcolor float32": 0.3, "jaxcolor bfloat16": 0.2}


def test_a_shortfall_against_naive_jax_is_one_line(capsys):
    ratio = {"against": harness.NAIVE, "value": 3.5, "withheld": ""}
    slower = ratio | {"value": 2.0, "withheld": "other programs used 1.0 cores"}
    result = {"tables": [{"title": "step", "ratios": [slower, ratio]}]}
    assert train_step.shortfall(result, 3.0) == ""
    assert train_step.shortfall(result, 4.0) == "step: 3.50 times naive JAX, needs 4.0"
    result["tables"][0]["ratios"] = [slower]
    assert train_step.shortfall(result, 1.5) == ""
    assert "(as a ratio withheld: other programs used 1.0 cores)" in capsys.readouterr().out


def test_the_command_fails_on_a_shortfall_and_keeps_the_result(tmp_path, monkeypatch, capsys):
    words = ["train_step", *SIZES, "--quick", "--dtype=float32", "--skip=float", "--repetitions=5"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words, "--at_least=1e9", f"--out={tmp_path}"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert command.main() == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "times naive JAX, needs 1000000000.0" in errors[0]
    result = json.loads((tmp_path / "train_step_quick.json").read_text())
    assert result["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert result["tables"][0]["fractions_of_limit"]["jaxcolor float32"] > 0


def test_profile_phases_and_kinds_sum_to_the_whole():
    words = ("--batch=1", "--generator=1", "--dtype=float32", "--repetitions=1", "--steps=3")
    tables = list(command.BENCHMARKS["profile"].tables(parse("profile", *SIZES, *words)))
    step, generator = json.loads(json.dumps(tables))
    for table in (step, generator):
        whole = sum(table["phases"].values())
        assert sum(table["kinds"].values()) == pytest.approx(whole)
        assert whole <= sum(table["instructions"].values()) * 1.0001
        assert table["phases"]["rest"] < 0.4 * whole, "most instructions must name their phase"
        assert table["kinds"]["matrix products"] > 0
    named = ("generator forward", "generator backward", "discriminator backward", "optimizer")
    assert all(step["phases"][name] > 0 for name in named)
    found = {name for name, spent in generator["phases"].items() if spent}
    assert found - {"rest"} == {"generator forward"}
    assert generator["limits"]["optimizer_seconds"] == 0


def test_an_instruction_is_read_from_the_text_of_its_module():
    text = """HloModule jit_step
%fused.1 (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %dot.3 = f32[2]{0} dot(%p, %p), metadata={op_name="a"}
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %ynn.7 = f32[2]{0} fusion(%x), calls=%fused.1, metadata={op_name="transpose(jvp(generator))/dot"}
  %pad.2 = f32[2]{0} pad(%x), metadata={op_name="jit(f)/jvp(discriminator)/pad"}
  %call.4 = (f32[2]{0}, s32[]) while(%x), body=%fused.1
  ROOT %gemm.1 = f32[2]{0} custom-call(%x), custom_call_target="__cublas$gemm"
}
"""
    found = hlo.read_module(text)
    assert found["ynn.7"][2:] == ("generator backward", "matrix products")
    assert found["pad.2"][2:] == ("discriminator forward", "copies, pads, slices")
    assert found["call.4"].opcode in hlo.CONTAINERS
    assert found["gemm.1"][2:] == ("rest", "matrix products")


def test_epochs_and_bare_steps_are_timed_in_turns(pictures):
    table = table_of(
        *("end_to_end", "--batch=8", "--dtype=float32", f"--data={pictures}"),
        *("--steps=3", "--repetitions=2"),
    )
    assert {name: len(values) for name, values in table["samples"].items()} == {
        end_to_end.EPOCH: 2,
        end_to_end.BARE: 2,
    }
    assert table["ratios"][0]["value"] > 0
    assert len(table["waiting"]) == 2
    assert all(0 <= share <= 1 for share in table["waiting"])


def test_loss_to_a_checkpoint_is_what_plain_steps_would_not_have_taken():
    table = table_of("checkpoint", "--batch_size=8", "--steps=2", "--repetitions=2")
    assert all(len(values) == 2 for values in table["samples"].values())
    assert min(table["samples"][checkpoint.BLOCKED]) > 0
    assert min(table["samples"][checkpoint.RESTORED]) > 0
    assert min(table["samples"][checkpoint.CHECKED]) > 0
    samples = {checkpoint.PLAIN: [0.5], checkpoint.LOST: [4.0]}
    assert checkpoint.share(samples) == {"epoch of 400 steps": 0.02, "minute": 4 / 60}


def test_parts_of_a_start_add_up_and_the_second_loads_what_the_first_compiled():
    table = table_of(
        *("startup", "--dtype=float32", "--batch_size=8", "--pictures=8", "--repetitions=1")
    )
    for row in (table["first"], {name: values[0] for name, values in table["samples"].items()}):
        assert set(row) == {*startup.PARTS, startup.LAST, startup.WHOLE}
        parts = [seconds for name, seconds in row.items() if name != startup.WHOLE]
        assert sum(parts) == pytest.approx(row[startup.WHOLE])
    assert table["samples"]["compiling"][0] < table["first"]["compiling"]


def test_a_run_that_ends_early_is_an_error():
    with pytest.raises(UserError, match="image_size 100 must be a power of two"):
        startup.start({"data.image_size": 100}, SHIPPED_ENVIRONMENT)


def test_a_preemption_costs_the_way_out_and_the_way_back():
    options = ("--dtype=float32", "--batch_size=8", "--pictures=8", "--repetitions=1", "--steps=2")
    table = table_of("preemption", *options)
    assert {name: len(values) for name, values in table["samples"].items()} == {
        preemption.EXIT: 1,
        preemption.START: 1,
    }
    assert 0 < table["samples"][preemption.EXIT][0] < 30


def test_any_number_of_devices_trains_alike():
    words = ("--devices", "1", "2", "--batch_size=2", "--repetitions=2", "--shard_optimizer=yes")
    table = table_of("scaling", *words)
    assert table["simulated"]
    assert table["loss_differences"]["1"] == 0
    assert table["loss_differences"]["2"] < 1e-4
    assert table["relative"]["jaxcolor float32 1 devices"] == 1
    held = table["state_bytes"]
    # Of parameters and two moments, two devices hold a whole and two halves each: 2/3.
    assert held["2"] / held["1"] == pytest.approx(2 / 3, rel=0.01)


def test_peak_memory_is_of_processes_of_their_own(capsys):
    words = ("--batch=1", "--dtype=float32", "--skip=float")
    table = table_of("memory", *words)
    peaks = table["samples"]["jaxcolor float32"]
    assert peaks["process"] > 1e8, "jax alone takes as much"
    assert peaks["training"] is None or peaks["training"] <= peaks["process"]
    state = 3 * 4 * arithmetic.parameter_count(32, 4)  # parameters and Adam's moments
    assert state < peaks["program"]["state and batch"] < 1.1 * state + 1e5
    assert peaks["program"]["temporaries"] > state / 3, "gradients"
    assert peaks["program"]["results"] < 1e4, "the new state takes the old one's place"
    assert {row["against"] for row in table["ratios"]} <= {harness.NAIVE}


@pytest.mark.parametrize("able", [True, False])
def test_emulated_bfloat16_is_left_out_unless_asked_for(able, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setattr(limits, "has_bfloat16_instructions", lambda: able)
    found = {}
    for emulated in ("skip", "measure"):
        options = Namespace(dtype=["float32", "bfloat16"], skip=[], emulated=emulated)
        names = train_step.pytorch_variants(options, "VARIANTS")
        found[emulated] = {name.split()[0] for name in names}
        train_step.announce_peers(options)
    assert found["measure"] == {"float32", "bfloat16"}
    assert found["skip"] == ({"float32", "bfloat16"} if able else {"float32"})
    assert capsys.readouterr().out.count("emulates") == (not able)


def test_a_peer_without_an_answer_is_reported_and_ours_must_answer():
    request = {"variant": "float32", "image_size": 30, "base_width": 4, "settings": {}}
    request |= {"update": "sequential", "batch_size": 1}
    assert "error" in memory.probe(request | {"family": harness.NAIVE, "base_width": "wide"})
    with pytest.raises(UserError, match="jaxcolor float32"):
        memory.probe(request | {"family": harness.OURS})


def made_result(benchmark, tables, **options):
    """A result as `records.record` writes it, of full size."""
    return {
        "benchmark": benchmark,
        "command": f"python -m benchmarks {benchmark}",
        "machine": "a machine",
        "platform": "cpu",
        "versions": {"jax": "0.10", "torch": None},
        "environment": {"OMP_WAIT_POLICY": "PASSIVE"},
        "commit": "abc",
        "started": "2026-01-02T03:04:05Z",
        "options": {"image_size": 256, "base_width": 64} | options,
        "tables": tables,
    }


def made_step(**changes):
    """A table of the training step: 1.4 times PyTorch, and a ratio to naive JAX withheld."""
    names = ("jaxcolor float32", "PyTorch float32", "naive JAX float32")
    ratio = harness.Ratio(names[0], names[1], "fastest float32 PyTorch", 1.4, 1.3, 1.5, "")
    naive = harness.Ratio(names[0], names[2], "naive JAX", 6.0, 1.0, 9.0, "the quartiles allow")
    return {
        "title": "training step, batch 1",
        "images": 1,
        "update": "sequential",
        "samples": {name: [0.1 * n] * 5 for n, name in enumerate(names, start=1)},
        "failures": {},
        "others": 0.0,
        "matrix_rates": {"float32": 2e11},
        "fractions_of_limit": {names[0]: 0.5},
        "ratios": [ratio._asdict(), naive._asdict()],
    } | changes


def write_results(folder, *results):
    folder.mkdir(parents=True)
    for result in results:
        (folder / f"{result['benchmark']}.json").write_text(json.dumps(result))


def test_the_report_judges_what_was_measured_and_says_what_was_not(tmp_path):
    folder = tmp_path / "results"
    write_results(folder, made_result("train_step", [made_step()]))
    text = report.write_report(folder, quick=False).read_text()
    row = (
        "| training step, float32, batch 1, against the fastest float32 PyTorch | at least 1.30x |"
    )
    assert f"{row} 1.40x | met |" in text
    assert "share of the matrix rate | at least 0.60 | 0.50 | not met |" in text
    assert "against naive JAX | at least 5.00x |  | not measured: the quartiles allow |" in text
    assert "GPU: training step, float32, batch 1, against PyTorch" in text
    assert "not measured on a GPU" in text
    assert "`python -m benchmarks train_step`" in text
    assert "a machine; jax 0.10; OMP_WAIT_POLICY PASSIVE; commit abc; 2026-01-02" in text
    assert text.count("\nNot measured.\n") == len(report.SECTIONS) - 1
    for name in ("train_step_cpu.png", "train_step_cpu_limit.png"):
        assert f"(results/{name})" in text
        assert (folder / name).stat().st_size > 1000


def test_other_sizes_and_a_busy_machine_are_not_judged(tmp_path):
    busy = made_step(others=1.5)
    write_results(tmp_path / "results", made_result("train_step", [busy]))
    text = report.write_report(tmp_path / "results", quick=False).read_text()
    assert "rate | at least 0.60 |  | not measured: other programs used 1.5 cores |" in text
    result = made_result("train_step", [made_step()], base_width=32)
    rows = list(targets.rows({("train_step", "cpu"): result}))
    assert rows[0].verdict == "not measured at full size: base_width 32"


def test_a_gpu_has_rows_of_its_own(tmp_path):
    result = made_result("train_step", [made_step()]) | {"platform": "gpu"}
    rows = list(targets.rows({("train_step", "gpu"): result}))
    (found,) = [row for row in rows if row.verdict == "met"]
    assert found.measure == "GPU: training step, float32, batch 1, against PyTorch"
    write_results(tmp_path / "results" / "gpu", result)
    found = records.read_results(tmp_path / "results", report.SECTIONS, quick=False)
    assert ("train_step", "gpu") in found


def test_the_report_shows_every_benchmark(tmp_path):
    phases = dict.fromkeys(hlo.PHASES, 0.01)
    limits = {"arithmetic_seconds": 0.02, "optimizer_seconds": 0.01}
    common = {"title": "one", "images": 1, "dtype": "float32", "others": 0.1}
    times = {"samples": {"epoch": [0.1, 0.2]}, "ratios": []}
    program = {"state and batch": 800_000, "temporaries": 700_000, "results": 0}
    peak = {
        "jaxcolor float32": {"training": 2_000_000, "process": 3_000_000, "program": program},
        "PyTorch float32": {"training": 3_000_000, "process": 4_000_000},
    }
    tables = {
        "memory": {"samples": peak, "ratios": [], "failures": {}, "update": "sequential"},
        "profile": {"phases": phases, "kinds": phases, "limits": limits, "step_seconds": 0.05}
        | {"what": "generator alone"},
        "end_to_end": times,
        "checkpoint": times | {"shares": {"epoch of 400 steps": 0.03}},
        "startup": {"first": {"whole": 20.0}, "samples": {"whole": [7.0]}},
        "scaling": {
            "samples": {"a": [0.1]},
            "devices": {"a": 1},
            "loss_differences": {"1": 0.0},
            "parameter_differences": {"1": 0.0},
            "relative": {"a": 1.0},
        },
        "conv_lowering": {"medians": {"gemm": 0.1}, "samples": {"down_0": {"gemm": [0.1]}}},
        "inference": made_step(),
    }
    made = [made_result(name, [common | table]) for name, table in tables.items()]
    write_results(tmp_path / "results", *made)
    text = report.write_report(tmp_path / "results", quick=False).read_text()
    missing = {"train_step", "input_pipeline", "preemption"}
    assert text.count("\nNot measured.\n") == len(missing)
    assert "epoch of 400 steps | below 2.0% | 3.0% | not met |" in text
    planned = "state and batch 1, temporaries 1, results 0, beyond the program 0"
    assert f"| jaxcolor float32 | 2 | 3 | {planned} |" in text
    assert "| PyTorch float32 | 3 | 4 |  |" in text
    assert "second start to the first step, float32 | below 8.0 s | 7.0 s | met |" in text


def test_all_goes_on_after_a_failure_and_names_it(monkeypatch, capsys):
    ran = []

    def run(words, **_):
        ran.append(words[3])
        return subprocess.CompletedProcess(words, int(words[3] == "memory"))

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.run_all("folder", quick=True) == 1
    assert ran == list(command.BENCHMARKS)
    assert capsys.readouterr().err == "error: failed: memory\n"
