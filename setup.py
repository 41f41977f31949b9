"""Lets tools that still call ``setup.py`` work; the metadata is in ``pyproject.toml``."""

from setuptools import setup

setup()
