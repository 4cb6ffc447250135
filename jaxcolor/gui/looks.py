"""The looks of the page: a quiet theme of the system's own fonts, and what the charts need."""

import gradio as gr

from jaxcolor.compare.style import CHARTS

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONOSPACED = ("ui-monospace", "Consolas", "monospace")

CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important; }
#heading { padding: .2rem 0 0; }
#heading h1 { font-size: 1.55rem; margin: 0; letter-spacing: -.01em; }
#heading p { margin: .1rem 0 0; color: var(--body-text-color-subdued); }
#status { min-height: 2rem; font-size: .95rem; overflow-wrap: anywhere; }
#status p { margin: .15rem 0; }
#status .note, #status .hint { color: var(--body-text-color-subdued); }
#about { margin: -.5rem 0; min-height: 0; }
#about p { margin: 0; font-size: .85rem; color: var(--body-text-color-subdued); }
#status .refused, #about .refused {
  padding: .6rem .8rem; border-radius: 8px; border: 1px solid #e0a29b; color: #8d1f12;
  background: #fdf0ee;
}
.dark #status .refused, .dark #about .refused {
  border-color: #7d3a32; color: #f5b5ac; background: #3a1f1b;
}
#download a {
  display: block; padding: .65rem 1rem; border-radius: 8px; text-align: center; font-weight: 600;
  text-decoration: none; color: var(--button-primary-text-color);
  background: var(--button-primary-background-fill);
}
#download a:hover { background: var(--button-primary-background-fill-hover); }
.label { margin: .4rem 0 -.4rem; font-weight: 600; }
#examples .grid-wrap, #sheets .grid-wrap {
  max-height: none; min-height: 0; overflow-y: auto !important;
}
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
footer { display: none !important; }
"""

HEAD = f"""<style>
.curves {{
  --soft: var(--body-text-color-subdued); --rule: var(--border-color-primary); --run0: #4f6bd8;
  {CHARTS}
  .chart {{ border: 1px solid var(--rule); border-radius: 8px; }}
  h3 {{ margin: 1rem 0 .5rem; font-size: 1rem; }}
  summary {{ margin: .8rem 0; cursor: pointer; color: var(--soft); }}
}}
</style>"""


def theme() -> gr.themes.Base:
    """The page's theme, light or dark as the browser is, without any font from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=_FONTS,
        font_mono=_MONOSPACED,
    )
