"""Describes the workflows of an application as JSON: ``python -m owsuper.child.describe``.

A process of its own: whoever asks does not run the application's code, and nothing of it is left
when the process has ended. Standard input is a request, and standard output the answer, both JSON;
what the application prints goes to standard error.

A request has ``modules``. With ``check``, the arguments of ``description.refusal``, a value is
checked by its type.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import orjson

from owsuper.child.loader import LoadError, load
from owsuper.workflow import description


def main() -> None:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for what the application prints
    request = json.loads(sys.stdin.buffer.read())
    answers.write(orjson.dumps(_answer(request)))
    answers.flush()
    os._exit(0)  # threads of the application may never end


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        application = load(request["modules"])
    except LoadError as error:
        return {"failure": {"message": error.message, "traceback": error.traceback}}
    if (check := request.get("check")) is not None:
        return {"refusal": description.refusal(application.registry, **check)}
    return {
        "workflows": [description.describe(each) for each in application.registry],
        "settings": {
            "database_url": application.database_url,
            "namespace": application.namespace,
            "schema": application.schema,
        },
    }


if __name__ == "__main__":
    main()
