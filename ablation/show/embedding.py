"""Figures as a page holds them: SVG of few bytes, drawn for a light screen and for a dark one, and once more
for a narrow one; photographs; and the addresses of both."""

import base64
import io
import re
import string
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL import Image

# Of ASCII, what stands for itself in an address within a page; and in one of markup that is well formed.
PLAIN = "".join(set(string.printable) - set(string.whitespace) - set("%#&<>'\"")) + " "
MARKUP = PLAIN + "<>'"
WIDE = 1000  # pixels of the page's column
NIGHT = (13, 17, 23)  # a dark page and its ink, of red, green and blue, as in page.css
MOON = (230, 237, 243)
LEGIBLE = 4.5  # contrast of a mark on its ground (WCAG 2.2, of text)
SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"  # as SVG 1 says it; to SVG 2 it is plain href
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # what no XML may hold
FONTS = "font-family:Arial,'DejaVu Sans','Liberation Sans',sans-serif"
PLACED = ("d", "x", "y", "width", "height", "transform")  # attributes that hold places


def uri(kind: str, text: str) -> str:
    """Text as an address of its own: a tenth shorter than in base 64."""
    return f"data:{kind};charset=utf-8,{quote(text, safe=PLAIN)}"


def svg_uri(svg: str) -> Markup:
    """The same of an SVG, whose signs need no other form within quotation marks."""
    return Markup(f"data:image/svg+xml,{quote(slim(svg), safe=MARKUP)}")


def photograph(path: Path) -> str:
    """A PNG of images as a WebP as wide as the page, with an address of its own: a fraction of its size."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((WIDE, picture.height))
    compressed = io.BytesIO()
    picture.save(compressed, "WEBP", quality=40, method=6)
    return f"data:image/webp;base64,{base64.b64encode(compressed.getvalue()).decode()}"


# ---------------------------------------------------------------- a figure in few bytes


def slim(svg: str) -> str:
    """A figure of matplotlib's in a third of its bytes: each look once, as a class with its colours for a
    dark screen, groups and names only where they mean something, places to a tenth of a point."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(NO_TEXT.sub("", svg))
    for name in ("metadata", "defs/style"):
        _remove(root, name)
    names = {name: f"n{place}" for place, name in enumerate(_referenced(root))}
    looks: dict[str, str] = {}
    for element in root.iter():
        _plain(element, names, looks)
    _unwrap(root)
    hollow = {name for look, name in looks.items() if "fill:none" in look}
    for element in root.iter():
        _join(element, hollow)
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = _rules(looks, dark=root.find(f".//{{{SVG}}}image") is None)
    root.insert(0, style)
    text = re.sub(r"(?<=>)\s+(?=<)| (?=/>)", "", ElementTree.tostring(root, encoding="unicode"))
    return re.sub(r"<[^>]*>", lambda tag: re.sub('="([^"\']*)"', r"='\1'", tag[0]), text)


def _remove(root: Element, path: str) -> None:
    """Every element at a path, which may be below another."""
    parent, _, child = path.rpartition("/")
    within = root.iter(f"{{{SVG}}}{parent}") if parent else [root]
    for place in within:
        for found in place.findall(f"{{{SVG}}}{child}"):
            place.remove(found)


def _referenced(root: Element) -> dict[str, None]:
    """Names that some element is called by, in order."""
    found: dict[str, None] = {}
    for element in root.iter():
        called = re.findall(r"url\(#([^)]+)\)", element.get("clip-path", ""))
        if (address := element.get(HREF, "")).startswith("#"):
            called.append(address[1:])
        found |= dict.fromkeys(called)
    return found


def _plain(element: Element, names: Mapping[str, str], looks: dict[str, str]) -> None:
    """An element with a short name where somebody calls it, its look as a class, its places rounded."""
    own = element.attrib.pop("id", "")
    if own in names:
        element.set("id", names[own])
    if address := element.attrib.pop(HREF, ""):
        element.set("href", f"#{names[address[1:]]}" if address.startswith("#") else address)
    if frame := element.get("clip-path"):
        element.set("clip-path", f"url(#{names[frame[5:-1]]})")
    if look := _tight(element.attrib.pop("style", "")):
        # What says nothing of its inside is black, unless it is a mark that others draw in their look.
        inside = "" if "fill:" in look or own in names else ";fill:#000000"
        element.set("class", looks.setdefault(look + inside, f"s{len(looks)}"))
    for name in PLACED:
        if name in element.attrib:
            element.set(name, _rounded(element.attrib[name]))


def _tight(look: str) -> str:
    tight = re.sub(r"\s*([;:,])\s*", r"\1", look.strip().rstrip(";"))
    return re.sub("(^|;)font-family:[^;]*", "", tight).lstrip(";")


def _rounded(places: str) -> str:
    """Numbers with one decimal, letters without space around them."""
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{round(float(found[0]), 1):g}", places)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", " ".join(short.split()))


def _unwrap(element: Element) -> None:
    """Groups that say nothing give way to what they hold."""
    for child in list(element):
        _unwrap(child)
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            place = list(element).index(child)
            element.remove(child)
            for offset, inner in enumerate(child):
                element.insert(place + offset, inner)


def _join(parent: Element, hollow: set[str]) -> None:
    """Lines of one look that follow each other, as a grid's do with a tick's words between them, become one
    path."""
    last: Element | None = None
    for child in list(parent):
        if child.tag == f"{{{SVG}}}text":
            continue
        joins = child.tag == f"{{{SVG}}}path" and child.get("class") in hollow
        if joins and last is not None and _but_places(last) == _but_places(child):
            last.set("d", last.attrib["d"] + child.attrib["d"])
            parent.remove(child)
        else:
            last = child if joins else None


def _but_places(path: Element) -> dict[str, str]:
    return {name: value for name, value in path.attrib.items() if name != "d"}


def _rules(looks: Mapping[str, str], dark: bool) -> str:
    """The looks as a style sheet, with those that differ on a dark screen."""
    rules = [f".{name}{{{look}}}" for look, name in looks.items()]
    night = [
        f".{name}{{{changed}}}" for look, name in looks.items() if (changed := _at_night(look))
    ]
    first = f"*{{stroke-linejoin:round;stroke-linecap:butt}}text{{{FONTS}}}"
    if not dark:
        return first + "".join(rules)
    return f"{first}{''.join(rules)}@media(prefers-color-scheme:dark){{{''.join(night)}}}"


def _at_night(look: str) -> str:
    """What changes of a look on a dark screen."""
    colours = re.findall(r"((?:fill|stroke):)(#[0-9a-fA-F]{6})", look)
    return ";".join(name + dark(colour) for name, colour in colours if dark(colour) != colour)


# ---------------------------------------------------------------- dark screens


def dark(colour: str) -> str:
    """A colour, #rrggbb, as a dark screen shows it: a grey between ink and page the other way round, any
    other as much lighter as it takes to be seen there."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    if max(red, green, blue) - min(red, green, blue) < 8:
        share = (red + green + blue) / 765
        return _hex(_mixed(MOON, NIGHT, share))
    steps = (_mixed((red, green, blue), (255, 255, 255), step / 20) for step in range(21))
    return _hex(next(mixed for mixed in steps if contrast(mixed, NIGHT) >= LEGIBLE))


Colour = tuple[float, ...]


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    return tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{round(part):02x}" for part in colour)


def contrast(one: Colour, other: Colour) -> float:
    """Of two colours, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    """Relative luminance of red, green and blue from 0 to 255 (WCAG 2.2)."""
    shares = [part / 255 for part in colour]
    linear = [
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# ---------------------------------------------------------------- narrow screens

NARROW = 4.4  # inches that a phone shows with letters of their size
LETTERS = 60  # of a small line in that width


def folded(figure: Figure) -> Figure:
    """A figure with its panels one below the other under its key, for a phone; its title stands above it on
    the page."""
    panels = [ax for ax in figure.axes if ax.get_visible()]
    grid = GridSpec(len(panels), 1, figure=figure)
    for place, ax in enumerate(panels):
        ax.set_subplotspec(grid[place, 0])
        ax.tick_params(labelleft=True)
        ax.set_ylabel(panels[0].get_ylabel())
    lines = 0.0
    if key := next(_keys(panels), None):
        handles, names, title = key
        lines = sum(1 + name.count("\n") for name in [*names, title]) / 2 + 1
        below = {"loc": "outside upper left", "ncols": 2, "alignment": "left"}
        figure.legend(handles, names, title=title, fontsize=9, frameon=False, **below)
    if figure._suptitle is not None:
        figure._suptitle.remove()
        figure._suptitle = None
    said = _wrapped(figure.get_supxlabel())
    figure.supxlabel("\n".join(said), fontsize=8, color="0.35")
    height = 3.0 * len(panels) + 0.2 * lines + 0.15 * len(said) + 0.3
    figure.set_size_inches(NARROW, height)
    return figure


def _wrapped(text: str) -> list[str]:
    """Lines that a phone is wide enough for."""
    return [part for line in text.splitlines() for part in textwrap.wrap(line, LETTERS) or [""]]


def _keys(panels: list[Axes]) -> Iterator[tuple[list[object], list[str], str]]:
    """Handles, names and title of each panel's key, which is taken away."""
    for ax in panels:
        if legend := ax.get_legend():
            handles, names = ax.get_legend_handles_labels()
            title = legend.get_title().get_text()
            legend.remove()
            yield handles, names, title
