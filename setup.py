"""Builds the package. The licence stands here because old and new setuptools read it from different keys elsewhere."""

from setuptools import setup

setup(license="Apache-2.0", license_files=["LICENSE", "NOTICE"])
