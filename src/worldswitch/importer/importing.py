"""Importing a path: from an object file to a path file, with what was chosen on the way and what it changes."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from worldswitch.errors import InputError
from worldswitch.importer import probe
from worldswitch.importer.classify import Doubt, Row, Rows, classify, clean_list
from worldswitch.importer.container import read_object, shown
from worldswitch.importer.decode import shown as shown_instruction
from worldswitch.importer.elf import read_elf
from worldswitch.importer.features import DEFAULT_SET, features
from worldswitch.importer.flow import Functions
from worldswitch.importer.image import Image, clean
from worldswitch.importer.listing import Sheet, doubt_lines, path_text, too_long, trimmed
from worldswitch.importer.patch import Site, patched
from worldswitch.importer.pe import read_pe
from worldswitch.importer.start import check_keys, find_start, find_ways
from worldswitch.importer.tables import read_version
from worldswitch.importer.walk import Choice, Line, Walker
from worldswitch.paths.listing import MAX_LINES
from worldswitch.paths.model import EntryPath, read_path
from worldswitch.paths.write import format_path
from worldswitch.text.read import loads

MAX_TURNS: Final = 200
"""Choices that are tried the other way."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be imported, and for which machine."""

    file: str
    function: str = ""  # "": KVM's or Xen's
    sev_es: bool = False
    cpu_features: str = DEFAULT_SET
    header: str = ""  # the kernel's asm/cpufeatures.h
    keys: Mapping[str, bool] = field(default_factory=dict)  # static keys by name
    turns: tuple[str, ...] = ()  # branches to take the other way, by the addresses that the path file shows
    name: str = ""  # of the path
    entry_if: bool | None = None  # RFLAGS.IF at the function's start; None: as is known of Linux and Xen
    fold: bool = False
    whole: bool = False


class Turn(NamedTuple):
    """A choice taken the other way, and what that changes."""

    place: str
    what: str  # "branch je svm_vcpu_run+0x10: taken"
    gap: int | None
    findings: tuple[str, ...]
    text: str  # the path file


@dataclass(slots=True)
class Imported:
    """An imported path."""

    request: Request
    image: Image
    system: str  # "linux", "xen" or "other": what kind of object it is
    version: str
    sha256: str
    chain: tuple[str, ...]  # the functions from the first to VMRUN
    rows: list[Row]  # those kept
    doubts: list[Doubt]
    branches: list[str]
    patches: list[str]
    gap: int | None
    findings: tuple[str, ...]
    turns: list[Turn]
    text: str

    @property
    def path(self) -> EntryPath:
        """The path as read from its file."""
        return read_path(loads(self.text, f"{self.request.file} (imported)"))


def import_path(request: Request) -> Imported:
    """The entry path in an object file; raises ``InputError``."""
    return import_content(read_object(request.file), request)


def import_content(content: bytes, request: Request) -> Imported:
    """The same of a file that has been read; ``request.file`` is its name."""
    file = shown(request.file)
    if content.startswith(b"\x7fELF"):
        image = read_elf(content, file)
    elif content.startswith(b"MZ"):
        image = read_pe(content, file)
    else:
        raise InputError("is neither an ELF nor a PE file", file)
    return _Import(request, image, hashlib.sha256(content).hexdigest()).run()


class _Import:
    def __init__(self, request: Request, image: Image, sha256: str) -> None:
        self.request = request
        self.image = image
        self.sha256 = sha256
        self.version = read_version(image)
        self.system, root = find_start(image, request.function)
        feature_set = features(
            request.cpu_features, "xen" if self.system == "xen" else "linux", self.version, request.header
        )
        self.code = patched(image, self.system == "xen", feature_set, request.keys, self.version)
        check_keys(image, request.keys)
        self.functions = Functions(self.code)
        self.walker = Walker(self.functions, root, find_ways(self.functions, root, request.sev_es))
        self.flips: set[int] = set()
        self.entry_if = request.entry_if if request.entry_if is not None else self.system == "xen"

    def run(self) -> Imported:
        line = self.turned()
        rows = self.rows(line)
        first, last = self.span(rows)
        path = self.path_of(rows)
        turns = list(self.turns(line, path))
        doubts = [*rows.doubts, *(Doubt("", "the object", remark) for remark in self.code.remarks)]
        branches = [self.branch(choice) for choice in line.choices]
        patches = [self.patch(site) for site in self.sites(line)]
        notes = {
            "choices that change what the oracles say": [_turn_line(turn, probe.gap(path)) for turn in turns],
            "unclassified": doubt_lines(doubts),
            "branches, and which way the path goes": branches,
            "patched at boot": patches,
        }
        text = self.text(rows, line, notes)
        chain = dict.fromkeys(step.function.name for step in line.steps[: self.vmrun(line) + 1])
        return Imported(
            request=self.request,
            image=self.image,
            system=self.system,
            version=self.version,
            sha256=self.sha256,
            chain=tuple(clean(name) for name in chain),
            rows=rows.rows[first:last],
            doubts=doubts,
            branches=branches,
            patches=patches,
            gap=probe.gap(path),
            findings=probe.signatures(path),
            turns=turns,
            text=text,
        )

    def turned(self) -> Line:
        """The line, with the branches that are asked for taken the other way, one after the other."""
        line = self.walker.walk()
        for place in self.request.turns:
            found = [c.address for c in line.choices if c.free and self.image.shown(c.address) == place.lower()]
            if len(found) != 1:
                what = "names several branches" if found else "is no branch of the path that could go either way"
                raise InputError(f"{place} {what}", self.image.file, 0, "--turn")
            self.flips ^= {found[0]}
            line = self.walker.walk(self.flips)
        return line

    def vmrun(self, line: Line) -> int:
        return next(number for number, step in enumerate(line.steps) if step.instruction.mnemonic == "vmrun")

    def rows(self, line: Line) -> Rows:
        return classify(self.code, self.functions, line, self.system, self.version, self.entry_if)

    def span(self, rows: Rows) -> tuple[int, int]:
        first, last = (0, len(rows.rows)) if self.request.whole else trimmed(rows.rows)
        if too_long(rows.rows[first:last]) and not self.request.fold:
            raise self.image.complaint(f"the path has {last - first} instructions, more than {MAX_LINES}: give --fold")
        return first, last

    def sheet(self, rows: Rows, line: Line, notes: dict[str, list[str]]) -> Sheet:
        version = clean_list(self.version)
        kind = f"{self.system} {version}".strip() if self.system != "other" else "an object"
        entry = clean(self.image.name_of(self.walker.root))
        build = f" build-id:{self.image.build_id}" if self.image.build_id else ""
        return Sheet(
            name=self.request.name or self.default_name(),
            about=f"Read out of {kind}: {entry}, as booted with the CPU features {self.request.cpu_features}",
            sources=[f"{clean_list(Path(self.request.file).name)} sha256:{self.sha256[:16]}{build}"],
            system="linux" if rows.lockdep else "none",
            entry={"if": self.entry_if, "gif": True, "lockdep": False, "context": "kernel"},
            documented=self.documented(),
            notes=notes,
        )

    def documented(self) -> dict[str, Any]:
        """Where handlers may run: outside CLGI to STGI, INTR only where the path's callers have IF=1 (S8-70)."""
        outside = ["start", "stgi", "end"]
        documented: dict[str, Any] = {"nmi": outside, "intr": outside if self.entry_if else []}
        return documented if self.system == "other" else {**documented, "hif": True}

    def default_name(self) -> str:
        release = "-".join(re.findall(r"[A-Za-z0-9.]+", self.version))
        twin = "-sev-es" if self.request.sev_es else ""
        if self.system != "other" and release:
            return f"{self.system}-{release}{twin}"
        stem = Path(self.request.file).name.partition(".")[0]
        return f"{clean(stem) or 'imported'}{twin}"

    def text(self, rows: Rows, line: Line, notes: dict[str, list[str]]) -> str:
        """The path file, in canonical form."""
        first, last = self.span(rows)
        text = path_text(self.sheet(rows, line, notes), rows.rows, first, last, self.request.fold)
        return format_path(loads(text, self.image.file))

    def path_of(self, rows: Rows) -> EntryPath:
        """The path of rows as a reader of its file has it."""
        first, last = self.span(rows)
        text = path_text(self.sheet(rows, Line(), {}), rows.rows, first, last, self.request.fold)
        return read_path(loads(text, self.image.file))

    def turns(self, line: Line, path: EntryPath) -> Iterator[Turn]:
        """Every choice taken the other way that changes the oracles' verdict."""
        essence, findings = probe.essence(path), probe.signatures(path)
        tried = 0
        known = {essence: findings}
        for place, what, other in self.others(line):
            tried += 1
            if tried > MAX_TURNS or other is None:
                continue
            rows = self.rows(other)
            try:
                turned = self.path_of(rows)
            except InputError:
                continue  # a way with more instructions than a path may have
            key = probe.essence(turned)
            if key not in known:
                known[key] = probe.signatures(turned)
            if known[key] != findings:
                yield Turn(place, what, probe.gap(turned), known[key], self.text(rows, other, {}))

    def others(self, line: Line) -> Iterator[tuple[str, str, Line | None]]:
        """Each choice of a line taken the other way, and the line that results."""
        for choice in line.choices:
            if choice.free:
                way = "not taken" if choice.taken else "taken"
                yield (
                    self.image.shown(choice.address),
                    f"{self.branch_text(choice)}: {way}",
                    self.walk(self.flips ^ {choice.address}),
                )
        for site in self.sites(line):
            chosen = site.chosen
            for number, option in enumerate(site.options):
                if not option.possible or option.data == site.options[chosen].data:
                    continue
                self.turn(site, number)
                yield (
                    self.image.shown(site.address),
                    f"{_site_text(site)}: {clean_list(option.name)}",
                    self.walk(self.flips),
                )
            self.turn(site, chosen)

    def turn(self, site: Site, option: int) -> None:
        self.code.choose(site, option)
        self.walker.forget(site.address)

    def walk(self, flips: set[int]) -> Line | None:
        try:
            return self.walker.walk(flips)
        except InputError:
            return None

    def sites(self, line: Line) -> list[Site]:
        """The places on a line that are patched, in its order."""
        found = {}
        for step in line.steps:
            site = self.code.site(step.instruction.address)
            if site is not None:
                found[site.address] = site
        return list(found.values())

    def branch(self, choice: Choice) -> str:
        place = self.image.shown(choice.address)
        why = f", {choice.why}" if choice.why else ""
        return f"{place} {self.branch_text(choice)}: {'taken' if choice.taken else 'not taken'}{why}"

    def branch_text(self, choice: Choice) -> str:
        instruction = self.code.at(choice.address)
        return shown_instruction(instruction, self.image) if instruction is not None else ""

    def patch(self, site: Site) -> str:
        option = site.options[site.chosen].name
        return f"{self.image.shown(site.address)} {_site_text(site)}: {clean_list(option)}"


def _site_text(site: Site) -> str:
    return f"{site.kind} {clean_list(site.about)}".strip()


def _turn_line(turn: Turn, gap: int | None) -> str:
    change = f", gap {turn.gap}" if turn.gap != gap else ""
    return f"{turn.place} {turn.what}{change}: {', '.join(turn.findings) or 'no finding'}"
