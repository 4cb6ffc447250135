"""Batches: a source and a transform, read ahead by threads or processes with grain.

The batch of a step is a function of the seed and the step alone: not of the threads, the worker
processes, the number of hosts or the step at which a run was resumed. The records come in passes,
every one once a pass; batches are cut from the passes laid end to end.
"""

import grain
import numpy as np
from absl import flags

from jaxcolor.data.bad_records import BAD, read_or_replace
from jaxcolor.errors import ConfigError, DataError

_ENDLESS = 2**50
_ORDER, _DRAWS = 1, 2  # so that no order comes from the same numbers as a draw


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
    on_bad=None,
):
    """Endless iterator of this process's share of the batches, from step `start_step` on.

    A batch is {"condition", "target"}: uint8 [batch_size / process_count, size, size, channels],
    size being the transform's. A record that cannot be read is replaced by the next one that can.
    Call `close()` on the iterator when done with it. What goes wrong while reading ahead is raised
    by `next`.

    Args:
      source: see `sources`.
      transform: called with a record and a NumPy generator, which is a function of the seed, the
        pass and the record.
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
      on_bad: called with a list of the records of a batch that could not be read, if there are
        any, before `next` returns it; what it raises is raised by `next`.

    Raises:
      ConfigError: a number is out of range.
      DataError: the source has fewer pairs than one batch.
    """
    check_batch_size(source, batch_size)
    _check_minimum("loader.num_threads", num_threads, 0)
    _check_minimum("loader.num_workers", num_workers, 0)
    _check_minimum("start_step", start_step, 0)
    _check_minimum("seed", seed, 0)
    rows = _share("train.batch_size", batch_size, process_index, process_count)
    steps = grain.MapDataset.range(start_step, _ENDLESS)
    passes = _Passes(len(source), seed)
    batches = steps.map(_BatchMaker(source, transform, passes, batch_size, rows))
    ahead = batches.to_iter_dataset(_read_options(num_threads, prefetch))
    if num_workers:
        # grain's workers read absl flags, which nobody has parsed where this is a library.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(
            num_workers=num_workers, per_worker_buffer_size=max(1, prefetch)
        )
        ahead = ahead.mp_prefetch(options)
    return _until_closed(iter(ahead), on_bad)


class _Passes:
    """The order of the records in each pass, and the seeds of their draws."""

    def __init__(self, count, seed):
        self._count, self._seed = count, seed
        self._orders = {}

    def __getitem__(self, place):
        """The record at a place in the passes laid end to end, and a generator for its draws."""
        number, place = divmod(place, self._count)
        index = int(self._order(number)[place])
        # Draws belong to a record and a pass, not to a place in it.
        return index, np.random.default_rng((_DRAWS, self._seed, number, index))

    def _order(self, number):
        # Threads may make one twice, to the same end. A batch may span two passes, and threads
        # that read ahead may be in the next one: the last few are kept.
        order = self._orders.get(number)
        if order is None:
            generator = np.random.default_rng((_ORDER, self._seed, number))
            order = generator.permutation(np.arange(self._count, dtype=np.uint32))
            kept = sorted(self._orders)[-2:]
            self._orders = {n: self._orders[n] for n in kept} | {number: order}
        return order


class _BatchMaker:
    """Reads and transforms the records of one batch, one after the other."""

    def __init__(self, source, transform, passes, batch_size, rows):
        self._source, self._transform, self._passes = source, transform, passes
        self._batch_size, self._rows = batch_size, rows

    def __call__(self, step):
        bad = []
        batch = _stack(self._pairs(step, bad), len(self._rows))
        return batch | {BAD: np.array(bad, np.int64)}

    def _pairs(self, step, bad):
        for row in self._rows:
            index, rng = self._passes[step * self._batch_size + row]
            record, was_bad = read_or_replace(self._source, index)
            if was_bad:
                bad.append(index)
            yield self._transform(record, rng)


class ValidationBatches:
    """All pairs of a source in its order, in batches of one size; can be gone through again."""

    def __init__(self, source, transform, *, batch_size, rows, num_threads, prefetch, on_bad):
        """See `validation_batches`; `rows` are those of this process."""
        self._source, self._transform = source, transform
        self._batch_size, self._rows = batch_size, rows
        self._options, self._on_bad = _read_options(num_threads, prefetch), on_bad

    def __len__(self):
        """Number of batches."""
        return -(-len(self._source) // self._batch_size)

    def __iter__(self):
        """Iterator of the batches; its threads end with it."""
        numbers = grain.MapDataset.range(len(self))
        batches = numbers.map(self._batch).to_iter_dataset(self._options)
        return _until_closed(iter(batches), self._on_bad)

    def _batch(self, number):
        first, count = number * self._batch_size + self._rows.start, len(self._rows)
        places = range(first, min(first + count, len(self._source)))
        read = {place: read_or_replace(self._source, place) for place in places}
        pairs = [self._transform(record) for record, _ in read.values()]
        bad = [place for place, (_, was_bad) in read.items() if was_bad]
        mask = [place not in bad for place in places]
        # The last picture fills the batch up: compiled code takes one shape only.
        missing = count - len(pairs)
        batch = _stack(pairs + [self._filling(pairs)] * missing, count)
        mask = np.array(mask + [False] * missing, np.float32)
        index = np.arange(first, first + count, dtype=np.int32)
        return batch | {"mask": mask, "index": index, BAD: np.array(bad, np.int64)}

    def _filling(self, pairs):
        if pairs:
            return pairs[-1]
        return self._transform(read_or_replace(self._source, len(self._source) - 1)[0])


def validation_batches(
    source,
    transform,
    *,
    batch_size,
    num_threads=4,
    prefetch=8,
    process_index=0,
    process_count=1,
    on_bad=None,
):
    """This process's share of batches of every pair once, in order: iterable again and again.

    A batch is {"condition", "target", "mask", "index"}: two times uint8 [rows, size, size,
    channels], where rows is batch_size / process_count; float32 [rows] that is 1 for pairs, and 0
    for the repeats that fill up the last batch and for those in the place of pairs that cannot be
    read; and int32 [rows], the pairs' places in the source.

    Args:
      source: see `sources`; its pairs are read anew each time.
      transform: called with a record; gives all pairs one size.
      batch_size: number of pairs in a batch, over all processes; may exceed the source's.
      num_threads: threads that make batches; 0 makes them within `next`.
      prefetch: number of batches kept ready.
      process_index: as for `training_batches`, like the next.
      process_count: number of the processes that validate together.
      on_bad: as for `training_batches`.

    Raises:
      ConfigError: a number is out of range.
    """
    _check_minimum("loader.num_threads", num_threads, 0)
    _check_minimum("evaluation.batch_size", batch_size, 1)
    return ValidationBatches(
        source,
        transform,
        batch_size=batch_size,
        rows=_share("evaluation.batch_size", batch_size, process_index, process_count),
        num_threads=num_threads,
        prefetch=prefetch,
        on_bad=on_bad,
    )


def _share(key, batch_size, process_index, process_count):
    """The rows of a batch that are this process's."""
    if batch_size % process_count:
        raise ConfigError(f"{key} {batch_size} must be divisible by {process_count} processes")
    share = batch_size // process_count
    return range(process_index * share, (process_index + 1) * share)


def _stack(pairs, count):
    """`count` pairs as one batch, filled row by row: the next pair takes the last one's memory."""
    batch = {}
    for row, pair in enumerate(pairs):
        for name in ("condition", "target"):
            if row == 0:
                batch[name] = np.empty((count, *pair[name].shape), pair[name].dtype)
            batch[name][row] = pair[name]
    return batch


def _until_closed(batches, on_bad):
    # A generator lets go of grain's iterator once closed; one that lives on to the end of the
    # interpreter prints a traceback then, closed or not.
    try:
        for batch in batches:
            bad = batch.pop(BAD).tolist()
            if bad and on_bad is not None:
                on_bad(bad)
            yield batch
    finally:
        batches.close()


def _read_options(num_threads, prefetch):
    # Threads beyond the batches that may be kept ready would never work; grain warns of them.
    prefetch = max(prefetch, num_threads) if num_threads else 0
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)


def check_batch_size(source, batch_size):
    """Raises an error unless a batch has at least one pair and at most all of the source.

    Raises:
      ConfigError: the batch size is less than 1.
      DataError: the source has fewer pairs than one batch.
    """
    _check_minimum("train.batch_size", batch_size, 1)
    if len(source) < batch_size:
        raise DataError(
            f"{len(source)} pairs are fewer than one batch: train.batch_size {batch_size} must be "
            f"at most {len(source)}"
        )


def _check_minimum(key, value, minimum):
    if value < minimum:
        raise ConfigError(f"{key} {value} must be at least {minimum}")
