"""Reads the pages of reports, for their tests."""

import base64
import re
from html.parser import HTMLParser

import matplotlib
import pytest
from PIL import Image

HOSTILE = '<script>alert("1")</script> & {0} {x} $x_1$ %s </td>'
VOID = {"meta", "img", "br", "input", "col"}


class Page(HTMLParser):
    """Tags that close in order; images, links, tables (caption -> rows of cells) and the text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.images, self.addresses, self.tables, self.text = [], [], [], [], {}, []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attrs[key] for key in ("src", "href", "srcset", "action", "data", "poster") if key in attrs]
        assert not [key for key in attrs if key.startswith("on")]
        if tag == "img":
            self.images.append(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.row = []
        if tag in ("td", "th"):
            self.row.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            assert self.caption not in self.tables, "two tables of one name"
            self.tables[self.caption] = []
        if tag == "tr":
            self.tables[self.caption].append(self.row)

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if "caption" in self.open:
            self.caption += data
        if "td" in self.open or "th" in self.open:
            self.row[-1] += data

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def row_of(self, caption, name):
        (found,) = [row for row in self.tables[caption] if row[0] == name]
        return dict(zip(self.tables[caption][0], found, strict=True))


def numbers(cell):
    return [float(found.replace(",", "")) for found in re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", cell)]


def shows(cell, estimate):
    """Value and interval of an estimate, to 5 % of the interval's width (or 1 % of a value without one)."""
    expected = [estimate[key] for key in ("value", "low", "high") if estimate[key] is not None]
    off = 0.05 * (max(expected) - min(expected)) or 0.01 * abs(expected[0])
    return numbers(cell) == pytest.approx(expected, abs=off) and ("not resolved" in cell) is (not estimate["resolved"])


def read(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def stands_alone(report):
    """Asserts: well-formed, no script, nothing from outside; the pictures are the files of plots/ byte for byte, each with a text."""
    page = read(report)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert all(len(image["alt"]) > 20 for image in page.images)
    shown = sorted(base64.b64decode(image["src"].split(",")[1]) for image in page.images)
    assert shown == sorted(path.read_bytes() for path in report.glob("plots/*"))
    assert sorted(path.name for path in report.iterdir()) == (["plots", "report.html"] if shown else ["report.html"])
    css = (report / "report.html").read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    assert "url(" not in css and "@import" not in css
    for needed in ("prefers-color-scheme: dark", "@media print", "overflow-x: auto", "max-width: 100%"):
        assert needed in css
    assert "None" not in page.words and "nan" not in page.words.lower().replace("loss is nan", "").split()
    assert page.tags.count("table") == (report / "report.html").read_text(encoding="utf-8").count('<div class="scroll"')
    for path in report.glob("plots/*.png"):
        with Image.open(path) as image:
            assert image.width == 880 and image.height < 2200
            assert not {"Software", "Creation Time", "date"} & set(image.info)
            shades = image.convert("L").histogram()
            assert 0.01 < 1 - shades[255] / (image.width * image.height) < 0.6, f"{path}: blank, or full"


def write_all(folder, makers, write_report):
    """The folder, with a report of what each of the makers makes, under its name."""
    for name, make in makers.items():
        write_report(make(), folder / name)
    return folder


def write_in_another_style(write_report, found, folder):
    """Writes the report where the user's matplotlib is set up in another way, which has to stay so."""
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        write_report(found, folder)
        assert dict(matplotlib.rcParams) == before


def same_bytes(one, other):
    files = [sorted(path.relative_to(of) for path in of.rglob("*") if path.is_file()) for of in (one, other)]
    assert files[0] == files[1] and len(files[0]) > 5
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in files[0])
