"""What docs/limits.md says of limits is so."""

from __future__ import annotations

import re

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

pytestmark = pytest.mark.slow

LIMITS = Document("docs/limits.md")


@LIMITS.covers("limits", "steps", "shared", "singletons")
def test_the_limits_of_the_examples_are_stored_shown_and_set(connected: Sandbox) -> None:
    connected.write("mail.py", LIMITS["limits"])
    connected.write("shared.py", LIMITS["shared"])
    connected.write("once.py", LIMITS["singletons"])
    connected.write("answers.py", LIMITS["steps"])
    connected.worker("owsuper --processes 1 --module mail.py --module answers.py")
    connected.run(
        "python -c \"from mail import *; print(send_mail.run(Mail('t', 'a', 'hi')).result(30))\""
    )
    asked = connected.run("python -c \"import answers; print(answers.answer.run('a').result(30))\"")
    assert asked == "A\n"
    listed = connected.run("owsuper limits list")
    assert re.search(r"^calls +100 per 1m 0s  .* answer$", listed, re.MULTILINE)
    assert "send_mail/concurrency/tenant_id  2 at once for each key" in listed
    assert "send_mail/rate/account" in listed
    assert "5 at once" in connected.run("owsuper limits set send_mail/concurrency/tenant_id 5")
    assert "2 at once" in connected.run("owsuper limits reset send_mail/concurrency/tenant_id")
    assert connected.run('python -c "import shared; print(shared.train.limits[0].name)"') == "gpu\n"
    twice = "from once import *; print(len({import_orders.run({'shop': 'a'}).id for _ in '12'}))"
    assert connected.run(f'python -c "{twice}"') == "1\n"
