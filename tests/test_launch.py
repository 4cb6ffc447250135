"""The launch recipes without a cloud: syntax, what the scripts call, flags that run.py takes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml
from absl import flags
from conftest import ROOT

from jaxcolor import command, experiment, train_command
from jaxcolor.hosts import Address
from jaxcolor.settings import read_settings

LAUNCH = ROOT / "docs" / "launch"
DOCUMENT = (ROOT / "docs" / "launch.md").read_text()
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
SAVED = 75

# ml_collections loads config files with it.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# Notes how it was called, with the numbers that tell processes apart, and ends as it is told.
STAND_IN = """#!{python}
import json, os, pathlib, signal, sys, time
name, folder = pathlib.Path(sys.argv[0]).name, pathlib.Path({folder!r})
number = os.environ.get("CUDA_VISIBLE_DEVICES", "")
with open(folder / f"{{name}}{{number}}.calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if name == "srun":
    os.execvp(sys.argv[1], sys.argv[1:])
if name == "gcloud" and "describe" in sys.argv:
    states = os.environ.get("STATES", "ACTIVE").split()
    asked = sum("describe" in line for line in open(folder / "gcloud.calls"))
    print(states[asked - 1])
if name == "kubectl" and "-" in sys.argv:
    (folder / "applied.yaml").write_text(sys.stdin.read())
if name == "nvidia-smi":
    print("GPU 0\\nGPU 1\\nGPU 2")
if name == "python":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    (folder / f"ready{{number}}").touch()
    time.sleep(float(os.environ.get("SECONDS_TO_TRAIN", 0)))
    sys.exit(int(os.environ.get(f"STATUS{{number}}", 0)))
"""


@pytest.fixture
def stage(tmp_path):
    """A folder of stand-ins for what the scripts call, and an environment that finds them first."""
    names = "srun scontrol gcloud nvidia-smi python sleep docker kubectl"
    for name in names.split():
        path = tmp_path / name
        path.write_text(STAND_IN.format(python=sys.executable, folder=str(tmp_path)))
        path.chmod(0o755)
    kept = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    return tmp_path, kept | {"PYTHON": "python", "DATA": "pairs", "WORKDIR": "runs/x"}


def run(stage, script, *words, **more):
    folder, environment = stage
    found = subprocess.run(
        ["bash", str(LAUNCH / script), *words],
        env=environment | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return found, folder


def calls(folder, name):
    """How a stand-in was called, time after time."""
    path = folder / f"{name}.calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def parse(words):
    """The config and the hosts' address that run.py would make of its words.

    Raises:
      SystemExit: it does not take them.
    """
    values = flags.FlagValues()
    train_command.define_flags(values)
    argv = ["run.py", *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)  # where config_flags looks for keys of the config
        command.parse_flags(argv, values)
    address = Address(values.coordinator, values.num_processes, values.process_id)
    address.check()
    resolved, _ = experiment.resolve(values.config)
    settings = read_settings(resolved)
    assert values.workdir
    assert settings.data.path
    return settings, address


def blocks():
    """The commands of the document, block by block."""
    return re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)


def shown(pattern):
    """The commands of the document's blocks that match, with their capital words as they are."""
    return [line for block in blocks() for line in block.splitlines() if re.search(pattern, line)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_shell_can_read_every_script(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.suffix != ".sh" or os.access(script, os.X_OK)


def test_the_document_names_every_file_and_every_file_is_there():
    named = set(re.findall(r"\]\(launch/([\w.]+)\)", DOCUMENT))
    assert named == {path.name for path in LAUNCH.iterdir()}


@pytest.mark.parametrize("line", shown(r"^python run\.py"))
def test_run_py_takes_the_commands_of_the_document(line):
    settings, address = parse(shlex.split(line)[2:])
    assert address.num_processes in (None, 2)
    assert settings.data.path.endswith("CACHE")


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (SAVED, True)])
def test_slurm_queues_a_job_again_that_was_stopped_and_no_other(stage, status, requeued):
    found, folder = run(stage, "slurm.sbatch", STATUS=str(status))
    assert found.returncode == status, found.stderr
    assert calls(folder, "scontrol") == ([["requeue", "7"]] if requeued else [])
    (words,) = calls(folder, "srun")
    assert words[:2] == ["python", "run.py"]
    settings, address = parse(words[2:])
    assert address == Address()  # JAX finds SLURM itself
    assert settings.train.batch_size % 16 == 0


def test_slurm_says_what_it_needs(stage):
    found, folder = run(stage, "slurm.sbatch", DATA="")
    assert found.returncode != 0
    assert "DATA" in found.stderr
    assert calls(folder, "srun") == []


def test_slurm_gives_each_task_all_gpus_of_its_node_and_a_warning():
    text = (LAUNCH / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", text, re.MULTILINE))
    assert options["ntasks-per-node"] == options["gpus-per-node"] == "8"
    assert not {"gpus-per-task", "gpu-bind"} & options.keys()
    assert {"requeue", "open-mode"} <= options.keys()
    name, _, seconds = options["signal"].partition("@")
    assert name == "TERM"  # with "B:" the shell alone would get it
    assert int(seconds) >= 30


def test_every_gpu_of_a_machine_gets_its_process(stage):
    words = ["--config=configs/pix2pix.py", "--workdir=runs/x", "--config.data.path=pairs"]
    found, folder = run(stage, "one_process_per_gpu.sh", *words)
    assert found.returncode == 0, found.stderr
    for number in range(3):
        ((first, *own),) = calls(folder, f"python{number}")
        assert first == "run.py"
        _, address = parse(own)
        assert address == Address("127.0.0.1:29500", 3, number)


def test_the_worst_status_of_a_machines_processes_is_its_own(stage):
    found, _ = run(stage, "one_process_per_gpu.sh", COUNT="3", STATUS1="2", STATUS2="1")
    assert found.returncode == 2


def test_a_signal_reaches_every_process_of_a_machine_and_is_waited_for(stage):
    folder, environment = stage
    started = subprocess.Popen(
        ["bash", str(LAUNCH / "one_process_per_gpu.sh"), "--workdir=runs/x"],
        env=environment | {"COUNT": "2", "SECONDS_TO_TRAIN": "60"},
        cwd=ROOT,
    )
    until = time.monotonic() + 30
    while not all((folder / f"ready{number}").exists() for number in range(2)):
        assert time.monotonic() < until
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=30) == SAVED


@pytest.mark.parametrize("step", ["create", "wait", "install", "mount", "train", "delete"])
def test_gcloud_is_called_for_the_slice_on_all_hosts(stage, step):
    place = {"PROJECT": "p", "ZONE": "z", "SHARE": "10.0.0.2:/runs", "REPOSITORY": "https://r"}
    found, folder = run(stage, "tpu_slice.sh", step, **place)
    assert found.returncode == 0, found.stderr
    for words in calls(folder, "gcloud"):
        assert words[:2] == ["compute", "tpus"]
        assert words[4] == "jaxcolor"
        assert {"--project=p", "--zone=z"} <= set(words)
    if step in ("install", "mount", "train"):
        (words,) = calls(folder, "gcloud")
        assert words[2:4] == ["tpu-vm", "ssh"]
        assert "--worker=all" in words
        (remote,) = [word.removeprefix("--command=") for word in words if "--command=" in word]
        subprocess.run(["bash", "-n", "-c", remote], check=True)
        if step == "train":
            settings, _ = parse(shlex.split(remote.partition("run.py ")[2]))
            assert settings.train.batch_size % 16 == 0


@pytest.mark.parametrize("step", ["create", "wait"])
@pytest.mark.parametrize(("end", "status"), [("ACTIVE", 0), ("FAILED", 1), ("SUSPENDED", 1)])
def test_a_slice_is_waited_for_until_it_is_there_or_will_never_be(stage, step, end, status):
    states = f"WAITING_FOR_RESOURCES PROVISIONING {end}"
    found, folder = run(stage, "tpu_slice.sh", step, PROJECT="p", ZONE="z", STATES=states)
    assert found.returncode == status, found.stderr
    assert found.stdout.splitlines() == [f"jaxcolor: {state}" for state in states.split()]
    assert len(calls(folder, "sleep")) == 2


def test_a_slice_needs_a_project_and_a_step(stage):
    assert run(stage, "tpu_slice.sh", "create")[0].returncode != 0
    found, folder = run(stage, "tpu_slice.sh", PROJECT="p", ZONE="z")
    assert found.returncode == 2
    assert "usage: " in found.stderr
    assert calls(folder, "gcloud") == []


def test_the_job_set_asks_for_one_slice_and_starts_again_what_was_stopped():
    (job,) = yaml.safe_load_all((LAUNCH / "jobset.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (slice_,) = job["spec"]["replicatedJobs"]
    work = slice_["template"]["spec"]
    pod = work["template"]["spec"]
    (container,) = pod["containers"]
    wide, high = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert work["parallelism"] == work["completions"] == int(wide) * int(high) // chips
    # A pod failure policy wants pods that do not start again by themselves.
    assert (work["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    saved, disturbed = work["podFailurePolicy"]["rules"]
    codes = {"containerName": container["name"], "operator": "In", "values": [SAVED]}
    assert (saved["action"], saved["onExitCodes"]) == ("FailJob", codes)
    assert disturbed["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    (rule,) = job["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert pod["terminationGracePeriodSeconds"] > 30
    settings, address = parse(container["command"][2:])
    assert address == Address()
    assert settings.train.batch_size % (int(wide) * int(high)) == 0
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert settings.data.path.startswith(mount["mountPath"])


def test_the_image_that_is_built_is_pushed_and_run(stage):
    folder, environment = stage
    (block,) = [text for text in blocks() if "docker build" in text]
    block = block.replace("IMAGE=...", "IMAGE=images/jaxcolor:1")
    subprocess.run(["bash", "-euc", block], env=environment, cwd=ROOT, check=True)
    build, push = calls(folder, "docker")
    assert build[build.index("-t") + 1] == push[1] == "images/jaxcolor:1"
    (job,) = yaml.safe_load_all((folder / "applied.yaml").read_text())
    (slice_,) = job["spec"]["replicatedJobs"]
    (container,) = slice_["template"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "images/jaxcolor:1"


def test_the_image_holds_no_results_environments_or_history():
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv*", "runs"} <= {*left_out}


def test_the_image_ends_with_the_program_itself():
    text = (LAUNCH / "Dockerfile").read_text()
    assert re.search(r'^RUN pip install .*"\.\[tpu\]"$', text, re.MULTILINE)
    # In the form of a list no shell stands between SIGTERM and Python.
    assert isinstance(json.loads(re.search(r"^CMD (.*)$", text, re.MULTILINE)[1]), list)
