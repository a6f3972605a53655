"""The wheel of the very Paceline that runs here, so that a job installs it and not what an index calls so."""

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import paceline


def write_wheel(folder: Path) -> str:
    """Packs the installed package, edited or not, as a wheel (PEP 427) and returns its name."""
    installed = distribution("paceline")
    release = f"paceline-{installed.version}"
    root = Path(paceline.__file__).parent
    files = {
        f"paceline/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {
        "METADATA": installed.read_text("METADATA"),
        "entry_points.txt": installed.read_text("entry_points.txt"),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: paceline\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files |= {f"{release}.dist-info/{name}": text.encode() for name, text in about.items() if text}
    record = f"{release}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    wheel = f"{release}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
