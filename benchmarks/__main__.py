"""python -m benchmarks NAME: times jaxcolor and its peers in turns, on the device at hand.

python -m benchmarks train_step --quick
python -m benchmarks train_step --batch 1 4 --dtype float32 bfloat16 --out train_step.json
python -m benchmarks inference --statistics running
"""

import argparse
import os
from collections.abc import Sequence

from benchmarks import harness, inference, train_step
from jaxcolor.training.steps import INFERENCE_STATISTICS, UPDATES

BENCHMARKS = {"train_step": train_step, "inference": inference}
FULL = {"base_width": 64, "repetitions": 15, "skip": []}
# torch.compile alone would take longer than a quick run may.
QUICK = {"batch": [1], "base_width": 32, "repetitions": 7, "skip": ["compiled"]}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what it leaves open filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--batch", type=int, nargs="+", help="1 4 or, of inference, 1 8")
    dtypes = ["float32", "bfloat16"]
    parser.add_argument("--dtype", nargs="+", choices=dtypes, default=dtypes)
    parser.add_argument("--update", nargs="+", choices=UPDATES, default=["sequential"])
    parser.add_argument("--statistics", choices=INFERENCE_STATISTICS, default="picture")
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--base_width", type=int, help="channels of the first layers; 64, quick 32")
    parser.add_argument("--repetitions", type=int, help="samples of each; 15, quick 7")
    parser.add_argument("--skip", nargs="*", help="leave out PyTorch variants with these words")
    parser.add_argument("--quick", action="store_true", help="under two minutes on two cores")
    parser.add_argument("--out", metavar="FILE.json", help="where to write every sample")
    options = parser.parse_args(arguments)
    batches = {"batch": list(BENCHMARKS[options.benchmark].BATCHES)}
    for name, value in (batches | FULL | (QUICK if options.quick else {})).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    """Runs one benchmark."""
    options = parse()
    # Read when PyTorch is first imported. Threads that wait by spinning take the cores from the
    # others' work: on a busy machine with 2 cores this alone made PyTorch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    harness.run_cases(options.benchmark, BENCHMARKS[options.benchmark].cases(options), options)


if __name__ == "__main__":
    main()
