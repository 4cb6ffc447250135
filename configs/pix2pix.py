"""pix2pix as the paper trains it, for any folder of pictures, or for none.

python run.py --config configs/pix2pix.py                          # the demo set
python run.py --config configs/pix2pix.py --config.data.path=DIR   # side-by-side pictures

Data: pictures of any size in any layout that the README lists, or 400 scenes that the library
draws. Cost and result of the demo set, width 16, on two shared cores of an AMD EPYC Zen 3 (jax
0.10.2, float32): 4 min, 8.1 images/s; validation L1 0.115 and PSNR 20.3 dB after 3 epochs, where
the drawing itself has 0.698 and 7.3 dB. The README has runs on real pictures. Not measured on a
GPU.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The experiment; every section holds the keyword arguments of one constructor."""
    config = ConfigDict()
    config.seed = 0
    config.init_from = ""  # a workdir whose weights to start from

    config.data = ConfigDict(
        {
            "path": "",
            "source": "auto",  # side_by_side, two_folders, pictures, tfds or prepared
            "condition": "auto",  # given, or made from the target: luma, lab_l or lines
            "target_side": "left",  # of the side-by-side files, as in the paper's Function 1
            "target_folder": "B",  # of two folders
            "condition_folder": "A",
            "validation_fraction": 0.05,  # where no folder says which pictures validate
            "tfds_directory": "",
            "background": "white",  # under transparent pixels
            "line_strength": (0.7, 2.0),  # of lines drawn from pictures: contrast, and
            "line_thickness": (0.5, 1.2),  # pixels in a picture of 256
            "drop_greyscale": False,
            "max_bad_fraction": 0.01,  # of unreadable pictures, before the run stops
            "image_size": 256,
            "resize": "bicubic",
            "fit": "stretch",  # to a square; or "crop"
        }
    )
    config.demo = ConfigDict({"train": 400, "validation": 32, "seed": 0})

    # The kinds of augmentation are the paper's; it prints no ranges, so these are ours.
    config.augment = ConfigDict(
        {
            "load_size": 286,
            "flip": True,
            "rotation": 5.0,  # degrees
            "shear": 3.0,  # degrees
            "zoom": 0.05,
            "shift": 0.03,  # of the side
            "noise": 0.02,  # standard deviation on [-1, 1], on the condition only
            "fill": "white",
        }
    )
    config.loader = ConfigDict({"num_threads": 2, "num_workers": 0, "prefetch": 4})

    # Affine instance norm is what batch norm computes at batch 1, at any batch and device count.
    config.generator = ConfigDict(
        {
            "base_width": 64,
            "output_channels": 3,
            "norm": "instance",
            "norm_epsilon": 1e-5,
            "norm_scale_stddev": 0.02,
            "normalize_bottleneck": False,
            "dropout_levels": (1, 2, 3),
            "dropout_rate": 0.5,
            "leaky_slope": 0.2,
            "skip_activation": "relu",
        }
    )
    config.discriminator = ConfigDict(
        {
            "base_width": 64,
            "strided_layers": 3,
            "first_bias": True,
            "norm": "instance",
            "norm_epsilon": 1e-5,
            "norm_scale_stddev": 0.02,
            "leaky_slope": 0.2,
        }
    )
    config.losses = ConfigDict(
        {
            "adversarial": 1.0,  # 0: no discriminator at all
            "l1": 100.0,
            "l2": 0.0,
            "discriminator": 1.0,
            "real_label": 1.0,  # 0.9: one-sided label smoothing
        }
    )
    for name in ("generator_optimizer", "discriminator_optimizer"):
        config[name] = ConfigDict(
            {
                "learning_rate": 2e-4,
                "b1": 0.5,
                "b2": 0.999,
                "epsilon": 1e-8,
                "schedule": "constant",  # or "constant_then_linear", "exponential"
                "decay_fraction": 0.5,
            }
        )
    config.train = ConfigDict(
        {
            "epochs": 100,
            "batch_size": 4,
            "accumulate_steps": 1,  # parts of a device's batch, for batches larger than memory
            "update_order": "simultaneous",  # or "sequential"
            "generator_updates": 1,  # for each of the discriminator
            "color_space": "rgb",  # or "lab", "ab": what the networks see of a colour
            "compute_dtype": "float32",  # or "bfloat16"
            "lowering": "auto",
            "log_every": 50,
            "early_stopping_epochs": 0,  # without a gain in checkpoint.best_by; 0: never
            "on_nan": "stop",  # or "rollback", without the batch at fault,
            "max_rollbacks": 3,  # so often at most
            "watchdog_seconds": 600.0,  # for one step before it is reported; 0: never
        }
    )
    config.checkpoint = ConfigDict(
        {"every_epochs": 1, "every_steps": 0, "keep_last": 2, "keep_best": 1, "best_by": "l1"}
    )
    config.evaluation = ConfigDict(
        {
            "batch_size": 8,
            "statistics": "picture",
            "dropout": False,
            "samples": 4,
            "metrics": ("ssim", "chroma_ratio", "colourfulness_difference"),  # besides L1, PSNR
        }
    )
    config.parallel = ConfigDict(
        {
            "backend": "shard_map",  # or "pmap"
            "gradient_dtype": "float32",  # or "bfloat16": what devices add up
            "shard_optimizer": False,  # True: each device holds its part of Adam's moments
        }
    )

    # What replaces the above without data.path, unless set on the command line: full depth and a
    # quarter of the width, and a larger learning rate that falls, to colour in minutes on a CPU.
    falling = {"schedule": "constant_then_linear", "decay_fraction": 0.5}
    config.demo_settings = ConfigDict(
        {
            "generator": {"base_width": 16},
            "discriminator": {"base_width": 16},
            "generator_optimizer": {"learning_rate": 1e-3, **falling},
            "discriminator_optimizer": falling,
            "train": {"epochs": 3, "batch_size": 1},
        }
    )
    return config
