"""Batches: a source and a transform, read ahead by threads or processes with grain.

The batch of a step is a function of the seed and the step alone: not of the threads, the worker
processes, the number of hosts or the step at which a run was resumed.
"""

import grain
import numpy as np
from absl import flags

from jaxcolor.errors import ConfigError, DataError


def steps_per_epoch(source, batch_size):
    """Number of whole batches in one pass over the source.

    Raises:
      ConfigError: the batch size is less than 1.
      DataError: the source has fewer pairs than one batch.
    """
    _check_minimum("train.batch_size", batch_size, 1)
    steps = len(source) // batch_size
    if steps == 0:
        raise DataError(
            f"{len(source)} pairs are fewer than one batch: train.batch_size {batch_size} must be "
            f"at most {len(source)}"
        )
    return steps


def training_batches(
    source,
    transform,
    *,
    batch_size,
    seed,
    start_step=0,
    num_threads=4,
    prefetch=8,
    num_workers=0,
    process_index=0,
    process_count=1,
):
    """Endless iterator of this process's share of the batches, from step `start_step` on.

    A batch is {"condition", "target"}: uint8 [batch_size / process_count, size, size, 3], size
    being the transform's. An epoch takes every pair at most once, in an order of its own, and
    leaves out the last, incomplete batch. Call `close()` on the iterator when done with it.
    What goes wrong while reading ahead, such as a DataError, is raised by `next`.

    Args:
      source: see `sources`.
      transform: called with a pair and a NumPy generator, which is a function of the seed, the
        epoch and the pair.
      batch_size: number of pairs in a batch, over all processes.
      seed: integer; decides the orders and the draws of the transform.
      start_step: number of steps taken before, 0 for a new run.
      num_threads: threads that make batches, in each worker; 0 makes them within `next`. Threads
        share the cores with the training step.
      prefetch: number of batches kept ready in each worker; they take memory.
      num_workers: processes that make batches; 0 uses threads of this one. Each takes seconds to
        start, so they pay only where threads cannot keep up.
      process_index: number of this process among those that train together.
      process_count: number of the processes that train together.

    Raises:
      ConfigError: a number is out of range.
      DataError: the source has fewer pairs than one batch.
    """
    steps = steps_per_epoch(source, batch_size)
    _check_minimum("loader.num_threads", num_threads, 0)
    _check_minimum("loader.num_workers", num_workers, 0)
    _check_minimum("start_step", start_step, 0)
    _check_minimum("seed", seed, 0)
    if batch_size % process_count:
        raise ConfigError(
            f"train.batch_size {batch_size} must be divisible by {process_count} processes"
        )
    # grain counts an epoch's seed up from the first: with the plain seed, epoch 1 of seed 0 would
    # have the order of epoch 0 of seed 1.
    order_seed, draw_seed = map(int, np.random.SeedSequence(seed).generate_state(2))
    batches = (
        grain.MapDataset.source(source)
        # Before the shuffle: draws then belong to a pair and an epoch, not to a place in it.
        .random_map(transform, seed=draw_seed)
        .shuffle(seed=order_seed)
        # Every process takes each process_count-th pair, so that together they hold the batch.
        .slice(slice(process_index, steps * batch_size, process_count))
        .batch(batch_size // process_count, drop_remainder=True)
        # The epochs go on counting: each has its own order and its own draws.
        .repeat(reseed_each_epoch=True)
        .slice(slice(start_step, None))
    )
    ahead = batches.to_iter_dataset(_read_options(num_threads, prefetch))
    if num_workers:
        # grain's workers read absl flags, which nobody has parsed where this is a library.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(
            num_workers=num_workers, per_worker_buffer_size=max(1, prefetch)
        )
        ahead = ahead.mp_prefetch(options)
    return _until_closed(iter(ahead))


class ValidationBatches:
    """All pairs of a source in its order, in batches of one size; can be gone through again."""

    def __init__(self, source, transform, *, batch_size, num_threads, prefetch):
        """See `validation_batches`."""
        self._source, self._transform, self._batch_size = source, transform, batch_size
        self._options = _read_options(num_threads, prefetch)

    def __len__(self):
        """Number of batches."""
        return -(-len(self._source) // self._batch_size)

    def __iter__(self):
        """Iterator of the batches; its threads end with it."""
        numbers = grain.MapDataset.range(len(self))
        return _until_closed(iter(numbers.map(self._batch).to_iter_dataset(self._options)))

    def _batch(self, number):
        last = len(self._source) - 1
        places = np.arange(number * self._batch_size, (number + 1) * self._batch_size)
        pairs = {place: self._transform(self._source[place]) for place in places if place <= last}
        # The last picture fills the batch up: compiled code takes one shape only.
        rows = [pairs[min(place, last)] for place in places]
        batch = {name: np.stack([row[name] for row in rows]) for name in ("condition", "target")}
        return batch | {"mask": (places <= last).astype(np.float32)}


def validation_batches(source, transform, *, batch_size, num_threads=4, prefetch=8):
    """Batches of every pair once, in the source's order: iterable again and again.

    A batch is {"condition", "target", "mask"}: two times uint8 [batch_size, size, size, 3], and
    float32 [batch_size] that is 1 for pairs and 0 for the repeats that fill up the last batch.

    Args:
      source: see `sources`; its pairs are read anew each time.
      transform: called with a pair; gives all pairs one size.
      batch_size: number of pairs in a batch; may exceed the source's.
      num_threads: threads that make batches; 0 makes them within `next`.
      prefetch: number of batches kept ready.

    Raises:
      ConfigError: a number is out of range.
    """
    _check_minimum("loader.num_threads", num_threads, 0)
    _check_minimum("evaluation.batch_size", batch_size, 1)
    return ValidationBatches(
        source, transform, batch_size=batch_size, num_threads=num_threads, prefetch=prefetch
    )


def _until_closed(batches):
    # A generator lets go of grain's iterator once closed; one that lives on to the end of the
    # interpreter prints a traceback then, closed or not.
    try:
        yield from batches
    finally:
        batches.close()


def _read_options(num_threads, prefetch):
    # Threads beyond the batches that may be kept ready would never work; grain warns of them.
    prefetch = max(prefetch, num_threads) if num_threads else 0
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)


def _check_minimum(key, value, minimum):
    if value < minimum:
        raise ConfigError(f"{key} {value} must be at least {minimum}")
