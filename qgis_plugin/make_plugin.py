"""Build the zip of the QGIS plugin, byte for byte the same each time, and check what is in it.

    python qgis_plugin/make_plugin.py [--source qgis_plugin/geodiffrecon_qgis] [--out dist]

The rules are those of the QGIS plugin repository (validator and security scan, 2026).
"""

from __future__ import annotations

import argparse
import ast
import configparser
import re
import sys
import zipfile
from pathlib import Path

MOST_BYTES = 25_000_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip
REQUIRED_FILES = ("__init__.py", "metadata.txt", "LICENSE")
REQUIRED_KEYS = (
    "name", "description", "version", "qgisMinimumVersion", "author", "email", "about", "tracker",
    "repository", "homepage",
)  # fmt: skip
ALLOWED_SUFFIXES = {".py", ".txt", ".svg", ".qml", ".md"}
LEFT_OUT = {"__pycache__", ".git", "__MACOSX"}
ALLOWED_IMPORTS = set(sys.stdlib_module_names) | {"qgis", "processing"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    "pickle", "marshal", "shelve", "random", "telnetlib", "ftplib", "importlib", "ctypes", "socket",
}  # fmt: skip
FORBIDDEN_NAMES = {
    "mktemp", "urlopen", "urlretrieve", "extractall", "exec_", "system", "popen", "startfile",
    "getoutput", "getstatusoutput", "create_subprocess_shell", "chmod", "listen",
    "_create_unverified_context",
}  # fmt: skip
FORBIDDEN_FAMILIES = re.compile(r"(exec|spawn)[lv]p?e?$")  # of os
SECRETS = re.compile(r"passw(or)?d|secret|token|api_?key", re.IGNORECASE)
TURNED_TEXT = re.compile("[\u202a-\u202e\u2066-\u2069]")  # characters that hide what code says
PLACEHOLDERS = {"http://bugs", "http://repo", "http://homepage"}  # of the plugin builder


def files_of(source: Path) -> list[Path]:
    """Return the files of the plugin in a fixed order, without what Python leaves about."""
    found = (path for path in source.rglob("*") if path.is_file())
    kept = [
        path
        for path in found
        if not LEFT_OUT & set(path.relative_to(source).parts) and path.suffix != ".pyc"
    ]
    return sorted(kept, key=lambda path: path.relative_to(source).as_posix())


def metadata_of(source: Path) -> dict[str, str]:
    """Return the metadata, keys as they are written.

    Raises
    ------
    configparser.Error, UnicodeDecodeError
        If the plugin repository could not read them.
    """
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(source / "metadata.txt", encoding="utf-8")
    return dict(parser["general"]) if parser.has_section("general") else {}


def problems_of(source: Path) -> list[str]:
    """Return a sentence for each rule of the repository that the folder breaks."""
    files = files_of(source)
    names = [path.relative_to(source).as_posix() for path in files]
    found = [f"{name} is missing." for name in REQUIRED_FILES if name not in names]
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", source.name):
        found.append(f"The folder {source.name} is no name of a package: letters, digits and _.")
    found += [f"{n} is of a kind not allowed." for n in names if not _allowed(Path(n))]
    found += [f"{name} is a link." for path, name in zip(files, names, strict=True)
              if path.is_symlink()]  # fmt: skip
    try:
        found += _metadata_problems(metadata_of(source), names)
    except (configparser.Error, UnicodeDecodeError) as error:
        found.append(f"metadata.txt cannot be read ({str(error).splitlines()[0]}).")
    for path, name in zip(files, names, strict=True):
        if path.suffix == ".py":
            found += [f"{name}: {problem}" for problem in _code_problems(path)]
    return found


def build(source: Path, out: Path) -> Path:
    """Write the zip and return its path."""
    version = metadata_of(source)["version"]
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{source.name}-{version}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files_of(source):
            name = f"{source.name}/{path.relative_to(source).as_posix()}"
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    if target.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{target} is larger than the 25 MB that the plugin repository takes.")
    return target


def _allowed(path: Path) -> bool:
    name = path.as_posix()
    known = path.suffix in ALLOWED_SUFFIXES or name == "LICENSE"
    plain = name.isascii() and ".." not in name
    return known and plain and not any(part.startswith(".") for part in path.parts)


def _metadata_problems(found: dict[str, str], names: list[str]) -> list[str]:
    problems = [f"metadata.txt lacks {key}." for key in REQUIRED_KEYS if not found.get(key)]
    if "/" in found.get("author", ""):
        problems.append("The author holds a slash.")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", found.get("email", "")):
        problems.append("The email is none.")
    problems += [
        f"{key} is no web address."
        for key in ("tracker", "repository", "homepage")
        if not re.match(r"https?://\S+$", found.get(key, ""))
    ]
    problems += [f"{key} is a placeholder." for key, text in found.items() if text in PLACEHOLDERS]
    versions = [found.get(f"qgis{end}Version", "0.0") for end in ("Minimum", "Maximum")]
    if not all(re.fullmatch(r"\d+\.\d+", text) for text in versions):
        problems.append("A version of QGIS is not of the form 3.22.")
    elif _numbers(versions[1]) < _numbers(versions[0]):
        problems.append("qgisMaximumVersion is below qgisMinimumVersion.")
    if "supportsQt6" in found:
        problems.append("supportsQt6 is no longer known; remove it.")
    if found.get("hasProcessingProvider") != "yes":
        problems.append("hasProcessingProvider is not yes, so qgis_process cannot load it.")
    if found.get("icon") and found["icon"] not in names:
        problems.append(f"The icon {found['icon']} is missing.")
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?([.-]?\w+)?", found.get("version", "")):
        problems.append("The version is none.")
    return problems


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _code_problems(path: Path) -> list[str]:
    """Return what the security scan and the Qt 6 checker would find, and foreign imports."""
    try:
        text = path.read_text("utf-8")
        tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError) as error:
        return [f"cannot be read ({str(error).splitlines()[0]})"]
    problems = ["holds characters that turn text round"] if TURNED_TEXT.search(text) else []
    for node in ast.walk(tree):
        problems += _node_problems(node)
    return problems


def _node_problems(node: ast.AST) -> list[str]:
    problems = [f"imports {module}" for module in _modules(node) if not _known(module)]
    if isinstance(node, ast.ImportFrom):
        problems += [f"uses {a.name}" for a in node.names if _forbidden(a.name)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in FORBIDDEN_CALLS:
            problems.append(f"calls {node.func.id}")
    if isinstance(node, ast.Attribute) and _forbidden(node.attr):
        problems.append(f"uses {node.attr}")
    if isinstance(node, ast.keyword) and node.arg == "shell":
        problems.append("passes shell=")
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node.value.value, str) and any(SECRETS.search(name) for name in names):
            problems.append("holds a secret")
    return problems


def _forbidden(name: str) -> bool:
    return name in FORBIDDEN_NAMES or bool(FORBIDDEN_FAMILIES.fullmatch(name))


def _known(module: str) -> bool:
    top = module.split(".")[0]
    return top in ALLOWED_IMPORTS and top not in FORBIDDEN_MODULES


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []


def main() -> None:
    """Check, build, say where."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Build and check the zip of the QGIS plugin.")
    parser.add_argument("--source", type=Path, default=here / "geodiffrecon_qgis")
    parser.add_argument("--out", type=Path, default=here.parent / "dist")
    options = parser.parse_args()
    problems = problems_of(options.source)
    if problems:
        raise SystemExit("\n".join(problems))
    print(build(options.source, options.out))


if __name__ == "__main__":
    main()
