"""Workflows whose names and values are more than a page may like."""

from __future__ import annotations

from owsuper import OpenWorkflow, RetryPolicy, Step

MARKUP = "<img src=x onerror=\"document.title='owned'\">"
SCRIPT = "</script><script>document.title='owned'</script>"
RIGHT_TO_LEFT = "\u202egnp.live \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
HOSTILE = f"{MARKUP} {SCRIPT} {RIGHT_TO_LEFT} '\"`{{{{7*7}}}} javascript:alert(1)"
LONG = 10_000_000

ow = OpenWorkflow()


@ow.workflow("export")
def export(step: Step, input: int) -> str:
    return step.run("collect", lambda: "x" * input)


@ow.workflow(f"{MARKUP} {RIGHT_TO_LEFT}")
def hostile(step: Step, input: str) -> None:
    step.run(HOSTILE, lambda: input)

    def fail() -> None:
        raise RuntimeError(HOSTILE)

    step.run(SCRIPT, fail, retry=RetryPolicy(maximum_attempts=1))
