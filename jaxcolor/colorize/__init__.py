"""Colouring pictures of any kind and size with a trained network: `Colorizer`, and its files."""

from jaxcolor.colorize.colorizer import Colorizer

__all__ = ["Colorizer"]
