"""Tables in documents, each between two marks."""

from pathlib import Path


def replace(file: Path, begin: str, end: str, text: str) -> None:
    """Puts ``text`` between the marks ``begin`` and ``end`` of ``file``; raises ValueError where it lacks one."""
    document = file.read_text(encoding="utf-8")
    first = document.index(begin)
    last = document.index(end, first)
    file.write_text(f"{document[:first]}{begin}\n{text}\n{document[last:]}", encoding="utf-8")
