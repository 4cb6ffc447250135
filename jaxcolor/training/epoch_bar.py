"""The progress bar of an epoch: pictures, losses, and the time left of the whole training."""

from tqdm import tqdm

from jaxcolor import hosts
from jaxcolor.training.plan import Plan
from jaxcolor.training.reporting import losses_in_words


class EpochBar:
    """A bar over an epoch's pictures, on host 0; silent where standard error is no terminal."""

    def __init__(self, plan: Plan, epoch: int, step: int):
        """The bar of `epoch`, entered after `step` steps of the training."""
        start, end = plan.epoch_end(epoch - 1), plan.epoch_end(epoch)
        self._plan, self._step = plan, step
        self._bar = tqdm(
            total=(end - start) * plan.batch_size,
            initial=(step - start) * plan.batch_size,
            desc=f"epoch {epoch}/{plan.epochs}",
            unit="img",
            disable=None if hosts.is_first() else True,
            leave=False,
            dynamic_ncols=True,
        )

    def step(self) -> None:
        """Another step is on its way."""
        self._step += 1
        self._bar.update(self._plan.batch_size)

    def show(self, means: dict[str, float]) -> None:
        """Shows losses, and the training time of the steps to come, at the rate of this epoch."""
        if self._bar.disable:
            return
        progress = self._bar.format_dict
        done = progress["n"] - progress["initial"]
        seconds = progress["elapsed"] / done * self._plan.batch_size if done else 0.0
        left = tqdm.format_interval((self._plan.total_steps - self._step) * seconds)
        self._bar.set_postfix_str(f"{losses_in_words(means)}, all epochs {left} left")

    def __enter__(self) -> "EpochBar":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Takes the bar away."""
        self._bar.close()
