"""The workflow and the input of a new run, as a client or a step names them."""

from __future__ import annotations

from typing import Any

from owsuper.core import codec, upcasts
from owsuper.core.names import check_own_workflow_name, check_version
from owsuper.errors import ConfigurationError, InvalidData
from owsuper.step.requests import Startable


def identify(workflow: Startable[Any, Any] | str, version: str | None) -> tuple[str, str | None]:
    """Return the name and version of the workflow to run. Raises ConfigurationError."""
    if not isinstance(workflow, Startable):
        return check_own_workflow_name(workflow), check_version(version)
    if version not in (None, workflow.version):
        raise ConfigurationError(
            f"version: {workflow} cannot be run as version {version!r}. Pass the workflow of that"
            " version, or its name."
        )
    return workflow.name, workflow.version


def encode_input(workflow: Startable[Any, Any] | str, value: Any, path: str) -> bytes | None:
    """Return the input ``value`` as JSON that the workflow can read; None without an input.

    ``path`` names the input in errors. Raises NotSerializable, InvalidData, and
    ConfigurationError for a workflow whose annotations cannot be resolved.
    """
    if not isinstance(workflow, Startable):
        return codec.encode(value, path=path, owner=f'workflow "{workflow}"')
    if not workflow.takes_input:
        if value is not None:
            raise InvalidData(f"{path} of {workflow}: the workflow takes no input", path=path)
        _ = workflow.output_type  # raise before the run is stored
        return None
    raw, _ = codec.encode_as(value, workflow.input_type, path=path, owner=str(workflow))
    return raw


def reencode_input(workflow: Startable[Any, Any] | str, raw: bytes | None) -> bytes | None:
    """Return a stored input as it would be stored by today's type. Raises DataError."""
    value = codec.decode(raw, path="input", owner=str(workflow))
    if isinstance(workflow, Startable) and workflow.takes_input:
        declared, upcast = workflow.input_type, workflow.upcasts.input
        value = upcasts.convert(value, declared, upcast, path="input", owner=str(workflow))
    return encode_input(workflow, value, "input")
