"""Parses a report for tests."""

from __future__ import annotations

from html.parser import HTMLParser

LOADS = {"src", "href", "xlink:href", "srcset", "data", "poster", "action"}
EMPTY = {"meta", "br", "i", "line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """The tags, the texts and the external resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.tags = []
        self.texts = []
        self.loads = []
        self._open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open.append(tag)
        self.loads += [value for name, value in attrs if name in LOADS]

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.texts.append(data)
        elif "url(" in data or "@import" in data:
            self.loads.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())
