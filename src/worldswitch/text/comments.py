"""The comments of a TOML text, each with the key, table or array element it belongs to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from worldswitch.text.scan import KeyPath, Kind, scan

Lines = tuple[str, ...]
"""Comment lines from their ``#`` on; ``""`` is a blank line that the author left before or after one."""


@dataclass(frozen=True, slots=True)
class Note:
    """The comments of one key, table or array element."""

    before: Lines = ()
    after: str = ""  # on the line where its value, or its header, ends
    last: Lines = ()  # of an array: after its last element

    def lines(self) -> Lines:
        """All of it as lines of their own."""
        return self.before + ((self.after,) if self.after else ()) + self.last

    def joined(self, other: "Note") -> "Note":
        """Both notes as one; of two comments at the end of a line the first becomes a line of its own."""
        displaced = (self.after,) if self.after and other.after else ()
        return Note(self.before + displaced + other.before, other.after or self.after, self.last + other.last)


@dataclass(frozen=True, slots=True)
class Comments:
    """All comments of a document; nothing of the text's comments is left out."""

    head: Lines = ()  # above everything, set off by a blank line: it stays above whatever comes first
    notes: Mapping[KeyPath, Note] = field(default_factory=dict)
    end: Lines = ()  # below everything

    def renamed(self, rename: Callable[[KeyPath], KeyPath]) -> "Comments":
        """The same comments for a document whose keys were respelled; notes that come to share a path are joined."""
        notes: dict[KeyPath, Note] = {}
        for path, note in self.notes.items():
            _add(notes, rename(path), note)
        return Comments(self.head, notes, self.end)

    def settled(self, homes: Mapping[KeyPath, KeyPath], arrays: Iterable[KeyPath]) -> "Comments":
        """The same comments, each where the written text has a place for it.

        Args:
            homes: from a key path to the one that has a line of its own for it, mostly itself. What has none goes
                before the nearest path around it that does, and failing that to the end of the document.
            arrays: the paths of ``homes`` that have a place after their last element.
        """
        arrays = frozenset(arrays)
        notes: dict[KeyPath, Note] = {}
        end: Lines = ()
        for path, note in self.notes.items():
            around = (path[:length] for length in range(len(path), 0, -1))
            home = next((homes[outer] for outer in around if outer in homes), None)
            if home is None:
                end += note.lines()
            elif home != path:
                _add(notes, home, Note(before=note.lines()))
            elif path not in arrays:
                _add(notes, home, Note(before=note.before + note.last, after=note.after))
            else:
                _add(notes, home, note)
        return Comments(self.head, notes, end + self.end)


def comments(text: str) -> Comments:
    """The comments of a text that ``read.loads`` accepts.

    A comment on the line where a value or header ends belongs to that; one on a line of its own belongs to the key,
    header or element that follows, or to the end of the array or document it closes. Comments above the first key that
    a blank line sets off are the document's head.
    """
    notes: dict[KeyPath, Note] = {}
    head: Lines | None = None
    waiting: list[str] = []  # comment lines and the blank lines around them, until it shows whose they are
    ended: KeyPath | None = None  # what ended on the line of the previous mark
    line = 0  # of the previous mark
    for mark in scan(text):
        is_apart = mark.line > line + 1
        if mark.kind is not Kind.COMMENT:
            if waiting and is_apart:
                waiting.append("")
            if head is None:
                head, waiting = _split_head(waiting)
            if waiting and mark.kind is Kind.DONE:
                _add(notes, mark.path, Note(last=tuple(waiting)))
            elif waiting:
                _add(notes, mark.path, Note(before=tuple(waiting)))
            waiting = []
            ended = mark.path if mark.kind is Kind.DONE else None
        elif ended is not None and mark.line == line:
            notes[ended] = replace(notes.get(ended, Note()), after=mark.text)
            ended = None
        else:
            waiting += ["", mark.text] if is_apart and line else [mark.text]
            ended = None
        line = mark.line
    return Comments(head or (), notes, tuple(waiting))


def _split_head(waiting: list[str]) -> tuple[Lines, list[str]]:
    if "" not in waiting:
        return (), waiting
    blank = len(waiting) - 1 - waiting[::-1].index("")
    return tuple(waiting[:blank]), waiting[blank + 1 :]


def _add(notes: dict[KeyPath, Note], path: KeyPath, note: Note) -> None:
    notes[path] = notes[path].joined(note) if path in notes else note
