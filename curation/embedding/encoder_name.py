"""Names of encoders, told apart without loading one. Free of torch."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from pathlib import Path

from warehouse.plug_ins import names

__all__ = ["ENTRY_POINTS", "LOCAL_PREFIX", "OFFLINE_ENCODER", "check_timm_name", "installed_encoders", "local_folder", "unknown_encoder"]

ENTRY_POINTS = "endoforge.encoders"
"""Group of the entry points by which other packages add encoders."""

OFFLINE_ENCODER = "efficientnet-lite0"
"""The encoder that comes with the installation."""

LOCAL_PREFIX = "local-dir:"
"""timm's mark of a folder."""


def installed_encoders() -> tuple[str, ...]:
    """Names of the encoders of other packages."""
    return names(ENTRY_POINTS)


def local_folder(name: str) -> Path | None:
    """The folder an encoder setting names, or None for a timm model name.

    Raises:
        ValueError: the folder holds no model.
    """
    path = Path(name.removeprefix(LOCAL_PREFIX)).expanduser()
    if not (name.startswith(LOCAL_PREFIX) or os.sep in name or path.is_dir()):
        return None
    missing = [file for file in ("config.json", "model.safetensors") if not (path / file).is_file()]
    if missing:
        raise ValueError(
            f"encoder folder {str(path)!r} has no {' and no '.join(missing)}; "
            "give a folder that a pretraining run exported or that timm saved with safetensors"
        )
    return path.resolve()


def check_timm_name(name: str) -> None:
    """Refuse a name that no model of the installed timm can have, by reading its source, which takes a tenth of importing it.

    Raises:
        ValueError: the name stands nowhere in timm's models.
    """
    found = importlib.util.find_spec("timm")
    folders = found.submodule_search_locations if found else None
    if not folders:
        return
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(folders[0], "models").glob("*.py")))
    architecture = name.split(".")[0]
    if not re.search(rf"\b{re.escape(architecture)}\b", source):
        near = difflib.get_close_matches(architecture, re.findall(r"^def (\w+)\(pretrained", source, re.MULTILINE), n=3)
        raise unknown_encoder(name, f"; did you mean {' or '.join(near)}?" if near else "")


def unknown_encoder(name: str, hint: str) -> ValueError:
    """The error for a name that nothing has."""
    installed = f"; installed packages have {', '.join(names(ENTRY_POINTS))}" if names(ENTRY_POINTS) else ""
    return ValueError(f"encoder {name!r} is neither {OFFLINE_ENCODER}, a timm model name nor a folder{installed}{hint}")
