"""Checks of pages shared by tests."""

from html.parser import HTMLParser

EVIL = '<script>alert("x")</script>&$x^$\''
"""Text that must never reach a page as it is."""


class Tags(HTMLParser):
    """Collects start tags, and checks that every tag that must be closed is closed in order."""

    VOID = frozenset({"meta", "input", "br", "img", "link"})

    def __init__(self, text):
        super().__init__()
        self.names, self.open, self.ids = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
