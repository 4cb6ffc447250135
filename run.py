"""Trains the experiment of a config: python run.py --config configs/pix2pix.py."""

import sys

from jaxcolor import train_command

if __name__ == "__main__":
    train_command.main(sys.argv)
