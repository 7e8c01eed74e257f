"""The tiny project of the trainings' tests."""

from tests.training.conftest import project, thin_networks, tiny_studies  # noqa: F401
