"""Builds an unmodified Arduino sketch as the Arduino IDE does, with prototypes written and libraries found.

Libraries are those that come with the core, and folders given. Source: the Arduino CLI's documentation,
"Sketch build process".
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.uno.build import ARDUINO, CACHE, BuildError, build_arduino_image
from bench.uno.image import FirmwareImage

BUNDLED: Final = ARDUINO / "libraries"
_SOURCES: Final = (".c", ".cpp", ".S")
_INCLUDE: Final = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_DEFINITION: Final = re.compile(
    r"^(?!\s*(?:else|return|typedef|struct|class|enum|namespace|extern|using)\b)"
    r"((?:[A-Za-z_][\w:<>]*[\s*&]+)+)([A-Za-z_]\w*)\s*\(([^;{}()]*(?:\([^()]*\)[^;{}()]*)*)\)\s*\{",
    re.MULTILINE,
)
_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)


def build_sketch(sketch: Path, libraries: Sequence[Path] = ()) -> FirmwareImage:
    """The image of a `.ino` file and the sources beside it; `libraries` are folders of more libraries.

    Raises BuildError.
    """
    try:
        text = sketch.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{sketch}: cannot be read as a sketch: {error}") from error
    source = with_prototypes(text, sketch.name)
    folders = list(_library_folders(text, (*libraries, BUNDLED)))
    found = [*sketch.parent.glob("*"), *(path for folder in folders for path in sorted(folder.rglob("*")))]
    sources = [path for path in found if path.suffix in _SOURCES]
    includes = [inner for folder in folders for inner in (folder, folder / "utility") if inner.is_dir()]
    return build_arduino_image(
        sketch.stem, [_written(source, sketch.stem), *sources], [sketch.parent, *includes]
    )


def with_prototypes(text: str, name: str) -> str:
    """C++ of a sketch: Arduino.h, and a prototype of each of its functions before the first of them."""
    bare = _COMMENT.sub(_blank, text)
    definitions = list(_DEFINITION.finditer(bare))
    if not definitions:
        return f'#include <Arduino.h>\n#line 1 "{name}"\n{text}'
    place = definitions[0].start()
    prototypes = [
        f"{' '.join(match[1].split())} {match[2]}({' '.join(match[3].split())});\n"
        for match in definitions
        if "=" not in match[3]
    ]
    line = text.count("\n", 0, place) + 1
    return (
        f'#include <Arduino.h>\n#line 1 "{name}"\n{text[:place]}\n'
        f'{"".join(prototypes)}#line {line} "{name}"\n{text[place:]}'
    )


def _blank(match: re.Match[str]) -> str:
    """The same number of characters and lines, without what a comment or string says."""
    return re.sub(r"[^\n]", " ", match[0])


def _library_folders(text: str, places: Sequence[Path]) -> Iterator[Path]:
    """Source folders of the libraries whose headers are included, and of those these include, each once."""
    wanted, seen = _INCLUDE.findall(text), set()
    while wanted:
        header = wanted.pop(0)
        for library in (library for place in places if place.is_dir() for library in sorted(place.iterdir())):
            folder = library / "src" if (library / "src").is_dir() else library
            if (folder / header).is_file() and folder not in seen:
                seen.add(folder)
                yield folder
                wanted += _INCLUDE.findall((folder / header).read_text(encoding="utf-8", errors="replace"))
                break


def _written(source: str, stem: str) -> Path:
    """The source in a file named by its content, so that the build's cache knows it again."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    path = CACHE / "sketches" / f"{stem}-{digest}.cpp"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return path
