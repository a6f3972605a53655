"""A merged model as one GGUF file, by llama.cpp's own converter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from paceline.errors import ModelError

_CONVERTER = "convert_hf_to_gguf.py"


def to_gguf(model: Path, out: Path) -> None:
    """Runs llama.cpp's converter, found in the folder that LLAMA_CPP names or on PATH.

    Raises:
        ModelError: no converter there, or it fails.
    """
    folders = [os.environ.get("LLAMA_CPP", ""), os.environ.get("PATH", "")]
    search_path = os.pathsep.join(filter(None, folders))
    converter = shutil.which(_CONVERTER, mode=os.F_OK, path=search_path)
    if converter is None:
        raise ModelError(f"no {_CONVERTER} on PATH; clone llama.cpp and set LLAMA_CPP to its folder")
    command = [sys.executable, converter, str(model), "--outfile", str(out)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip() or "no message").splitlines()[-1]
        raise ModelError(f"{converter} failed: {reason}")
