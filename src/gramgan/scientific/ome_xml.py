"""The XML of an OME-TIFF (schema 2016-06): pixel sizes divided, and everything else as it was."""

import hashlib
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from gramgan.errors import UserError

_MAX_BYTES = 16_000_000
_SIZES = ("X", "Y")
_DEEPEST = 100


class _Shallow(ElementTree.TreeBuilder):
    """Elements, unless they are nested more deeply than Python's stack holds."""

    _depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ElementTree.ParseError(f"more than {_DEEPEST} elements inside one another")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def check_ome(xml: str, path: Path, width: int, height: int) -> None:
    """Refuse what cannot be enlarged page by page. `width` and `height` are those of the pages.

    Raises:
        UserError: the XML is damaged, names other files, describes images of other sizes, or has texts for numbers.
    """
    root = _parse(xml, path)
    names = {element.get("FileName", path.name) for element in root.iter() if _local(element) == "UUID"}
    if len(names) > 1:
        raise UserError(f"{path}: one of {len(names)} files of an image; join them into one OME-TIFF first")
    if any(_local(element) == "BinaryOnly" for element in root.iter()):
        raise UserError(f"{path}: its OME-XML is in another file; join them into one OME-TIFF first")
    sizes = {(pixels.get("SizeX"), pixels.get("SizeY")) for pixels in _pixels(root)}
    if len(sizes) != 1:
        raise UserError(f"{path}: it holds {len(sizes)} images of different sizes; split it into one file for each")
    for pixels in _pixels(root):
        for axis, number in zip(_SIZES, (width, height), strict=True):
            size, physical = pixels.get(f"Size{axis}"), pixels.get(f"PhysicalSize{axis}")
            if size is not None and size.strip() != str(number):
                raise UserError(
                    f"{path}: its OME-XML says Size{axis} {size[:40]!r}, and its pages have {number} pixels; correct it"
                )
            if physical is not None and not _is_number(physical):
                raise UserError(
                    f"{path}: its OME-XML says PhysicalSize{axis} {physical[:40]!r}, which is no number; correct it"
                )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def significant_bits(xml: str) -> int | None:
    """How many bits of a sample are used; None where the XML does not say."""
    for pixels in _pixels(ElementTree.fromstring(xml)):
        value = pixels.get("SignificantBits", "")
        if value.isascii() and value.isdecimal() and len(value) <= 2 and 1 <= int(value) <= 16:
            return int(value)
    return None


def enlarged_ome(xml: str, before: tuple[int, int], width: int, height: int, sentence: str, identity: str) -> bytes:
    """The XML, in UTF-8, for images of `width` × `height` pixels that cover the area of `before` (width, height).

    Regions of interest are left out: their shapes are in pixels of the old image. The UUID is made of the old one and
    of `identity`. `sentence` is added to every image's description.
    """
    root = ElementTree.fromstring(xml)
    namespace = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    if namespace:
        ElementTree.register_namespace("", namespace[1:-1])
    for pixels in _pixels(root):
        for axis, old, new in zip(_SIZES, before, (width, height), strict=True):
            physical = pixels.get(f"PhysicalSize{axis}")
            if physical is not None:
                pixels.set(f"PhysicalSize{axis}", repr(float(physical) * old / new))
            pixels.set(f"Size{axis}", str(new))
        pixels.set("BigEndian", "false")
    renewed = str(uuid.UUID(bytes=hashlib.sha256(f"{root.get('UUID')}{identity}".encode()).digest()[:16], version=5))
    if root.get("UUID"):
        root.set("UUID", f"urn:uuid:{renewed}")
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child) in ("ROI", "ROIRef", "UUID"):
                parent.remove(child)
    for image in root.iter(f"{namespace}Image"):
        _describe(image, namespace, sentence)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _describe(image: ElementTree.Element, namespace: str, sentence: str) -> None:
    description = image.find(f"{namespace}Description")
    if description is None:
        description = ElementTree.Element(f"{namespace}Description")
        # The schema's order: AcquisitionDate, ExperimenterRef, Description, …
        before = sum(_local(child) in ("AcquisitionDate", "ExperimenterRef") for child in image)
        image.insert(before, description)
    description.text = f"{description.text}; {sentence}" if description.text else sentence


def _parse(xml: str, path: Path) -> ElementTree.Element:
    # Entities could name other files or swell without end; OME has none.
    if len(xml) > _MAX_BYTES or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise UserError(f"{path}: its OME-XML is not of the kind that is read; save it again with Bio-Formats")
    try:
        root = ElementTree.fromstring(xml, ElementTree.XMLParser(target=_Shallow()))
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: its OME-XML is damaged ({error}); save it again with Bio-Formats") from None
    if not list(_pixels(root)):
        raise UserError(f"{path}: its OME-XML describes no image; save it again with Bio-Formats")
    return root


def _pixels(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return (element for element in root.iter() if _local(element) == "Pixels")


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
