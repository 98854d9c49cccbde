"""The fixtures of the acceptance tests."""

from tests.acceptance.conftest import deployment, deployments

__all__ = ["deployment", "deployments"]
