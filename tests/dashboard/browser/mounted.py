"""An application of a user that has the dashboard below a path."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from owsuper import OpenWorkflow

PREFIX = "/our tools/workflows"

ow = OpenWorkflow()


async def index(request: Request) -> HTMLResponse:
    return HTMLResponse("<title>ours</title>")


app = Starlette(routes=[Route("/", index), Mount(PREFIX, ow.dashboard(allow_actions=True))])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=0, log_level="info")
