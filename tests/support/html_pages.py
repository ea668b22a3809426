"""Reads pages of HTML, for tests."""

import html.parser


class Parser(html.parser.HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def find(self, tag, **attributes):
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]
