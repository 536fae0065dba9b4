"""Builds the package; all settings stand in pyproject.toml."""

from setuptools import setup

setup()
