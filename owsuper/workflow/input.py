"""What a run is started with: by a client, or by the run that is to be its parent."""

from __future__ import annotations

from typing import Any

from owsuper.core import codec
from owsuper.core.names import check_version, check_workflow_name
from owsuper.errors import ConfigurationError, InvalidData
from owsuper.step.requests import Startable


def identity(workflow: Startable[Any, Any] | str, version: str | None) -> tuple[str, str | None]:
    """Name and version of what is to run. Raises ConfigurationError."""
    if not isinstance(workflow, Startable):
        return check_workflow_name(workflow), check_version(version)
    if version not in (None, workflow.version):
        raise ConfigurationError(
            f"version: {workflow} cannot be run as version {version!r}. Pass the workflow of that"
            " version, or its name."
        )
    return workflow.name, workflow.version


def encoded(workflow: Startable[Any, Any] | str, value: Any, path: str) -> bytes | None:
    """The input ``value`` as JSON that the workflow can read; ``path`` names it in messages.

    Raises NotSerializable, InvalidData.
    """
    if not isinstance(workflow, Startable):
        return codec.encode(value, path=path, owner=f'workflow "{workflow}"')
    if not workflow.takes_input:
        if value is not None:
            raise InvalidData(f"{path} of {workflow}: it takes none, only a step", path=path)
        _ = workflow.output_type  # complain before the run is stored, as for those with an input
        return None
    raw = codec.encode(value, path=path, owner=str(workflow))
    codec.convert(codec.decode(raw), workflow.input_type, path=path, owner=str(workflow))
    return raw
