from dataclasses import dataclass
from pathlib import Path

from owsuper import OpenWorkflow, RetryPolicy, Step

ow = OpenWorkflow()


@dataclass
class Welcome:
    user_id: int


@dataclass
class Receipt:
    address: str
    message: str


@ow.workflow("send-welcome-email")
def send_welcome_email(step: Step, input: Welcome) -> Receipt:
    address = step.run("find-address", find_address, input.user_id)
    step.sleep("cool-off", "2s")
    message = step.run("send-email", send_email, address, retry=RetryPolicy(maximum_attempts=5))
    return Receipt(address, message)


def find_address(user_id: int) -> str:
    return f"user-{user_id}@example.com"


def send_email(address: str) -> str:
    outbox = Path("outbox")
    outbox.mkdir(exist_ok=True)
    message = outbox / f"{address}.txt"
    message.write_text(f"Welcome, {address}!\n")
    return str(message)
