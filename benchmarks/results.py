"""RESULTS.md: what ``make bench`` measured, and below it, what the peers did."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
OURS = "# Results\n\n`make bench` measured this.\n\n"
PEERS = "## Beside its peers\n\n`python -m benchmarks.peers` measured this.\n\n"


def keep(*, ours: str | None = None, peers: str | None = None, path: Path = RESULTS) -> None:
    """Replace one part, or both; the other stays as it was. Each says when it was measured."""
    before = path.read_text("utf-8") if path.exists() else OURS
    old_ours, heading, old_peers = before.partition(PEERS)
    parts = [OURS + ours if ours is not None else old_ours]
    if peers is not None:
        parts.append(PEERS + peers)
    elif heading:
        parts.append(PEERS + old_peers)
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", "utf-8")
