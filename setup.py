"""Builds the package for tools that start from setup.py; pyproject.toml describes it."""

from setuptools import setup

setup()
