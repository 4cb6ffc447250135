#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs of several hosts:
#   docs/launch/tpu_slice.sh create|wait|install|mount|train|delete
# PROJECT, ZONE and what else is read from the environment is described in docs/launch.md.
set -euo pipefail

NAME=${NAME:-jaxcolor}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
: "${PROJECT:?the project}" "${ZONE:?the zone}"
place=(--project="$PROJECT" --zone="$ZONE")

# Runs a command on every host of the slice.
everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker=all --command="$1"; }

# Returns once Google has given the slice; fails where it never will.
await_chips() {
  local state=""
  while [ "$state" != ACTIVE ]; do
    [ -z "$state" ] || sleep 60
    state=$(gcloud compute tpus queued-resources describe "$NAME" "${place[@]}" \
      --format="value(state.state)")
    echo "$NAME: $state"
    case "$state" in FAILED | SUSPENDED) exit 1 ;; esac
  done
}

case "${1:-}" in
  create)
    # Spot capacity costs less and may be taken back; leave out --spot otherwise.
    gcloud compute tpus queued-resources create "$NAME" "${place[@]}" --node-id="$NAME" \
      --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME" --spot
    # Google has only queued the request by now. Interrupted, this may be waited for again: `wait`.
    await_chips
    ;;
  wait)
    await_chips
    ;;
  install)
    # The image's own Python may be older than 3.11: uv brings one.
    everywhere "git clone --depth=1 ${REPOSITORY:?where the checkout is cloned from} jaxcolor \
      && python3 -m pip install --user uv && cd jaxcolor \
      && python3 -m uv venv --seed --python=3.12 .venv && .venv/bin/pip install -e '.[tpu]'"
    ;;
  mount)
    # A Filestore share, say. What all hosts write, checkpoints above all, must lie on one disk.
    everywhere "sudo apt-get install -y nfs-common && sudo mkdir -p /mnt/shared \
      && sudo mount ${SHARE:?host:/share} /mnt/shared && sudo chmod a+rwx /mnt/shared"
    ;;
  train)
    everywhere "cd jaxcolor && .venv/bin/python run.py --config=configs/pix2pix.py \
      --workdir=/mnt/shared/runs/tpu --config.data.path=${DATA:?the pictures} \
      --config.train.batch_size=${BATCH:-128} --config.train.compute_dtype=bfloat16"
    ;;
  delete)
    gcloud compute tpus queued-resources delete "$NAME" "${place[@]}" --force
    ;;
  *)
    echo "usage: $0 create|wait|install|mount|train|delete" >&2
    exit 2
    ;;
esac
