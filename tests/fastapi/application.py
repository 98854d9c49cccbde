"""An application for servers in processes of their own; the environment names its database."""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI

from owsuper import OpenWorkflow, Step
from owsuper.fastapi import lifespan, workflow_router

ow = OpenWorkflow()


@ow.workflow
def order(step: Step, input: int) -> int:
    raise NotImplementedError


app = FastAPI(lifespan=lifespan(ow))
app.include_router(workflow_router(order), prefix="/orders")


@app.get("/pid")
async def pid() -> int:
    await asyncio.sleep(0.05)  # so that another process gets the next request
    return os.getpid()
