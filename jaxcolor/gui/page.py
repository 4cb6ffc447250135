"""The page itself, of Gradio's parts; what they do is `desk.Desk`'s."""

import gradio as gr

from jaxcolor.data.pictures import SUFFIXES
from jaxcolor.errors import UserError
from jaxcolor.gui.desk import Desk, Shown
from jaxcolor.gui.models import Models
from jaxcolor.gui.training_view import curves_html, sample_sheets
from jaxcolor.gui.vault import COOKIE, KEEP_SECONDS

WAITING = 64  # users in the queue; further ones are asked to come again
DELETE_EVERY = 60  # seconds between looks for what is too old of what the page was shown
RENDER_SIZES = (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
CANVAS = 512
_HINT = '<p class="hint">Drop a picture, draw a sketch or choose an example.</p>'
_HEADING = "<h1>jaxcolor</h1><p>Colour for photographs and drawings, on this machine alone.</p>"
_TAKE_BRUSH = """() => {
  const brush = '#canvas button[aria-label="Brush"]';
  const take = (left) => {
    const button = document.querySelector(brush);
    if (button) button.click();
    else if (left) setTimeout(() => take(left - 1), 100);
  };
  if (!window.brushTaken) take(50);
  window.brushTaken = true;
}"""
_SHEETS = "Pictures that validate: input, ground truth, prediction"
_RENDER = (
    "Longer side in pixels at which the network sees the picture. Automatic: what it was trained "
    "for, of photographs; the picture's own, of drawings."
)


def build(models: Models, desk: Desk) -> gr.Blocks:
    """The page, on which users wait for one another where they need the network.

    Args:
      models: to choose among.
      desk: what colours.
    """
    names = list(models.workdirs)
    with gr.Blocks(
        title="jaxcolor",
        analytics_enabled=False,
        delete_cache=(DELETE_EVERY, KEEP_SECONDS),
        fill_width=True,
    ) as page:
        gr.HTML(_HEADING, elem_id="heading")
        with gr.Tab("Colour"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                parts = _inputs(names)
            with gr.Column(scale=3, min_width=380):
                shown = _outputs()
        with gr.Tab("Training"):
            curves = gr.HTML()
            gr.HTML(_SHEETS, elem_classes="label")
            sheets = gr.Gallery(
                show_label=False,
                columns=3,
                object_fit="contain",
                interactive=False,
                elem_id="sheets",
            )
        _wire(page, desk, parts, shown)
        _wire_model(page, models, desk, parts, [curves, sheets])
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def _inputs(names):
    parts = {}
    with gr.Tab("Picture"):
        parts["file"] = gr.File(
            label="Picture",
            file_types=list(SUFFIXES),
            height=130,
            elem_id="file",
        )
    with gr.Tab("Sketch") as tab:
        tab.select(None, js=_TAKE_BRUSH)
        parts["canvas"] = gr.Sketchpad(
            label="Draw dark lines on white",
            canvas_size=(CANVAS, CANVAS),
            height=470,
            fixed_canvas=True,
            layers=False,
            transforms=(),
            brush=gr.Brush(default_size=4, colors=["#000000"], color_mode="fixed"),
            elem_id="canvas",
        )
        parts["draw"] = gr.Button("Colour the sketch", variant="primary", elem_id="draw")
    parts["model"] = gr.Dropdown(
        names, value=names[0], label="Model", interactive=True, elem_id="model"
    )
    parts["about"] = gr.HTML(elem_id="about")
    sizes = [("Automatic", 0), *((str(size), size) for size in RENDER_SIZES)]
    parts["render"] = gr.Dropdown(
        sizes, value=0, label="Render size", info=_RENDER, interactive=True, elem_id="render"
    )
    gr.HTML("Examples", elem_classes="label")
    parts["examples"] = gr.Gallery(
        show_label=False,
        columns=4,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )
    return parts


def _outputs():
    slider = gr.ImageSlider(
        label="Before and after",
        show_label=False,
        format="png",
        interactive=False,
        max_height=620,
        buttons=["fullscreen"],
        elem_id="slider",
    )
    return [slider, gr.HTML(_HINT, elem_id="status"), gr.HTML(elem_id="download")]


def _wire(page, desk, parts, shown):
    """Lets what is given be coloured; what the user chooses besides, too."""
    settings = [parts["model"], parts["render"]]
    queued = {"concurrency_id": "network", "api_visibility": "private"}

    def take(file: dict, model: str, render: int, request: gr.Request):
        shown = desk.take(request.session_hash, _token(file) or "", str(model), render)
        return [None, *_show(shown)]

    def draw(drawing: dict, model: str, render: int, request: gr.Request):
        token = _token((drawing or {}).get("composite"))
        return _show(desk.take_sketch(request.session_hash, token, str(model), render))

    def choose(model: str, render: int, request: gr.Request, event: gr.SelectData):
        return _show(desk.take_example(request.session_hash, event.index, model, render))

    def again(model: str, render: int, request: gr.Request):
        found = desk.again(request.session_hash, model, render)
        return [None, _HINT, ""] if found is None else _show(found)

    # Without Gradio's own preprocessing, which would copy a file once more, and open a sketch
    # whatever its format: of some, Pillow makes other programs' input.
    parts["file"].upload(
        take, [parts["file"], *settings], [parts["file"], *shown], preprocess=False, **queued
    )
    parts["draw"].click(draw, [parts["canvas"], *settings], shown, preprocess=False, **queued)
    parts["examples"].select(choose, settings, shown, **queued)
    for part in settings:
        part.change(again, settings, shown, **queued)  # its input event comes twice for a choice

    def leave(request: gr.Request):
        desk.leave(request.session_hash)
        desk.leave(request.cookies.get(COOKIE, ""))

    page.unload(leave)


def _token(file: dict | None) -> str | None:
    """Of what a client says of its file, what may be a token; None where there is no file."""
    return str(file.get("path", "")).rpartition("/")[2] if isinstance(file, dict) else None


def _show(shown: Shown):
    link = ""
    if shown.result:
        link = f'<a href="result/{shown.result}" download>Download at full resolution</a>'
    pair = tuple(map(str, shown.pair)) if shown.pair else None
    return [pair, shown.status, link]


def _wire_model(page, models, desk, parts, training):
    """Lets examples, curves, sheets and what is said of it follow the model."""

    def follow(model: str):
        workdir = models.workdirs[model]
        sheets = [(str(path), caption) for path, caption in sample_sheets(workdir)]
        try:
            examples, about = desk.examples(model), desk.about(model)
        except UserError:  # which whoever chose the model is told by `again`
            examples, about = [], ""
        return examples, about, curves_html(model, workdir), sheets

    outputs = [parts["examples"], parts["about"], *training]
    options = {"concurrency_id": "network", "api_visibility": "private", "show_progress": "hidden"}
    page.load(follow, parts["model"], outputs, **options)
    parts["model"].change(follow, parts["model"], outputs, **options)
