"""A Sphinx extension: the foot of a page, with its edition, how to cite it, and how to report an error in it."""

from __future__ import annotations

from urllib.parse import urlencode

from sphinx.application import Sphinx

from book.press import hosted, paths
from book.press.edition import Cited, Edition, bibtex, edition, file_name
from rotvq.page.html import Html, tag

CHANGES = "changes"  # the page that says what changed


def report(repository: str, title: str, this: Edition) -> str:
    """The address that opens an issue about a page."""
    body = f"Page: {title}\nEdition: {this.version}, {this.commit}\n\nWhat is wrong:\n"
    return f"{repository}/issues/new?{urlencode({'title': f'Error in: {title}', 'body': body})}"


def foot(this: Edition, cited: Cited, changes: str, repository: str, site: str) -> Html:
    """The foot of a page of the book.

    Args:
        this: The edition.
        cited: The page, as it is cited.
        changes: The address of the page that says what changed; empty if there is none.
        repository: Its address; empty if it has none.
        site: The address of the site, which also has the book as one file, with a slash at its end; empty if none.
    """
    links = [tag("a", "What changed", href=changes)] if changes else []
    if site:
        one_file = f"{site}{paths.DOWNLOAD.name}/{file_name(this)}"
        links += [tag("a", "PDF", href=f"{one_file}.pdf"), tag("a", "Offline copy", href=f"{one_file}.zip")]
    if repository:
        links.append(tag("a", "Report an error on this page", href=report(repository, cited.title, this)))
    line = Html(" · ".join([f"Version {this.version}, {this.commit}", *links]))
    entry = tag("details", tag("summary", "Cite this page"), tag("pre", bibtex(cited, this)))
    return Html(f"{tag('p', line)}\n{entry}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    this = edition()

    def add_foot(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        if doctree is None:  # the search, or a page of code
            return
        root, titles, base = app.config.root_doc, app.env.titles, app.config.html_baseurl
        cited = Cited(
            key=page.rpartition("/")[2],
            title=titles[page].astext(),
            book=titles[root].astext(),
            address=f"{base}{page}.html" if base else "",
        )
        changes = context["pathto"](CHANGES) if CHANGES in app.env.found_docs and page != CHANGES else ""
        options = app.config.html_theme_options
        repository = hosted.repository({"repository": {"url": options.get("repository_url", "")}})
        context["theme_extra_footer"] = foot(this, cited, changes, repository, base)

    app.connect("html-page-context", add_foot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
