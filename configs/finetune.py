"""Goes on from a workdir, ours or imported, on other pictures: its config, and its weights.

python run.py --config configs/finetune.py:WORKDIR --config.data.path=DIR --workdir=NEW

All settings are those of the workdir but the learning rate, which is a tenth. The optimizers start
afresh, and so does the learning rate's schedule.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxcolor.errors import ConfigError
from jaxcolor.plain_json import parse_json


def get_config(workdir: str = "") -> ConfigDict:
    """The workdir's config, with `init_from` set to it."""
    if not workdir:
        raise ConfigError("configs/finetune.py names no workdir: write configs/finetune.py:WORKDIR")
    path = Path(workdir).expanduser() / "config.json"
    try:
        values = parse_json(path.read_bytes())
        values.pop("derived")  # from the other pictures
        for name in ("generator_optimizer", "discriminator_optimizer"):
            if name in values:
                values[name]["learning_rate"] /= 10
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not the config of a workdir ({error})") from error
    return ConfigDict(_with_tuples(values) | {"init_from": str(workdir)})


def _with_tuples(values):
    """Lists as tuples, which the command line can replace by others of another length."""
    if isinstance(values, dict):
        return {name: _with_tuples(value) for name, value in values.items()}
    return tuple(values) if isinstance(values, list) else values
