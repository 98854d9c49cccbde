"""A postponed package looks like the package itself, and costs only what is used of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from owsuper.postponed import is_postponed, postpone

PACKAGE = {
    "__init__.py": "from late.parts import Part\nfrom . import core\nwhole = True\nnumber = 7\n",
    "core.py": "import late\nname = late.__name__\n",
    "parts.py": "class Part: ...\n",
    "other.py": "from late import number\n",
}


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package ``late``."""
    (tmp_path / "late").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "late" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "late"
    for name in [name for name in sys.modules if name.partition(".")[0] == "late"]:
        del sys.modules[name]


@pytest.mark.usefixtures("late")
def test_submodules_are_imported_without_the_package() -> None:
    postpone("late")
    core, parts = import_module("late.core"), import_module("late.parts")

    assert core.name == "late"
    assert parts.Part is not None
    assert is_postponed("late")


@pytest.mark.usefixtures("late")
def test_parts_of_it_come_from_their_submodules() -> None:
    postpone("late", Part="parts", core="core")
    late = import_module("late")
    part, core = late.Part, late.core

    assert is_postponed("late")
    assert part.__module__ == "late.parts"
    assert core is sys.modules["late.core"]


@pytest.mark.usefixtures("late")
def test_any_other_name_makes_it_whole_and_the_same_objects_stay() -> None:
    postpone("late", Part="parts")
    before = import_module("late")

    part = before.Part
    assert before.number == 7
    assert not is_postponed("late")
    assert before is sys.modules["late"]
    assert before.whole
    assert before.Part is part


@pytest.mark.usefixtures("late")
def test_a_submodule_that_needs_the_whole_gets_it() -> None:
    postpone("late")
    other = import_module("late.other")

    assert other.number == 7
    assert not is_postponed("late")


@pytest.mark.usefixtures("late")
def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    postpone("late")
    module = import_module("late")

    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


@pytest.mark.usefixtures("late")
def test_what_is_imported_already_is_left_alone() -> None:
    module = import_module("late")

    postpone("late")
    assert sys.modules["late"] is module
    assert not is_postponed("late")


def test_what_is_not_installed_is_left_alone() -> None:
    postpone("no_such_package_at_all")
    assert "no_such_package_at_all" not in sys.modules


@pytest.mark.usefixtures("late")
def test_a_package_that_is_built_otherwise_is_imported_as_usual() -> None:
    postpone("late", Part="core")
    assert not [name for name in sys.modules if name.partition(".")[0] == "late"]
    part = import_module("late").Part

    assert part.__module__ == "late.parts"


def test_an_init_that_fails_may_be_tried_again(late: Path) -> None:
    (late / "__init__.py").write_text("import os\nif 'LATE' not in os.environ: 1 / 0\nnumber = 7\n")
    postpone("late")
    module = import_module("late")

    with pytest.raises(ZeroDivisionError):
        _ = module.number
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATE", "1")
        assert module.number == 7
