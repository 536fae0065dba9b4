"""HTML from untrusted text."""

from efficientdet_pipeline.report.markup import number, paragraph, section, table, tag, text


def test_text_is_never_markup() -> None:
    assert text("<b a=\"1\" c='2'>&") == "&lt;b a=&quot;1&quot; c=&#x27;2&#x27;&gt;&amp;"
    # Bytes that are not text, and control characters.
    assert text("a\udce4\x00\x1b") == "a?\ufffd\ufffd"
    assert text("кот 猫") == "кот 猫"


def test_tag_escapes_attributes() -> None:
    assert tag("a", "x", href='"><i>', class_="k", data_x=1, hidden=True, title=None) == (
        '<a href="&quot;&gt;&lt;i&gt;" class="k" data-x="1" hidden>x</a>'
    )


def test_number_shows_a_dash_for_nothing() -> None:
    assert [number(value) for value in (0.12345, -1.0, None, float("nan"), 0)] == ["0.123", "–", "–", "–", "0.000"]


def test_section_without_content_is_left_out() -> None:
    assert section("a", "Title", "", "") == ""
    assert section("a", "T<", "x") == '<section id="a" aria-labelledby="a-title"><h2 id="a-title">T&lt;</h2>x</section>'


def test_table_names_its_rows_and_columns() -> None:
    markup = table(["<A>", "B"], [("x", "1")], caption="C", numeric=(1,), is_sortable=True)
    assert '<th scope="col">&lt;A&gt;</th><th scope="col" class="number">B</th>' in markup
    assert '<th scope="row">x</th><td class="number">1</td>' in markup
    assert 'class="sortable"' in markup


def test_paragraph_keeps_flags_on_one_line() -> None:
    expected = "<p>Try <code>--image_size</code>=512 &lt;for&gt; a--b.jpg.</p>"
    assert paragraph("Try --image_size=512", "<for> a--b.jpg.") == expected
