#!/usr/bin/env bash
# Trains with one process for each GPU of this machine; the words are those of run.py:
#   docs/launch/one_process_per_gpu.sh --config=configs/pix2pix.py --workdir=runs/gpus
# Plain `python run.py` takes all GPUs in one process, and is what to start with.
set -uo pipefail

count=${COUNT:-$(nvidia-smi --list-gpus | wc -l)}
address=127.0.0.1:${PORT:-29500}

processes=()
for ((number = 0; number < count; number++)); do
  CUDA_VISIBLE_DEVICES=$number "${PYTHON:-python}" run.py "$@" \
    --coordinator="$address" --num_processes="$count" --process_id="$number" &
  processes+=($!)
done

# One signal suffices: they agree on the step after which they stop.
stop() { kill -TERM "${processes[@]}" 2>/dev/null; }
trap stop TERM INT

status=0
for process in "${processes[@]}"; do
  code=0
  wait "$process" || code=$?
  # A signal ends the waiting, not the process.
  while kill -0 "$process" 2>/dev/null; do
    code=0
    wait "$process" || code=$?
  done
  [ "$code" -gt "$status" ] && status=$code
done
exit "$status"
